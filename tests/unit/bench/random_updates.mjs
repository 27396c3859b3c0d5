// Random updates of all that Yjs can write, some of it in kinds of content that pycrdt does not write.
import * as Y from 'yjs'

let state = Number(process.argv[1])
const below = n => { state = (Math.imul(state, 1103515245) + 12345) >>> 0; return Math.floor((state / 4294967296) * n) }
const pick = list => list[below(list.length)]
const pieces = ['a', 'some words ', 'é', 'ΑΩ', '€uro', '漢字', '😀', 'a😀b', '\u{10000}\uffff']
const value = depth => pick([
  () => null, () => true, () => below(1e9) - 5e8, () => -(2 ** 53) + 1, () => 0.1, () => 0.5, () => -0, () => 1e300,
  () => '', () => pick(pieces), () => new Uint8Array(below(300)), () => [undefined, 12345678901234567890n],
  () => depth > 3 ? [] : Array.from({ length: below(4) }, () => value(depth + 1)),
  () => depth > 3 ? {} : Object.fromEntries(Array.from({ length: below(4) }, () => [pick(pieces), value(depth + 1)]))
])()
const types = [() => new Y.Map(), () => new Y.Array(), () => new Y.Text('😀'), () => new Y.Doc({ guid: 'g😀' })]
const elements = [() => new Y.XmlElement('påragraph'), () => new Y.XmlText('😀x'), () => new Y.XmlHook('hook')]
const text = doc => doc.getText('quill')
const list = doc => doc.getArray('list')

const edits = [
  d => text(d).insert(below(text(d).length + 1), pick(pieces), pick([undefined, { bold: true }, { link: 'é' }])),
  d => text(d).insertEmbed(below(text(d).length + 1), { image: pick(pieces) }),
  d => { if (text(d).length > 3) text(d).format(below(text(d).length - 1), 2, { color: pick(['red', null, '漢']) }) },
  d => { const at = below(text(d).length); text(d).delete(at, Math.min(below(5), text(d).length - at)) },
  d => d.getMap('map').set(pick(pieces), value(0)),
  d => d.getMap('map').set('type', pick(types)()),
  d => d.getMap('map').delete(pick(pieces)),
  d => list(d).insert(below(list(d).length + 1), Array.from({ length: 1 + below(5) }, () => value(0))),
  d => { if (list(d).length) list(d).delete(below(list(d).length), 1) },
  d => d.getXmlFragment('xml').insert(0, [pick(elements)()])
]

// Every update with the ranges of clocks that Yjs itself reads out of it.
const out = []
for (let round = 0; round < 40; round++) {
  const docs = Array.from({ length: 1 + below(4) }, () => new Y.Doc({ gc: below(2) === 0 }))
  const updates = []
  docs.forEach(doc => doc.on('update', update => updates.push(update)))
  for (let i = 0; i < 60; i++) {
    const doc = pick(docs)
    doc.transact(() => { for (let n = below(3); n >= 0; n--) pick(edits)(doc) })
    if (below(4) === 0) Y.applyUpdate(doc, Y.encodeStateAsUpdate(pick(docs), Y.encodeStateVector(doc)))
  }
  const some = updates.filter(() => below(3) > 0)
  updates.push(Y.encodeStateAsUpdate(docs[0]))
  if (some.length) updates.push(Y.mergeUpdates(some))
  for (const update of updates) {
    const { structs, ds } = Y.decodeUpdate(update)
    const ranges = []
    for (const s of structs) {
      if (s.constructor.name === 'Skip') continue
      const last = ranges[ranges.length - 1]
      if (last && last[0] === s.id.client && last[2] === s.id.clock) last[2] += s.length
      else ranges.push([s.id.client, s.id.clock, s.id.clock + s.length])
    }
    const deletes = []
    ds.clients.forEach((items, client) => items.forEach(d => deletes.push([client, d.clock, d.clock + d.len])))
    out.push({ update: Buffer.from(update).toString('hex'), ranges, deletes })
  }
}
process.stdout.write(JSON.stringify(out))
