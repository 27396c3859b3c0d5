// Reads lines of JSON, each a list of base64 updates for one document, and says per line what Yjs thinks of them:
// "ok", or the error of applying them, of encoding the document, or of applying that again.
import { createInterface } from 'node:readline'
import * as Y from '../interop/node_modules/yjs/dist/yjs.mjs'

const judge = (updates) => {
  const doc = new Y.Doc()
  for (const update of updates) Y.applyUpdate(doc, Buffer.from(update, 'base64'))
  if (doc.store.pendingStructs !== null || doc.store.pendingDs !== null) return 'something is pending'
  const again = new Y.Doc()
  Y.applyUpdate(again, Y.encodeStateAsUpdate(doc))
  const states = [doc, again].map((each) => JSON.stringify([...Y.decodeStateVector(Y.encodeStateVector(each))].sort()))
  return states[0] === states[1] ? 'ok' : 'another state after a reload'
}

for await (const line of createInterface({ input: process.stdin })) {
  let verdict
  try {
    verdict = judge(JSON.parse(line))
  } catch (error) {
    verdict = String(error)
  }
  process.stdout.write(JSON.stringify(verdict) + '\n')
}
