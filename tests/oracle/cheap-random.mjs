// Yjs draws an id and a guid for every document. In the oracle ids come from the seed of a history, so the draw only has to
// be cheap: real randomness was a quarter of the time. Import this before Yjs, and never where real clients run.
import { webcrypto } from 'node:crypto'

let drawn = 1

Object.defineProperty(webcrypto, 'getRandomValues', {
  value: (array) => {
    for (let at = 0; at < array.length; at++) array[at] = drawn = (Math.imul(drawn, 1664525) + 1013904223) >>> 0
    return array
  }
})
