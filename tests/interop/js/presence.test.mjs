// Who is here: presence of stock clients through joins, crashes, reconnects and the pitfalls of BroadcastChannel.
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { closeAll, cut, join, open, room, sleep, until } from './clients.mjs'
import { closeSockets, never, presence, Raw } from './sockets.mjs'

afterEach(() => {
  closeAll()
  closeSockets()
})

const sees = (viewer, other) => viewer.awareness.getStates().get(other.doc.clientID)
const named = (viewer, other, name) => sees(viewer, other)?.user === name

test('carets reach the others and follow', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.awareness.setLocalStateField('user', 'Ada')
  b.awareness.setLocalStateField('user', 'Béla 🎉')
  await until(() => named(b, a, 'Ada') && named(a, b, 'Béla 🎉'), 'both see each other')
  a.awareness.setLocalStateField('cursor', { at: 7 })
  await until(() => sees(b, a)?.cursor?.at === 7, 'the caret follows')
})

test('a late joiner gets the document and who is there', async () => {
  const name = room()
  const a = await join(name)
  a.t.insert(0, 'text')
  a.awareness.setLocalStateField('user', 'Ada')
  await sleep(100)
  const late = await join(name)
  assert.equal(late.t.toString(), 'text')
  await until(() => named(late, a, 'Ada'), 'the late joiner sees who is there')
})

test('leaving takes the caret away at once', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.awareness.setLocalStateField('user', 'Ada')
  await until(() => named(b, a, 'Ada'), 'B sees A')
  a.provider.disconnect()
  await until(() => sees(b, a) === undefined, 'A is gone for B')
})

test('a crash takes the caret away within seconds', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.awareness.setLocalStateField('user', 'Ada')
  await until(() => named(b, a, 'Ada'), 'B sees A')
  a.provider.shouldConnect = false
  cut(a)
  await until(() => sees(b, a) === undefined, 'A is gone for B', 8000)
})

test('a client that reconnects with an unchanged clock is visible again in well under 15 s', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.awareness.setLocalStateField('user', 'Ada')
  await until(() => named(b, a, 'Ada'), 'B sees A')
  a.provider.shouldConnect = false
  cut(a)
  await until(() => sees(b, a) === undefined, 'A is gone for B', 8000)
  const clock = a.awareness.meta.get(a.doc.clientID).clock
  a.provider.connect()
  await until(() => named(b, a, 'Ada'), 'B sees A again', 6000)
  assert.ok(a.awareness.meta.get(a.doc.clientID).clock <= clock + 2, 'without waiting for the renewal')
})

test('a short reconnect does not make the caret flicker, and a crash after it is still noticed', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.awareness.setLocalStateField('user', 'Ada')
  await until(() => named(b, a, 'Ada'), 'B sees A')
  let removals = 0
  b.awareness.on('change', ({ removed }) => { removals += removed.includes(a.doc.clientID) })
  cut(a)
  await until(() => !a.provider.wsconnected, 'A notices')
  await until(() => a.provider.wsconnected && a.provider.synced, 'A is back')
  await sleep(3000)
  assert.ok(named(b, a, 'Ada'), 'A is visible after its reconnect')
  assert.equal(removals, 0, 'nobody saw A leave')
  a.provider.shouldConnect = false
  cut(a)
  await until(() => sees(b, a) === undefined, 'A is gone for B', 8000)
})

test('nobody can speak for somebody else, or remove them', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.awareness.setLocalStateField('user', 'Ada')
  await until(() => named(b, a, 'Ada'), 'B sees A')
  const client = a.doc.clientID
  const { clock } = a.awareness.meta.get(client)
  let changes = 0
  b.awareness.on('update', ({ updated, removed }) => { changes += [...updated, ...removed].includes(client) })
  const mallory = await Raw.open(name)
  mallory.send(presence([{ client, clock: clock + 5, state: { user: 'Mallory' } }]))
  mallory.send(presence([{ client, clock: clock + 6, state: 'null' }]))
  await never(mallory, () => changes > 0 || !named(b, a, 'Ada'), 'B heard of A from somebody else')
})

test('echoes of remote presence do not make their sender the owner', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  const echo = await join(name)
  a.awareness.setLocalStateField('user', 'Ada')
  await until(() => named(b, a, 'Ada') && named(echo, a, 'Ada'), 'both see A')
  await sleep(200)
  echo.provider.shouldConnect = false
  cut(echo)
  await sleep(4000)
  assert.ok(named(b, a, 'Ada'), 'A is still here')
})

test('two tabs over BroadcastChannel: one loses its socket, third users stay visible', async () => {
  const name = room()
  const watcher = await join(name)
  const third = await join(name)
  third.awareness.setLocalStateField('user', 'Third')
  // Providers of one process that do not disable it share Node's BroadcastChannel, as tabs of one browser do.
  const tabs = [await join(name, { disableBc: false }), await join(name, { disableBc: false })]
  tabs.forEach((tab, at) => tab.awareness.setLocalStateField('user', `Tab ${at}`))
  await until(() => tabs.every((tab) => named(tab, third, 'Third') && named(watcher, tab, `Tab ${tabs.indexOf(tab)}`)), 'all see all')
  let removals = 0
  watcher.awareness.on('change', ({ removed }) => { removals += removed.includes(third.doc.clientID) })
  tabs[0].provider.shouldConnect = false
  cut(tabs[0])
  await until(() => sees(tabs[1], third) === undefined || !tabs[0].provider.wsconnected, 'the tab loses its socket')
  await sleep(1000)
  assert.ok(named(watcher, third, 'Third'), 'the third user is still visible to the watcher')
  assert.equal(removals, 0, 'and never vanished')
})

test('a fresh client without presence does not disturb', async () => {
  const name = room()
  const a = await join(name)
  a.awareness.setLocalState(null)
  const b = open(name)
  await until(() => b.provider.synced, 'synced')
  assert.equal(sees(b, a), undefined)
})
