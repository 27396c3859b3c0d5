// Tokens: who may read, who may write, and what a stock client notices of a refusal.
import assert from 'node:assert/strict'
import { createHmac } from 'node:crypto'
import { after, afterEach, before, test } from 'node:test'
import { closeAll, converged, join, open, room, sleep, until } from './clients.mjs'
import { Server, stopServers } from './server.mjs'
import { barrier, closeSockets, presence, Raw, syncStep2, syncUpdate, updatesOf } from './sockets.mjs'

const SECRET = 'a secret of at least thirty-two bytes'
const SETTINGS = { SYNCD_AUTH: 'external', SYNCD_JWT_SECRET: SECRET, SYNCD_JWT_LEEWAY: '0' }

let server
before(async () => { server = await Server.start(SETTINGS) })
after(stopServers)
afterEach(() => {
  closeAll()
  closeSockets()
})

/** A room token as somebody else's backend mints it. */
const mint = (name, role, seconds = 3600, secret = SECRET) => {
  const now = Math.floor(Date.now() / 1000)
  const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url')
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub: 'u1', room: name, role, iat: now, exp: now + seconds })}`
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`
}

const withToken = (name, role) => ({ url: server.url, params: { token: mint(name, role) } })
const rawWith = (name, role) => ({ url: server.url, name: `${name}?token=${mint(name, role)}` })

test('a token that `syncd token` prints opens its room', async () => {
  const name = room()
  const client = await join(name, { url: server.url, params: { token: server.token(name, '--role', 'write') } })
  client.t.insert(0, 'x')
  const other = await join(name, withToken(name, 'read'))
  await until(() => other.t.toString() === 'x', 'the text')
})

test('a reader gets document, edits and presence, and is seen', async () => {
  const name = room()
  const writer = await join(name, withToken(name, 'write'))
  writer.t.insert(0, 'text')
  writer.awareness.setLocalStateField('user', 'Writer')
  const reader = await join(name, withToken(name, 'read'))
  assert.equal(reader.t.toString(), 'text')
  writer.t.insert(4, ' more')
  await until(() => reader.t.toString() === 'text more', 'the edit')
  reader.awareness.setLocalStateField('user', 'Reader')
  const user = (viewer, other) => viewer.awareness.getStates().get(other.doc.clientID)?.user
  await until(() => user(reader, writer) === 'Writer' && user(writer, reader) === 'Reader', 'both see each other')
})

test('what a reader writes is refused visibly and reaches nobody', async () => {
  const name = room()
  const writer = await join(name, withToken(name, 'write'))
  writer.t.insert(0, 'text')
  const { url, name: path } = rawWith(name, 'read')
  const raw = await Raw.synced(path, { url })
  const [update] = updatesOf((doc) => doc.getText('t').insert(0, 'forbidden'))
  for (const message of [syncUpdate(update), syncStep2(update)]) raw.send(message)
  await raw.receive('02 00', 'permission denied')
  await sleep(300)
  assert.equal(writer.t.toString(), 'text')
  if (raw.isOpen()) {
    await raw.settled()
  } else {
    assert.ok(raw.closed.code >= 4400 && raw.closed.code < 4500, String(raw.closed.code))
  }
  const late = await join(name, withToken(name, 'read'))
  assert.equal(late.t.toString(), 'text')
})

test('the empty SyncStep2 with which a reader answers the server is not a refused write', async () => {
  const name = room()
  const reader = await join(name, withToken(name, 'read'))
  let denied = 0
  reader.provider.messageHandlers[2] = () => { denied++ }
  await sleep(300)
  assert.equal(denied, 0)
  assert.deepEqual(reader.closes, [])
})

test('a reader that has what the server has may send it back', async () => {
  const name = room()
  const writer = await join(name, withToken(name, 'write'))
  writer.t.insert(0, 'text')
  const first = await join(name, withToken(name, 'read'))
  await converged([writer, first])
  first.provider.disconnect()
  first.provider.connect()
  await until(() => first.provider.synced, 'back')
  assert.deepEqual(first.closes, [])
  assert.ok(first.provider.wsconnected)
})

test('a barrier of a reader is answered, or ignored, but does not cost the connection', async () => {
  const name = room()
  const { url, name: path } = rawWith(name, 'read')
  const raw = await Raw.open(path, { url })
  raw.send(barrier(1))
  await raw.settled()
  assert.ok(raw.isOpen())
})

const stops = async (client, code) => {
  await until(() => client.closes.length > 0, 'a close')
  assert.deepEqual(client.closes, [code])
  await sleep(3000)
  assert.deepEqual(client.closes, [code], 'a 3.1.0 client stops for good')
  assert.equal(client.provider.shouldConnect, false)
  assert.equal(client.provider.synced, false)
}

test('a token of another room is refused with 4403, and the client stops', async () => {
  const name = room()
  await stops(open(name, { url: server.url, params: { token: mint('elsewhere', 'write') } }), 4403)
})

test('no token is refused with 4401, and the client stops', () => stops(open(room(), { url: server.url }), 4401))

test('a broken token is refused with 4401, and the client stops', async () => {
  const name = room()
  const token = mint(name, 'write', 3600, 'another secret of thirty-two bytes')
  await stops(open(name, { url: server.url, params: { token } }), 4401)
})

test('the reason of a refusal comes as a permission-denied message', async () => {
  const name = room()
  const raw = await Raw.open(name, { url: server.url })
  await raw.receive('02 00', 'permission denied')
  await until(() => raw.closed !== null, 'the close')
  assert.equal(raw.closed.code, 4401)
})

test('what is sent before a refusal reaches nobody', async () => {
  const name = room()
  const writer = await join(name, withToken(name, 'write'))
  const raw = await Raw.open(name, { url: server.url })
  raw.send(syncUpdate(updatesOf((doc) => doc.getText('t').insert(0, 'intruder'))[0]))
  raw.send(presence([{ client: 5, clock: 1, state: { user: 'intruder' } }]))
  await until(() => raw.closed !== null, 'the close')
  assert.equal(writer.t.toString(), '')
  assert.equal(writer.awareness.getStates().has(5), false)
})

test('a token as a subprotocol', async () => {
  const name = room()
  const token = mint(name, 'write')
  const client = await join(name, { url: server.url, protocols: ['syncd', `bearer.${token}`] })
  assert.equal(client.provider.ws.protocol, 'syncd', 'the token is not sent back')
  client.t.insert(0, 'x')
  const other = await join(name, withToken(name, 'read'))
  await until(() => other.t.toString() === 'x', 'the text')
})

test('a token that expires on an open socket ends it with a code after which clients come back', async () => {
  const name = room()
  const client = await join(name, { url: server.url, params: { token: mint(name, 'write', 3) } })
  await until(() => client.closes.length > 0, 'the close', 12_000)
  assert.ok(!(client.closes[0] >= 4400 && client.closes[0] < 4500), String(client.closes[0]))
  client.provider.params = { token: mint(name, 'write') }
  await until(() => client.provider.synced, 'back with a new token')
})
