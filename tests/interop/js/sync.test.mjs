// Stock clients edit every shared type, alone and at once, online and offline.
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { closeAll, converged, join, open, room, sleep, until, Y } from './clients.mjs'

afterEach(closeAll)

test('text: concurrent inserts and formats are all kept', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.t.insert(0, 'héllo 🎉')
  await converged([a, b])
  a.t.insert(5, 'A')
  b.t.insert(5, 'B')
  a.t.format(0, 3, { bold: true })
  b.t.delete(0, 1)
  const { roots } = await converged([a, b])
  const text = roots.t.delta.map((op) => op.insert).join('')
  assert.ok(['élloAB 🎉', 'élloBA 🎉'].includes(text), text)
  assert.deepEqual(roots.t.delta[0], { insert: 'él', attributes: { bold: true } })
})

test('text: half of an emoji deleted here, text put inside it there', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.t.insert(0, 'x🎉y👩‍👩‍👧z')
  await converged([a, b])
  a.t.delete(2, 1)
  b.t.insert(5, '-')
  const { roots } = await converged([a, b])
  assert.equal(roots.t.delta.map((op) => op.insert).join(''), 'x\ufffdy\ufffd-\ufffd‍👩‍👧z')
  const late = await join(name)
  await converged([a, b, late])
})

test('map: the same key set by two, another deleted', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.m.set('gone', 1)
  await converged([a, b])
  a.m.set('k', { from: 'a', bytes: 1 })
  b.m.set('k', ['b', null, 1.5])
  b.m.delete('gone')
  a.m.set('blob', new Uint8Array([0, 255]))
  const { roots } = await converged([a, b])
  assert.deepEqual(Object.keys(roots.m.entries), ['blob', 'k'])
})

test('array and nested types', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.a.insert(0, [1, 'two', new Y.Map([['k', new Y.Array()]])])
  await converged([a, b])
  b.a.get(2).get('k').push(['deep'])
  b.a.delete(0, 1)
  a.a.insert(1, ['between'])
  const { roots } = await converged([a, b])
  assert.equal(JSON.stringify(roots.a.items.slice(0, 2)), '["between","two"]')
  assert.deepEqual(roots.a.items[2].entries.k.items, ['deep'])
})

test('xml: elements, text and attributes', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  const p = new Y.XmlElement('p')
  a.x.insert(0, [p])
  p.insert(0, [new Y.XmlText('one')])
  await converged([a, b])
  b.x.get(0).setAttribute('class', 'é')
  b.x.insert(1, [new Y.XmlElement('hr')])
  a.x.get(0).get(0).insert(3, ' two')
  await converged([a, b])
  assert.equal(a.x.toString(), '<p class="é">one two</p><hr></hr>')
})

test('subdocuments: the reference arrives, and the subdocument syncs in its own room', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  const sub = new Y.Doc({ guid: room('sub'), autoLoad: true })
  a.m.set('sub', sub)
  await until(() => b.m.get('sub') instanceof Y.Doc, 'the subdocument')
  assert.equal(b.m.get('sub').guid, sub.guid)
  assert.equal(b.m.get('sub').autoLoad, true)
  const [inner, other] = [await join(sub.guid, { doc: sub }), await join(sub.guid, { doc: b.m.get('sub') })]
  inner.t.insert(0, 'inside')
  await until(() => other.t.toString() === 'inside', 'the text of the subdocument')
})

test('undo takes back only what this client did', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  const undo = new Y.UndoManager(a.t, { captureTimeout: 0 })
  a.t.insert(0, 'mine ')
  await converged([a, b])
  b.t.insert(5, 'theirs')
  await converged([a, b])
  undo.undo()
  await converged([a, b])
  assert.equal(b.t.toString(), 'theirs')
  undo.redo()
  await converged([a, b])
  assert.equal(b.t.toString(), 'mine theirs')
})

test('offline and back, with edits on both sides', async () => {
  const name = room()
  const [a, b] = [await join(name), await join(name)]
  a.t.insert(0, 'base ')
  a.m.set('deleted offline', 1)
  await converged([a, b])
  b.provider.disconnect()
  b.t.insert(b.t.length, 'offline ')
  b.m.delete('deleted offline')
  a.t.insert(a.t.length, 'online ')
  a.t.delete(0, 2)
  await sleep(100)
  assert.ok(!a.t.toString().includes('offline'))
  b.provider.connect()
  const { roots } = await converged([a, b])
  const text = a.t.toString()
  assert.ok(text.startsWith('se ') && text.includes('offline ') && text.includes('online '), text)
  assert.deepEqual(roots.m.entries, {})
})

test('a client that brings a document to an empty room fills it', async () => {
  const name = room()
  const doc = new Y.Doc()
  doc.getText('t').insert(0, 'written before there was a server')
  await join(name, { doc })
  const late = await join(name)
  await until(() => late.t.toString() === 'written before there was a server', 'the text brought along')
})

test('synced means that everything is there', async () => {
  const name = room()
  const writer = await join(name)
  for (let i = 0; i < 300; i++) writer.t.insert(writer.t.length, `line ${i}\n`)
  writer.a.insert(0, Array.from({ length: 200 }, (_, i) => 'x'.repeat(2000) + i))
  const check = await join(name)
  await converged([writer, check])
  for (let i = 0; i < 5; i++) {
    const late = open(name)
    await until(() => late.provider.synced, 'synced')
    assert.equal(late.a.length, 200)
    assert.equal(late.t.toString(), writer.t.toString())
  }
})

test('a room is found again after everybody left', async () => {
  const name = room()
  const writer = await join(name)
  writer.t.insert(0, 'still here')
  const witness = await join(name)
  await converged([writer, witness])
  closeAll()
  await sleep(200)
  const late = await join(name)
  assert.equal(late.t.toString(), 'still here')
})

test('resyncInterval: SyncStep1 on an open socket is always answered', async () => {
  const a = await join(room(), { resyncInterval: 50 })
  let answers = 0
  a.provider.ws.addEventListener('message', ({ data }) => { answers += Buffer.from(data).subarray(0, 2).equals(Buffer.from([0, 1])) })
  await until(() => answers >= 4, 'answers to the repeated SyncStep1')
  assert.deepEqual(a.closes, [])
})
