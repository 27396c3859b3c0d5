// Stock Yjs clients that write unique tokens and note what the server reported saved; driven by kill9.py over stdin.
//
// A token `[client-round-number]` goes into the text and into the map in one transaction, and is deleted from both by the
// same client, in that round or a later one. So a state can be judged without knowing the order of anything: a text is a
// row of whole tokens, each once, and the same tokens are in the map.
import { createInterface } from 'node:readline'
import * as decoding from '../interop/node_modules/lib0/decoding.js'
import * as syncProtocol from '../interop/node_modules/y-protocols/sync.js'
import { closeAll, cut, open, until } from '../interop/js/clients.mjs'
import { barrier } from '../interop/js/sockets.mjs'
import { Random } from '../oracle/random.mjs'

const SYNC = 0
const SAVED = 102

class Writer {
  constructor (url, room, index, round, seed) {
    this.random = new Random(`${seed}/${room}/${index}/${round}`)
    this.room = room
    this.index = index
    this.round = round
    this.inserted = new Map() // token -> saved
    this.deleted = new Map() // token -> saved
    this.log = [] // [kind, token] in the order in which they were done
    this.barriers = [] // [counter, length of the log], of this connection
    this.counter = 0
    this.done = 0
    this.uploaded = false
    this.running = true
    this.client = open(room, { url, maxBackoffTime: 300 })
    this.listen(this.client.provider)
    this.work()
  }

  /** Barriers count per connection, and only once the client has uploaded what it did offline. */
  listen (provider) {
    const handlers = provider.messageHandlers
    const sync = handlers[SYNC]
    handlers[SYNC] = (encoder, decoder, ...rest) => {
      const kind = decoding.peekVarUint(decoder)
      sync(encoder, decoder, ...rest)
      // The reply is sent when this returns.
      if (kind === syncProtocol.messageYjsSyncStep1) queueMicrotask(() => { this.uploaded = provider.wsconnected })
    }
    handlers[SAVED] = (_encoder, decoder) => {
      const counter = decoding.readVarUint(decoding.createDecoder(decoding.readVarUint8Array(decoder)))
      this.saved(counter)
    }
    provider.on('connection-close', () => {
      this.uploaded = false
      this.barriers = []
    })
  }

  saved (counter) {
    const at = this.barriers.findIndex(([number]) => number === counter)
    if (at < 0) throw new Error(`the server reported a barrier (${counter}) that this connection did not send`)
    const [, length] = this.barriers[at]
    this.barriers.splice(0, at + 1)
    for (; this.done < length; this.done++) {
      const [kind, token] = this.log[this.done]
      this[kind].set(token, true)
    }
  }

  async work () {
    while (this.running) {
      if (this.client.provider.synced) this.step()
      await new Promise((resolve) => setTimeout(resolve, this.random.int(0, 6)))
    }
  }

  step () {
    const { provider, doc } = this.client
    const burst = this.random.chance(0.1) ? this.random.int(2, 12) : 1
    for (let i = 0; i < burst; i++) doc.transact(() => this.random.chance(0.6) ? this.insert() : this.remove())
    if (this.uploaded && this.random.chance(0.3)) {
      this.counter++
      this.barriers.push([this.counter, this.log.length])
      provider.ws.send(barrier(this.counter))
    }
    if (this.random.chance(0.004)) cut(this.client)
  }

  insert () {
    const { t, m } = this.client
    const token = `[${this.index}-${this.round}-${this.inserted.size}]`
    const text = t.toString()
    const at = text.indexOf(']', this.random.int(0, text.length)) + 1
    t.insert(at, token)
    m.set(token, this.round)
    this.inserted.set(token, false)
    this.log.push(['inserted', token])
  }

  remove () {
    const { t, m } = this.client
    const text = t.toString()
    const from = text.indexOf(`[${this.index}-`, this.random.int(0, text.length))
    if (from < 0) return this.insert()
    const token = text.slice(from, text.indexOf(']', from) + 1)
    t.delete(from, token.length)
    m.delete(token)
    this.deleted.set(token, false)
    this.log.push(['deleted', token])
  }

  stop () {
    this.running = false
    this.client.provider.shouldConnect = false
    return { room: this.room, inserted: [...this.inserted], deleted: [...this.deleted] }
  }
}

let writers = []

const commands = {
  // {url, rooms, clients, round, seed} -> null, once all have done their first sync
  load: async ({ url, rooms, clients, round, seed }) => {
    writers = rooms.flatMap((room) => Array.from({ length: clients }, (_, index) => new Writer(url, room, index, round, seed)))
    await until(() => writers.every(({ client }) => client.provider.synced), 'all writers are in', 30_000)
    return null
  },

  // {} -> [{room, inserted: [[token, saved]], deleted: [[token, saved]]}]; the writers' documents are gone, so that they
  // cannot bring back what the server lost
  stop: async () => {
    const notes = writers.map((writer) => writer.stop())
    closeAll()
    writers = []
    return notes
  },

  // {url, rooms} -> [{room, text, keys, pending}] as a stranger sees them
  read: async ({ url, rooms }) => {
    const clients = rooms.map((room) => open(room, { url, maxBackoffTime: 300 }))
    await until(() => clients.every(({ provider }) => provider.synced), 'a stranger is in', 30_000)
    const found = clients.map(({ doc, t, m }, at) => ({
      room: rooms[at],
      text: t.toString(),
      keys: [...m.keys()],
      pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null
    }))
    closeAll()
    return found
  }
}

// The driver is gone: so is the reason to be here.
process.stdout.on('error', () => process.exit(1))

for await (const line of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  let answer
  try {
    const { command, ...rest } = JSON.parse(line)
    answer = { ok: await commands[command](rest) }
  } catch (error) {
    answer = { error: String(error?.stack ?? error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
process.exit(0)
