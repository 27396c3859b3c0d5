// Stock Yjs clients for the tests: y-websocket providers on the `ws` socket, opened with a few words and closed after each test.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { WebSocket } from 'ws'
import * as Y from 'yjs'
import { WebsocketProvider } from 'y-websocket'
import { canonical, ROOTS } from '../../oracle/canonical.mjs'

export { Y, sleep }

// y-websocket's resyncInterval looks at the global one, which Node has from version 22 on.
globalThis.WebSocket ??= WebSocket
// Every provider listens for the end of the process.
process.setMaxListeners(0)

/** ws://host:port/prefix of the server that pytest started. */
export const URL_OF_SERVER = process.env.SYNCD_URL ?? 'ws://127.0.0.1:1234'

/** A room nobody else uses. */
export const room = (name = 'room') => `${name}-${randomUUID()}`

const opened = []

/** A client: document, provider, the four root types. `options` go to the provider, `doc` may be an existing one. */
export const open = (name, { url = URL_OF_SERVER, doc = new Y.Doc(), ...options } = {}) => {
  const provider = new WebsocketProvider(url, name, doc, { WebSocketPolyfill: WebSocket, disableBc: true, ...options })
  // A refused connection is an error event; the provider reconnects, and the tests look at what comes of it.
  provider.on('connection-error', () => {})
  const client = { doc, provider, awareness: provider.awareness, closes: [] }
  provider.on('connection-close', (event) => { if (event !== null) client.closes.push(event.code) })
  for (const [root, kind] of Object.entries(ROOTS)) client[root] = doc.get(root, Y[kind])
  opened.push(client)
  return client
}

/** Ends every client of a test; for `afterEach`. */
export const closeAll = () => {
  for (const { provider, awareness, doc } of opened.splice(0)) {
    provider.destroy()
    awareness.destroy()
    doc.destroy()
  }
}

/** Resolves when `condition` holds; the deadline is generous, because tests say what must happen, not how fast. */
export const until = async (condition, what, ms = 10_000) => {
  const deadline = Date.now() + ms
  while (!condition()) {
    if (Date.now() > deadline) assert.fail(`not within ${ms} ms: ${what}`)
    await sleep(5)
  }
}

/** A client whose first sync is complete. */
export const join = async (name, options) => {
  const client = open(name, options)
  await until(() => client.provider.synced, `the first sync of ${name}`)
  return client
}

/** What the process would leave behind when its machine loses power: nothing is sent, the socket is just gone. */
export const cut = ({ provider }) => provider.ws?.terminate()

const copy = (doc) => {
  const fresh = new Y.Doc()
  Y.applyUpdate(fresh, Y.encodeStateAsUpdate(doc))
  return fresh
}

/** Comparable state of a client's document: content, state vector, delete set, nothing pending. */
export const state = ({ doc }) => JSON.stringify(canonical(copy(doc)))

/** Waits until all clients have the same state, and returns it. */
export const converged = async (clients, ms = 10_000) => {
  await until(() => new Set(clients.map(state)).size === 1, 'all clients have the same state', ms)
  const found = canonical(copy(clients[0].doc))
  assert.equal(found.pending, false)
  return found
}

/** Runs an edit that must reach the others: `check` is asked of every client. */
export const reaches = async (clients, check, what) => until(() => clients.every(check), what)
