// Yjs 14 clients (release candidate, `@y/y` and `@y/websocket`) in the same rooms as Yjs 13.
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { WebSocket } from 'ws'
import * as Y14 from '@y/y'
import { WebsocketProvider } from '@y/websocket'
import { closeAll, cut, join, room, sleep, until, URL_OF_SERVER } from './clients.mjs'

const opened = []

const join14 = async (name, doc = new Y14.Doc()) => {
  const provider = new WebsocketProvider(URL_OF_SERVER, name, doc, { WebSocketPolyfill: WebSocket, disableBc: true })
  provider.on('connection-error', () => {})
  const client = { doc, provider, awareness: provider.awareness, t: doc.get('t'), m: doc.get('m') }
  opened.push(client)
  await until(() => provider.synced, 'the first sync of a Yjs 14 client')
  return client
}

afterEach(() => {
  closeAll()
  for (const { provider, awareness, doc } of opened.splice(0)) {
    provider.destroy()
    awareness.destroy()
    doc.destroy()
  }
})

test('text and attributes between two clients of Yjs 14', async () => {
  const name = room()
  const [a, b] = [await join14(name), await join14(name)]
  a.t.insert(0, 'hello 🎉')
  await until(() => b.t.toString() === a.t.toString() && b.t.length === 8, 'the text')
  b.t.delete(0, 1)
  a.m.setAttr('k', { n: 1 })
  await until(() => a.t.toString() === b.t.toString() && b.m.getAttr('k')?.n === 1, 'the delete and the attribute')
})

test('Yjs 13 and Yjs 14 edit one document', async () => {
  const name = room()
  const [old, fresh] = [await join(name), await join14(name)]
  assert.ok(fresh.doc.clientID > 0xffffffff || fresh.doc.clientID >= 0, 'ids of 53 bits')
  old.t.insert(0, 'from 13')
  await until(() => fresh.t.length === 7, 'the text at 14')
  fresh.t.insert(7, ' and 14')
  await until(() => old.t.toString() === 'from 13 and 14', 'the text at 13')
  fresh.t.delete(0, 5)
  old.m.set('k', 'v')
  await until(() => old.t.toString() === '13 and 14' && fresh.m.getAttr('k') === 'v', 'the delete at 13, the map at 14')
  const late = await join(name)
  assert.equal(late.t.toString(), '13 and 14')
})

test('a client of Yjs 14 goes offline, edits, and returns', async () => {
  const name = room()
  const [a, b] = [await join14(name), await join14(name)]
  a.t.insert(0, 'base')
  await until(() => b.t.length === 4, 'the base')
  a.provider.disconnect()
  a.t.insert(4, ' offline')
  b.t.insert(0, 'online ')
  await sleep(100)
  a.provider.connect()
  await until(() => a.t.length === 19 && b.t.length === 19, 'both edits on both sides')
  assert.equal(a.t.toString(), b.t.toString())
})

test('presence between Yjs 13 and Yjs 14', async () => {
  const name = room()
  const [old, fresh] = [await join(name), await join14(name)]
  old.awareness.setLocalStateField('user', 'thirteen')
  fresh.awareness.setLocalStateField('user', 'fourteen')
  const user = (viewer, other) => viewer.awareness.getStates().get(other.doc.clientID)?.user
  await until(() => user(old, fresh) === 'fourteen' && user(fresh, old) === 'thirteen', 'both see each other')
  fresh.provider.shouldConnect = false
  cut(fresh)
  await until(() => user(old, fresh) === undefined, 'the crashed one is gone', 8000)
})

test('an update of Yjs 14 that skips over a hole is completed later', async () => {
  const name = room()
  const old = await join(name)
  const writer = new Y14.Doc()
  const updates = []
  writer.on('update', (update) => updates.push(update))
  for (const [at, letter] of [...'abc'].entries()) writer.get('t').insert(at, letter)
  const holed = new Y14.Doc()
  Y14.applyUpdate(holed, updates[0])
  Y14.applyUpdate(holed, updates[2])
  const fresh = await join14(name, holed)
  await sleep(200)
  Y14.applyUpdate(fresh.doc, updates[1])
  await until(() => old.t.toString() === 'abc', 'the whole text at 13')
})
