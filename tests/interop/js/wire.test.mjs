// The protocol byte by byte, with sockets that say what no stock client would.
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import * as decoding from 'lib0/decoding'
import { closeAll, join, room, sleep, until, Y } from './clients.mjs'
import { barrier, closeSockets, hex, never, presence, Raw, syncStep1, syncStep2, syncUpdate, updatesOf } from './sockets.mjs'

afterEach(() => {
  closeAll()
  closeSockets()
})

const insert = (text, at = 0) => (doc) => doc.getText('t').insert(at, text)
const textOf = (doc) => doc.getText('t').toString()
const contentOf = async (name) => {
  const raw = await Raw.open(name)
  await raw.settled()
  return textOf(raw.heard())
}

test('an empty SyncStep1 is answered by a SyncStep2, and the server asks for what the client has', async () => {
  const raw = await Raw.open(room())
  raw.send('00 00 01 00')
  await raw.receive('00 01', 'SyncStep2')
  await raw.receive('00 00', 'SyncStep1')
  assert.ok((await raw.receive('00 01')).equals(hex('00 01 02 00 00')), 'of an empty document it is the empty update')
})

test('query awareness (03) names all who are here, in one frame', async () => {
  const name = room()
  const [a, b, asking] = [await Raw.open(name), await Raw.open(name), await Raw.open(name)]
  asking.send('03')
  await asking.settled()
  a.send(presence([{ client: 11, clock: 1, state: { user: 'A' } }]))
  b.send(presence([{ client: 22, clock: 1, state: { user: 'B' } }]))
  await until(() => asking.presence().length >= 2, 'both were heard')
  asking.frames.length = 0
  asking.send('03')
  await until(() => asking.presence().length > 0, 'an answer')
  assert.deepEqual(asking.presence().map(({ client }) => client).sort(), [11, 22])
  assert.equal(asking.starting('01').length, 1)
})

test('empty awareness (01 01 00) has no effect', async () => {
  const name = room()
  const [a, b] = [await Raw.open(name), await Raw.open(name)]
  a.send('01 01 00')
  await never(b, () => b.presence().length > 0, 'somebody appeared')
  await a.settled()
  assert.ok(a.isOpen())
})

test('an update without content (00 02 02 00 00) is neither relayed nor stored', async () => {
  const name = room()
  const [a, b] = [await Raw.open(name), await Raw.synced(name)]
  a.send('00 02 02 00 00')
  a.send('00 01 02 00 00')
  await a.settled()
  await never(b, () => b.starting('00 02').length > 0, 'an empty update was relayed')
})

test('a truncated message is ignored, the socket stays', async () => {
  const raw = await Raw.open(room())
  raw.send('00 00')
  raw.send('00')
  await raw.settled()
  assert.ok(raw.isOpen())
})

test('an empty frame is ignored', async () => {
  const raw = await Raw.open(room())
  raw.send(Buffer.alloc(0))
  await raw.settled()
  assert.ok(raw.isOpen())
})

test('two messages in one frame both count, a truncated tail behind them does not', async () => {
  const name = room()
  const raw = await Raw.open(name)
  const [one, two] = updatesOf(insert('one '), insert('two ', 4))
  raw.send(Buffer.concat([syncUpdate(one), syncUpdate(two), hex('00 00')]))
  await raw.settled()
  assert.ok(raw.isOpen())
  assert.equal(await contentOf(name), 'one two ')
})

test('an unknown message type is ignored, what comes in later frames is not', async () => {
  const name = room()
  const raw = await Raw.open(name)
  raw.send('63')
  raw.send('63 03 01 02 03')
  raw.send(syncUpdate(updatesOf(insert('after'))[0]))
  await raw.settled()
  assert.ok(raw.isOpen())
  assert.equal(await contentOf(name), 'after')
})

test('an auth message from a client is ignored', async () => {
  const raw = await Raw.open(room())
  raw.send('02 00 01 61')
  await raw.settled()
  assert.ok(raw.isOpen())
})

test('presence for an id that another connection introduced is not relayed', async () => {
  const name = room()
  const [owner, other, watcher] = [await Raw.open(name), await Raw.open(name), await Raw.open(name)]
  owner.send(presence([{ client: 77, clock: 3, state: { user: 'owner' } }]))
  await until(() => watcher.presence().length > 0, 'the owner is seen')
  other.send(presence([{ client: 77, clock: 9, state: { user: 'thief' } }]))
  other.send(presence([{ client: 77, clock: 9, state: 'null' }]))
  await other.settled()
  await never(watcher, () => watcher.presence().some(({ state }) => state === null || state.user === 'thief'), 'it was relayed')
})

test('presence that is not JSON reaches nobody', async () => {
  const name = room()
  const [bad, watcher] = [await Raw.open(name), await Raw.open(name)]
  for (const state of ['NaN', '{"a":Infinity}', '{', '', '{"a":1}x']) {
    if (!bad.isOpen()) break
    bad.send(presence([{ client: 78, clock: 1, state }]))
  }
  await never(watcher, () => watcher.presence().length > 0, 'it was relayed')
})

test('presence of more than 16 KiB reaches nobody', async () => {
  const name = room()
  const [big, watcher] = [await Raw.open(name), await Raw.open(name)]
  big.send(presence([{ client: 79, clock: 1, state: { blob: 'x'.repeat(17 * 1024) } }]))
  await never(watcher, () => watcher.presence().length > 0, 'it was relayed')
})

test('echoed presence is not relayed again', async () => {
  const name = room()
  const [owner, echo, watcher] = [await Raw.open(name), await Raw.open(name), await Raw.open(name)]
  owner.send(presence([{ client: 80, clock: 1, state: { user: 'owner' } }]))
  await until(() => watcher.presence().length === 1 && echo.presence().length === 1, 'all heard it once')
  echo.send(presence([{ client: 80, clock: 1, state: { user: 'owner' } }]))
  await echo.settled()
  await never(watcher, () => watcher.presence().length > 1, 'the echo was relayed')
})

test('every frame of the server holds exactly one message', async () => {
  const name = room()
  const watcher = await Raw.synced(name)
  const writers = await Promise.all(Array.from({ length: 5 }, () => join(name)))
  for (let i = 0; i < 40; i++) {
    for (const { t, awareness } of writers) {
      t.insert(0, 'x')
      awareness.setLocalStateField('n', i)
    }
    if (i % 10 === 0) await sleep(5)
  }
  await until(() => textOf(watcher.heard()).length === 200, 'all text')
  for (const frame of watcher.frames) {
    const decoder = decoding.createDecoder(frame)
    const kind = decoding.readVarUint(decoder)
    assert.ok([0, 1].includes(kind), `unexpected message ${kind}`)
    if (kind === 0) decoding.readVarUint(decoder)
    decoding.readVarUint8Array(decoder)
    assert.ok(!decoding.hasContent(decoder), 'something follows the first message')
  }
  assert.ok(watcher.starting('00 02').length < 200, 'updates are merged, not sent one by one')
})

test('the server asks everybody who joins for what it lacks, whatever they claim to have', async () => {
  const name = room()
  const raw = await Raw.open(name)
  const ahead = new Y.Doc()
  ahead.getText('t').insert(0, 'only I have this')
  raw.send(syncStep1(Y.encodeStateVector(ahead)))
  const asked = decoding.readVarUint8Array(decoding.createDecoder((await raw.receive('00 00')).subarray(2)))
  raw.send(syncStep2(Y.encodeStateAsUpdate(ahead, asked)))
  await raw.settled()
  assert.equal(await contentOf(name), 'only I have this')
})

test('an update whose past is missing is held back, and its sender asked at once', async () => {
  const name = room()
  const [raw, watcher] = [await Raw.open(name), await Raw.synced(name)]
  const [one, two, three] = updatesOf(insert('1'), insert('2', 1), insert('3', 2))
  raw.send(syncUpdate(one))
  await raw.settled()
  const asked = raw.starting('00 00').length
  raw.send(syncUpdate(three))
  await until(() => raw.starting('00 00').length > asked, 'a SyncStep1 for the gap')
  await never(watcher, () => textOf(watcher.heard()) !== '1', 'what came too early was relayed')
  raw.send(syncUpdate(two))
  await until(() => textOf(watcher.heard()) === '123', 'the rest follows')
  assert.equal(await contentOf(name), '123')
})

test('duplicates are not relayed', async () => {
  const name = room()
  const [raw, watcher] = [await Raw.open(name), await Raw.synced(name)]
  const [update] = updatesOf(insert('once'))
  raw.send(syncUpdate(update))
  await until(() => textOf(watcher.heard()) === 'once', 'the text')
  const before = watcher.starting('00 02').length
  for (let i = 0; i < 5; i++) raw.send(syncUpdate(update))
  await raw.settled()
  await never(watcher, () => watcher.starting('00 02').length > before, 'a duplicate was relayed')
})

test('a delete is relayed although no clock moves', async () => {
  const name = room()
  const [raw, watcher] = [await Raw.open(name), await Raw.synced(name)]
  for (const update of updatesOf(insert('gone'), (doc) => doc.getText('t').delete(0, 4))) raw.send(syncUpdate(update))
  await raw.settled()
  await until(() => watcher.starting('00 02').length > 0 && textOf(watcher.heard()) === '', 'the delete')
  assert.equal(await contentOf(name), '')
})

test('a Yjs 14 update with a Skip is taken where it is complete, and completed by what fills the hole', async () => {
  const name = room()
  const raw = await Raw.open(name)
  const [one, two, three] = updatesOf(insert('a'), insert('b', 1), insert('c', 2))
  const holed = Y.mergeUpdates([one, three])
  assert.ok(Y.decodeUpdate(holed).structs.some((struct) => struct.constructor.name === 'Skip'), 'the update has a Skip')
  raw.send(syncUpdate(holed))
  await raw.settled()
  raw.send(syncUpdate(two))
  await raw.settled()
  assert.equal(await contentOf(name), 'abc')
})

test('client ids of 53 bits', async () => {
  const name = room()
  const doc = new Y.Doc()
  doc.clientID = 2 ** 53 - 1
  doc.getText('t').insert(0, 'big')
  const raw = await Raw.open(name)
  raw.send(syncUpdate(Y.encodeStateAsUpdate(doc)))
  await raw.settled()
  assert.equal(await contentOf(name), 'big')
})

test('a message of 16 MiB and one byte ends with 1009 and disturbs nobody else', async () => {
  const name = room()
  const [big, other] = [await Raw.open(name), await Raw.open(name)]
  const exact = Buffer.alloc(16 * 1024 * 1024)
  exact[0] = 0x63
  big.send(exact)
  await big.settled()
  assert.ok(big.isOpen(), '16 MiB are allowed')
  big.send(Buffer.alloc(16 * 1024 * 1024 + 1))
  await until(() => big.closed !== null, 'the socket is closed')
  assert.equal(big.closed.code, 1009)
  other.send(syncUpdate(updatesOf(insert('alive'))[0]))
  await other.settled()
  assert.ok(other.isOpen())
  assert.equal(await contentOf(name), 'alive')
})

test('a text frame is refused with 1003', async () => {
  const raw = await Raw.open(room())
  raw.ws.send('hello')
  await until(() => raw.closed !== null, 'the socket is closed')
  assert.equal(raw.closed.code, 1003)
})

test('a fragmented message is put together, also with a ping in between', async () => {
  const name = room()
  const raw = await Raw.open(name)
  const whole = syncUpdate(updatesOf(insert('fragments'))[0])
  raw.ws.send(whole.subarray(0, 5), { fin: false })
  raw.ws.ping()
  raw.ws.send(whole.subarray(5, 9), { fin: false })
  raw.ws.send(whole.subarray(9), { fin: true })
  await raw.settled()
  assert.equal(await contentOf(name), 'fragments')
})

test('compression is not negotiated, an offered subprotocol is', async () => {
  const raw = await Raw.open(room(), { protocols: ['yjs'] })
  assert.equal(raw.ws.extensions, '')
  assert.equal(raw.ws.protocol, 'yjs')
})

// The rows of bytes that are known to kill, hang or poison document engines. Each is one or more updates of one client.
const POISON = {
  'a string whose left origin lies in its own future': ['01010101000100', '010101008401010300000000'],
  'a client section without structs': ['01010100000000'],
  'no structs, pending before it': ['0100010000'],
  'a skip of length 0': ['01010001000000'],
  'ContentJSON': ['01010000020100000000'],
  'a struct of another struct\'s future': ['010200000001000000'],
  'GC with flag bits': ['01010214000100'],
  'two sections of nonsense': ['02010200c4000000000300000001023a000000'],
  'an embed that yrs cannot read back': ['030202000004050100027b7d0102020003030200040100010028010000027b000000000000000077000a0000'],
  'a delete set that claims four billion entries': ['000101ffffffff0f'],
  'an Any map that claims 2^28 entries': ['01010100080101740176808080800100'],
  'an Any array nested 30,000 deep': [`010101000801017401${'7501'.repeat(30000)}7e00`],
  'random bytes': ['deadbeefdeadbeef'],
  'a varint without an end': ['ff'.repeat(2000)]
}

for (const [what, updates] of Object.entries(POISON)) {
  test(`poison: ${what}`, async () => {
    const name = room('poison')
    const [bad, other] = [await Raw.open(name), await Raw.synced(name)]
    for (const update of updates) bad.send(syncUpdate(hex(update)))
    await until(() => bad.closed !== null || bad.starting('00').length > 0, 'the server lives')
    other.send(syncUpdate(updatesOf(insert('healthy'))[0]))
    await other.settled()
    assert.ok(other.isOpen())
    await never(other, () => textOf(other.heard()) !== 'healthy' && textOf(other.heard()) !== '', 'poison was relayed')
    assert.equal(await contentOf(name), 'healthy')
    const late = await join(name)
    assert.equal(late.t.toString(), 'healthy')
  })
}

for (const [what, stateVector] of Object.entries({ 'claims 2^29 entries': '8080808002', 'claims 2^27 entries': '80808040', 'is cut off': '0501' })) {
  test(`a state vector that ${what} costs its sender the connection, at most`, async () => {
    const name = room()
    const [bad, other] = [await Raw.open(name), await Raw.open(name)]
    bad.send(syncStep1(hex(stateVector)))
    await other.settled()
    assert.ok(other.isOpen())
    assert.equal(bad.starting('00 01').length, 0)
  })
}

test('a malformed update closes its sender with 1003 or 1007', async () => {
  const raw = await Raw.open(room())
  raw.send(syncUpdate(hex('deadbeef')))
  await until(() => raw.closed !== null, 'the socket is closed')
  assert.ok([1003, 1007].includes(raw.closed.code), String(raw.closed.code))
})

test('message 102 is echoed once everything before it is saved, in order', async () => {
  const name = room()
  const raw = await Raw.open(name)
  const updates = updatesOf(insert('a'), insert('b', 1), (doc) => doc.getText('t').delete(0, 1))
  updates.forEach((update, at) => {
    raw.send(syncUpdate(update))
    raw.send(barrier(at))
  })
  raw.send(barrier(2 ** 40))
  await until(() => raw.starting('66').length === 4, 'all echoes')
  assert.deepEqual(raw.starting('66').map((frame) => frame.toString('hex')), [0, 1, 2, 2 ** 40].map((n) => Buffer.from(barrier(n)).toString('hex')))
})

test('message 102 is never sent to a client that did not send it', async () => {
  const name = room()
  const [a, b] = [await Raw.open(name), await Raw.open(name)]
  a.send(syncUpdate(updatesOf(insert('a'))[0]))
  a.send(barrier(1))
  await a.receive('66')
  await never(b, () => b.starting('66').length > 0, 'it got one')
})

test('a barrier before anything was written is saved at once', async () => {
  const raw = await Raw.open(room())
  raw.send(barrier(7))
  await raw.receive('66 01 07')
})
