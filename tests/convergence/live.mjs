// A recorded session of several people, replayed by as many stock clients through the real server.
//
//   node live.mjs URL [FILE]      FILE: a concurrent session of josephg/editing-traces, gzipped; without it one is generated
//
// A transaction's positions hold in the document that its parents lead to. So every person has two documents: the one that
// is connected, which hears everything at once and is judged in the end, and the one they edit, which is given what the
// others did only when the session says that they had seen it. (It is given what the others sent, not what the server
// passed on: of two deletes of one letter the server rightly passes on one, but a session may know only the other.)
import assert from 'node:assert/strict'
import { closeAll, join, room, sleep, until, Y } from '../interop/js/clients.mjs'
import { Random } from '../oracle/random.mjs'
import { astral, load, patch } from '../oracle/trace.mjs'

class Person {
  constructor (client, clientID) {
    this.client = client
    this.doc = new Y.Doc()
    this.doc.clientID = clientID
    this.text = this.doc.getText('t')
    this.seen = new Set()
    this.typed = []
    this.doc.on('update', (update, origin) => {
      if (origin === 'heard') return
      this.typed.push(update)
      // To the connected document, and from there to the server.
      Y.applyUpdate(client.doc, update, 'typed')
    })
  }
}

const settled = (people) => {
  const wanted = state(people[0].client.doc)
  return people.every(({ client }) => state(client.doc) === wanted)
}

const state = (doc) => `${[...Y.decodeStateVector(Y.encodeStateVector(doc))].sort()} ${doc.getText('t').length}`

/** The transactions in runs: one person's, none of which anybody else's run begins in the middle of. */
const runsOf = ({ txns }) => {
  const starts = new Set([0])
  txns.forEach(({ agent, parents }, at) => {
    if (at > 0 && (txns[at - 1].agent !== agent || parents.some((parent) => txns[parent].agent !== agent))) starts.add(at)
    for (const parent of parents) if (txns[parent].agent !== agent && parent + 1 < txns.length) starts.add(parent + 1)
  })
  return [...starts].sort((a, b) => a - b).map((start, at, all) => ({ start, end: all[at + 1] ?? txns.length }))
}

/** Everything that a transaction's parents lead to, and that its author has not seen: in order. */
const unseen = (session, person, parents) => {
  const found = []
  const queue = [...parents]
  while (queue.length > 0) {
    const at = queue.pop()
    if (person.seen.has(at)) continue
    person.seen.add(at)
    found.push(at)
    queue.push(...session.txns[at].parents)
  }
  return found.sort((a, b) => a - b)
}

export const replay = async (url, session) => {
  const name = room('trace')
  const people = []
  for (let agent = 0; agent < session.numAgents; agent++) people.push(new Person(await join(name, { url }), agent + 1))
  const withAstral = astral(session)
  const typed = new Map() // the updates of each run, by its last transaction
  for (const { start, end } of runsOf(session)) {
    const author = people[session.txns[start].agent]
    for (const at of unseen(session, author, session.txns[start].parents)) {
      for (const update of typed.get(at) ?? []) Y.applyUpdate(author.doc, update, 'heard')
    }
    const points = Object.assign([...author.text.toString()], { hasAstral: withAstral })
    for (let at = start; at < end; at++) {
      author.doc.transact(() => session.txns[at].patches.forEach((one) => patch(points, author.text, one)))
      author.seen.add(at)
    }
    await until(() => settled(people), `the run ${start}-${end} reaches everybody`, 30_000)
    typed.set(end - 1, author.typed.splice(0))
  }
  for (const person of people) assert.equal(person.client.t.toString(), session.endContent)
  const late = await join(name, { url })
  assert.equal(late.t.toString(), session.endContent)
  closeAll()
}

/** A session in the same form, made up: people who type, delete, and see each other's work now and then. */
export const generated = (seed, transactions) => {
  const random = new Random(seed)
  const numAgents = 3
  const docs = Array.from({ length: numAgents }, (_, agent) => {
    const doc = new Y.Doc()
    doc.clientID = agent + 1
    return doc
  })
  const heads = docs.map(() => [])
  const txns = []
  while (txns.length < transactions) {
    const agent = random.int(0, numAgents - 1)
    const [doc, text] = [docs[agent], docs[agent].getText('t')]
    if (random.chance(0.3)) {
      const other = random.int(0, numAgents - 1)
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(docs[other], Y.encodeStateVector(doc)))
      heads[agent] = [...new Set([...heads[agent], ...heads[other]])]
    }
    for (let i = random.int(1, 12); i > 0; i--) {
      const points = [...text.toString()]
      points.hasAstral = points.length !== text.length
      const position = random.int(0, points.length)
      const deleted = random.chance(0.3) ? random.int(0, Math.min(3, points.length - position)) : 0
      const one = [position, deleted, random.pick(['a', 'b ', '\n', 'é', '🎉', '', 'word'])]
      doc.transact(() => patch(points, text, one))
      txns.push({ agent, parents: heads[agent], patches: [one] })
      heads[agent] = [txns.length - 1]
    }
  }
  for (const doc of docs) Y.applyUpdate(docs[0], Y.encodeStateAsUpdate(doc))
  return { kind: 'concurrent', numAgents, txns, endContent: docs[0].getText('t').toString() }
}

const [url, file] = process.argv.slice(2)
const session = file === undefined ? generated(process.env.SYNCD_SEED ?? '1', 1500) : load(file)
const started = Date.now()
await replay(url, session)
await sleep(50)
console.log(`${session.txns.length} transactions of ${session.numAgents} people in ${runsOf(session).length} runs, ` +
  `${session.endContent.length} characters, ${Date.now() - started} ms: the same everywhere`)
process.exit(0)
