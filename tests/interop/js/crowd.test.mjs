// Sixty editors at once, with crashes: everybody ends with the same document, and nothing anybody typed is lost or doubled.
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { Random } from '../../oracle/random.mjs'
import { randomEdit } from '../../oracle/edits.mjs'
import { closeAll, converged, cut, open, room, sleep, state, until } from './clients.mjs'

afterEach(closeAll)

const EDITORS = Number(process.env.SYNCD_EDITORS ?? 60)
const ROUNDS = 25
const seed = process.env.SYNCD_SEED ?? String(Date.now())

test(`${EDITORS} editors with random disconnects converge (SYNCD_SEED=${seed})`, { timeout: 90_000 }, async () => {
  const random = new Random(seed)
  const name = room('crowd')
  const clients = Array.from({ length: EDITORS }, () => open(name))
  await until(() => clients.every(({ provider }) => provider.synced), 'all are in', 30_000)
  const tokens = []
  for (let round = 0; round < ROUNDS; round++) {
    for (const [at, client] of clients.entries()) {
      randomEdit(random, client, { t: 4, m: 2, a: 2, x: 2 })
      if (random.chance(0.3)) {
        tokens.push(`${at}:${round}`)
        client.doc.getArray('tokens').push([tokens.at(-1)])
      }
      if (random.chance(0.02)) cut(client)
      if (random.chance(0.01)) {
        client.provider.disconnect()
        setTimeout(() => client.provider.connect(), random.int(50, 1500))
      }
    }
    await sleep(random.int(5, 40))
  }
  await until(() => clients.every(({ provider }) => provider.synced), 'all are back', 20_000)
  const late = open(name)
  await until(() => late.provider.synced, 'a late joiner is in', 20_000)
  const everybody = [...clients, late]
  // Comparing 61 documents in full is dear; the array of tokens says when it is worth it.
  await until(() => everybody.every(({ doc }) => doc.getArray('tokens').length >= tokens.length), 'all tokens everywhere', 30_000)
  await until(() => state(clients[0]) === state(late), 'the first and the last agree', 20_000)
  await converged(everybody, 40_000)
  assert.deepEqual([...late.doc.getArray('tokens')].sort(), tokens.sort())
})
