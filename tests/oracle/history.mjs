// Random histories of several clients who edit, sync with each other now and then, undo, and resend what they have.
import { Y, ROOTS, applyAll, canonical, reader } from './canonical.mjs'
import { randomEdit } from './edits.mjs'
import { Random } from './random.mjs'

const FOCUS = [
  { t: 1, m: 0, a: 0, x: 0 }, { t: 4, m: 2, a: 2, x: 2 }, { t: 0, m: 1, a: 0, x: 0 }, { t: 0, m: 1, a: 2, x: 0 },
  { t: 0, m: 0, a: 0, x: 1 }, { t: 2, m: 1, a: 0, x: 0 }
]

class Client {
  constructor (random, id, gc, record) {
    this.doc = new Y.Doc({ gc })
    this.doc.clientID = id
    this.roots = Object.fromEntries(Object.entries(ROOTS).map(([name, kind]) => [name, this.doc.get(name, Y[kind])]))
    // captureTimeout 0: undo steps must follow the seed, not the clock.
    this.undo = new Y.UndoManager(Object.values(this.roots), { captureTimeout: 0, trackedOrigins: new Set([this]) })
    this.random = random
    this.sent = []
    this.known = [new Uint8Array([0])]
    // The rule of y-websocket: what did not come from the provider is sent.
    this.doc.on('update', (update, origin) => {
      if (origin === 'remote') return
      this.sent.push(update)
      record(update)
    })
  }

  edit (weights) {
    const count = this.random.chance(0.15) ? this.random.int(2, 4) : 1
    this.doc.transact(() => {
      for (let i = 0; i < count; i++) randomEdit(this.random, this.roots, weights)
    }, this)
  }

  undoOrRedo () {
    if (this.random.chance(0.65)) this.undo.undo()
    else this.undo.redo()
  }

  receive (update) {
    Y.applyUpdate(this.doc, update, 'remote')
  }
}

const clientIds = (random, count) => {
  const ids = new Set()
  // Yjs 14 draws 53 bits, Yjs 13 draws 32; small ids make ties and one-byte varints common.
  while (ids.size < count) {
    ids.add(random.chance(0.6) ? random.int(1, 9) : random.chance(0.5) ? random.int(1, 0xffffffff) : random.int(2 ** 33, 2 ** 53 - 1))
  }
  return [...ids]
}

const sync = (random, from, to) => {
  if (from.sent.length > 0 && random.chance(0.25)) {
    // A single update out of the middle: the receiver may have to keep it pending.
    to.receive(random.pick(from.sent))
    return
  }
  to.receive(Y.encodeStateAsUpdate(from.doc, Y.encodeStateVector(to.doc)))
  if (random.chance(0.5)) from.receive(Y.encodeStateAsUpdate(to.doc, Y.encodeStateVector(from.doc)))
}

const step = (random, clients, plan, record) => {
  const client = random.pick(clients)
  const kind = random.weighted(plan.weights)
  if (kind === 'sync') {
    const other = random.pick(clients)
    if (other !== client) sync(random, client, other)
  } else if (kind === 'undo') {
    client.undoOrRedo()
  } else if (kind === 'resend') {
    // What a client that reconnects uploads: a diff over an older state, of everybody's edits it knows.
    record(client, 'diff', Y.encodeStateAsUpdate(client.doc, random.pick(client.known)))
    client.known.push(Y.encodeStateVector(client.doc))
  } else {
    client.edit(plan.focus)
  }
}

/** Everything that a seed decides: the clients with their final documents, and the updates in the order they were emitted. */
export const generate = (seed, size = 24) => {
  const random = new Random(seed)
  const updates = []
  const plan = {
    focus: random.pick(FOCUS),
    weights: { edit: 10, sync: random.pick([0.5, 2, 6]), undo: random.pick([0, 0, 1.5]), resend: random.pick([0, 0.7]) }
  }
  const gc = random.chance(0.8)
  const clients = []
  const record = (client, kind, update) => updates.push({ client: clients.indexOf(client), kind, update })
  for (const id of clientIds(random, random.int(1, 4))) {
    const client = new Client(random, id, gc, (update) => record(client, 'update', update))
    clients.push(client)
  }
  // Most histories are small, because small ones fail in a way one can read; some are long enough to build up structure.
  const steps = random.int(3, random.chance(0.07) ? size * 5 : size)
  for (let i = 0; i < steps; i++) step(random, clients, plan, record)
  return { seed, clients, updates }
}

/** The state that every replica must reach: Yjs, fed with every update in the order in which they were emitted. */
export const expected = (history) => {
  const doc = reader()
  applyAll(doc, history.updates.map(({ update }) => update))
  return canonical(doc)
}
