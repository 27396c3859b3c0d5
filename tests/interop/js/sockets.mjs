// Bare websockets, for what a stock client would never send.
import assert from 'node:assert/strict'
import * as decoding from 'lib0/decoding'
import * as encoding from 'lib0/encoding'
import { WebSocket } from 'ws'
import { sleep, until, URL_OF_SERVER, Y } from './clients.mjs'

export const hex = (text) => Buffer.from(text.replaceAll(' ', ''), 'hex')

const opened = []

/** A socket with everything it received, decoded. */
export class Raw {
  constructor (name, { url = URL_OF_SERVER, protocols = [], headers = {} } = {}) {
    this.ws = new WebSocket(`${url}/${name}`, protocols, { headers })
    this.ws.binaryType = 'nodebuffer'
    this.frames = []
    this.closed = null
    this.failed = null
    this.doc = new Y.Doc()
    this.ws.on('message', (data) => this.frames.push(data))
    this.ws.on('close', (code, reason) => { this.closed = { code, reason: String(reason) } })
    this.ws.on('error', (error) => { this.failed = error })
    opened.push(this)
  }

  static async open (name, options) {
    const raw = new Raw(name, options)
    await until(() => raw.ws.readyState === WebSocket.OPEN || raw.failed !== null, `the socket to ${name} opens`)
    if (raw.failed !== null) throw raw.failed
    return raw
  }

  /** A socket that has done its first sync, as a reader has; before that nobody is owed updates. */
  static async synced (name, options) {
    const raw = await Raw.open(name, options)
    await raw.settled()
    return raw
  }

  send (data) {
    this.ws.send(typeof data === 'string' ? hex(data) : data)
  }

  /** Frames that begin with these bytes (hex). */
  starting (prefix) {
    const head = hex(prefix)
    return this.frames.filter((frame) => frame.subarray(0, head.length).equals(head))
  }

  /** Waits for a frame that begins so, and returns it. */
  async receive (prefix, what = prefix) {
    await until(() => this.starting(prefix).length > 0, `a frame ${what}`)
    return this.starting(prefix)[0]
  }

  /** Proves that the server has dealt with everything sent so far: a SyncStep1 is always answered, and in order. */
  async settled () {
    const before = this.starting('0001').length
    this.send('00000100')
    await until(() => this.starting('0001').length > before, 'an answer to SyncStep1')
  }

  /** The document that this socket has heard of. */
  heard () {
    const doc = new Y.Doc()
    for (const frame of this.frames) {
      if (frame[0] === 0 && (frame[1] === 1 || frame[1] === 2)) {
        const decoder = decoding.createDecoder(frame.subarray(2))
        Y.applyUpdate(doc, decoding.readVarUint8Array(decoder))
      }
    }
    return doc
  }

  /** Presence states in everything heard: [{client, clock, state}]. */
  presence () {
    return this.frames.filter((frame) => frame[0] === 1).flatMap(readPresence)
  }

  isOpen () {
    return this.ws.readyState === WebSocket.OPEN
  }
}

export const closeSockets = () => {
  for (const { ws } of opened.splice(0)) ws.terminate()
}

const message = (kind, payload, sub) => {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, kind)
  if (sub !== undefined) encoding.writeVarUint(encoder, sub)
  encoding.writeVarUint8Array(encoder, payload)
  return encoding.toUint8Array(encoder)
}

export const syncUpdate = (update) => message(0, update, 2)
export const syncStep1 = (stateVector) => message(0, stateVector, 0)
export const syncStep2 = (update) => message(0, update, 1)

/** An awareness message about [{client, clock, state}]. */
export const presence = (states) => {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, states.length)
  for (const { client, clock, state } of states) {
    encoding.writeVarUint(encoder, client)
    encoding.writeVarUint(encoder, clock)
    encoding.writeVarString(encoder, typeof state === 'string' ? state : JSON.stringify(state))
  }
  return message(1, encoding.toUint8Array(encoder))
}

/** y-sweet's sync status: a counter that is echoed once everything before it is saved. */
export const barrier = (counter) => {
  const encoder = encoding.createEncoder()
  encoding.writeVarUint(encoder, counter)
  return message(102, encoding.toUint8Array(encoder))
}

const readPresence = (frame) => {
  const decoder = decoding.createDecoder(decoding.readVarUint8Array(decoding.createDecoder(frame.subarray(1))))
  return Array.from({ length: decoding.readVarUint(decoder) }, () => ({
    client: decoding.readVarUint(decoder),
    clock: decoding.readVarUint(decoder),
    state: JSON.parse(decoding.readVarString(decoder))
  }))
}

/** The updates that an edit of a fresh client causes, one per transaction. */
export const updatesOf = (...edits) => {
  const doc = new Y.Doc()
  const updates = []
  doc.on('update', (update) => updates.push(update))
  for (const edit of edits) doc.transact(() => edit(doc))
  return updates
}

/** Asserts that something does not come: waits for a round trip of the same socket, and a little for other paths. */
export const never = async (raw, condition, what, ms = 300) => {
  await raw.settled()
  await sleep(ms)
  assert.ok(!condition(), what)
}
