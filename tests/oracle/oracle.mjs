// Yjs as a judge, behind stdin and stdout: one JSON command per line in, one JSON answer per line out.
//
// Updates and state vectors travel as base64. Every command works on a list, because one exchange per history would cost
// more than the history. A history stays in memory, with the final documents of its clients, until it is dropped.
import './cheap-random.mjs'
import { createInterface } from 'node:readline'
import { Y, applyAll, canonical, reader } from './canonical.mjs'
import { expected, generate } from './history.mjs'
import { replay } from './trace.mjs'

const bytes = (text) => new Uint8Array(Buffer.from(text, 'base64'))
const text = (data) => Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString('base64')

const histories = new Map()
const documents = new Map()

const documentOf = (name) => {
  let doc = documents.get(name)
  if (doc === undefined) documents.set(name, doc = reader())
  return doc
}

const pending = (doc) => doc.store.pendingStructs !== null || doc.store.pendingDs !== null

// The places where two states differ, shortest useful form: 'roots.m.entries.k: 1, wanted 2'.
const differences = (found, wanted, path = '') => {
  if (JSON.stringify(found) === JSON.stringify(wanted)) return []
  const both = [found, wanted].every((value) => value !== null && typeof value === 'object')
  if (!both || Array.isArray(found) !== Array.isArray(wanted)) {
    return [`${path}: ${JSON.stringify(found)}, wanted ${JSON.stringify(wanted)}`]
  }
  const keys = new Set([...Object.keys(found), ...Object.keys(wanted)])
  return [...keys].flatMap((key) => differences(found[key], wanted[key], path === '' ? key : `${path}.${key}`))
}

const commands = {
  // {seeds: [str], size: int} -> [{clients, updates: [[client, kind, update]], sv}]
  generate: ({ seeds, size }) => seeds.map((seed) => {
    const history = generate(seed, size)
    history.expected = expected(history)
    histories.set(seed, history)
    return {
      clients: history.clients.map(({ doc }) => doc.clientID),
      updates: history.updates.map(({ client, kind, update }) => [client, kind, text(update)]),
      sv: history.expected.sv
    }
  }),

  // {wanted: [[seed, client index, state vector]]} -> [update]: what that client answers to a SyncStep1
  diff: ({ wanted }) => wanted.map(([seed, client, sv]) =>
    text(Y.encodeStateAsUpdate(histories.get(seed).clients[client].doc, bytes(sv)))),

  // {to: [[document name, [update]]]} -> [[state vector, has pending]]
  apply: ({ to }) => to.map(([name, updates]) => {
    const doc = documentOf(name)
    applyAll(doc, updates.map(bytes))
    return [text(Y.encodeStateVector(doc)), pending(doc)]
  }),

  // {pairs: [[document name, seed]]} -> [[difference]]: reads the document, which ends its life
  compare: ({ pairs }) => pairs.map(([name, seed]) => {
    const found = canonical(documentOf(name))
    documents.delete(name)
    return differences(found, histories.get(seed).expected).slice(0, 8)
  }),

  // {groups: [[update]]} -> [update]
  merge: ({ groups }) => groups.map((updates) => text(Y.mergeUpdates(updates.map(bytes)))),

  // {groups: [[update]]} -> [canonical state] of fresh documents fed in the order given
  state: ({ groups }) => groups.map((updates) => {
    const doc = reader()
    applyAll(doc, updates.map(bytes))
    return canonical(doc)
  }),

  // {seeds: [str]} -> [canonical state] that every replica of the history must reach
  expected: ({ seeds }) => seeds.map((seed) => histories.get(seed).expected),

  // {path, limit} -> {updates, text}: a recorded single-writer editing session as the updates of one client
  trace: ({ path, limit }) => {
    const { updates, content } = replay(path, limit)
    return { updates: updates.map(text), text: content }
  },

  // {} -> null: forgets all histories and documents
  reset: () => {
    histories.clear()
    documents.clear()
    return null
  }
}

// The driver is gone: so is the reason to be here.
process.stdout.on('error', () => process.exit(1))

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let answer
  try {
    const { command, ...rest } = JSON.parse(line)
    answer = { ok: commands[command](rest) }
  } catch (error) {
    answer = { error: String(error?.stack ?? error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
