// The server crashes or is replaced: clients come back by themselves, and nothing they see is lost.
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { closeAll, converged, join, room, until } from './clients.mjs'
import { Server, stopServers } from './server.mjs'
import { barrier, closeSockets, Raw, syncUpdate, updatesOf } from './sockets.mjs'

afterEach(async () => {
  closeAll()
  closeSockets()
  await stopServers()
})

test('kill -9 and start again: clients resume, what was typed meanwhile is exchanged', async () => {
  const server = await Server.start()
  const name = room()
  const [a, b] = [await join(name, server), await join(name, server)]
  a.t.insert(0, 'before ')
  b.m.set('k', 1)
  await converged([a, b])
  await server.kill()
  await until(() => !a.provider.wsconnected && !b.provider.wsconnected, 'both notice')
  a.t.insert(a.t.length, 'while down')
  b.m.delete('k')
  await server.start()
  await until(() => a.provider.synced && b.provider.synced, 'both are back')
  const { roots } = await converged([a, b])
  assert.deepEqual(roots.m.entries, {})
  const late = await join(name, server)
  assert.equal(late.t.toString(), 'before while down')
})

test('what was reported saved is there for a stranger after kill -9', async () => {
  const server = await Server.start()
  const name = room()
  const raw = await Raw.open(name, server)
  const updates = updatesOf((doc) => doc.getText('t').insert(0, 'saved and deleted'), (doc) => doc.getText('t').delete(5, 12))
  for (const update of updates) raw.send(syncUpdate(update))
  raw.send(barrier(1))
  await raw.receive('66')
  await server.kill()
  await server.start()
  const late = await join(name, server)
  assert.equal(late.t.toString(), 'saved')
})

test('SIGTERM: sockets close with 1012, the process ends with 0, and clients are back within 2.5 s of the new one', async () => {
  const server = await Server.start({ SYNCD_DRAIN_TIMEOUT: '3' })
  const name = room()
  const [a, b] = [await join(name, server), await join(name, server)]
  a.t.insert(0, 'typed at the very end')
  assert.equal(await server.stop(), 0)
  await until(() => a.closes.length > 0 && b.closes.length > 0, 'both were closed')
  assert.deepEqual([a.closes[0], b.closes[0]], [1012, 1012])
  await server.start()
  const ready = Date.now()
  await until(() => a.provider.synced && b.provider.synced, 'both are back')
  // maxBackoffTime of the client is 2.5 s; the rest is this machine's.
  assert.ok(Date.now() - ready < 2500 + 1000, `after ${Date.now() - ready} ms`)
  const late = await join(name, server)
  assert.equal(late.t.toString(), 'typed at the very end')
})

test('presence is back after a restart without waiting for its renewal', async () => {
  const server = await Server.start()
  const name = room()
  const [a, b] = [await join(name, server), await join(name, server)]
  a.awareness.setLocalStateField('user', 'Ada')
  const seen = () => b.awareness.getStates().get(a.doc.clientID)?.user === 'Ada'
  await until(seen, 'B sees A')
  await server.kill()
  await until(() => !seen(), 'A is offline for B')
  await server.start()
  await until(() => a.provider.synced && b.provider.synced, 'both are back')
  await until(seen, 'B sees A again', 8000)
})
