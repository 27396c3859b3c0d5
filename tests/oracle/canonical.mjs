// The state of a document in a form that two replicas can be compared by: what a reader sees, and what was integrated.
// The Yjs that judges is the one the interop clients use; it is installed once, beside them.
import * as Y from '../interop/node_modules/yjs/dist/yjs.mjs'

export { Y }

export const ROOTS = /** @type {const} */ ({ t: 'Text', m: 'Map', a: 'Array', x: 'XmlFragment' })

let cleanup = true

// A Y.Text removes redundant format marks on its own after a remote transaction, so the delete set of a document depends
// on how the updates were grouped. Writers behave like that in life and in the generator; a document that is only there
// to be compared must not add deletions of its own.
const callObserver = Y.Text.prototype._callObserver
Y.Text.prototype._callObserver = function (transaction, parentSubs) {
  callObserver.call(this, transaction, parentSubs)
  if (!cleanup) transaction._needFormattingCleanup = false
}

export const withoutCleanup = (body) => {
  const before = cleanup
  cleanup = false
  try {
    return body()
  } finally {
    cleanup = before
  }
}

/** A document that only receives. */
export const reader = () => {
  const doc = new Y.Doc({ gc: true })
  doc.clientID = 0
  return doc
}

export const applyAll = (doc, updates) => withoutCleanup(() => {
  for (const update of updates) Y.applyUpdate(doc, update, 'remote')
})

const plain = (value) => {
  if (value === undefined) return { $: 'undefined' }
  if (typeof value === 'bigint') return { $: 'bigint', value: String(value) }
  if (value === null || typeof value !== 'object') return value
  if (value instanceof Uint8Array) return { $: 'bytes', value: Buffer.from(value).toString('base64') }
  if (value instanceof Y.Doc) return { $: 'doc', guid: value.guid, meta: plain(value.meta), load: value.autoLoad }
  if (value instanceof Y.AbstractType) return content(value)
  if (Array.isArray(value)) return value.map(plain)
  // Key order of a plain object is not content: a merge may write it in another order.
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, plain(value[key])]))
}

const entries = (pairs) => Object.fromEntries(pairs.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))

/** What a reader of a shared type sees, recursively. */
export const content = (type) => {
  if (type instanceof Y.XmlElement) {
    return { $: 'element', name: type.nodeName, attributes: plain(type.getAttributes()), children: type.toArray().map(plain) }
  }
  if (type instanceof Y.XmlFragment) return { $: 'fragment', children: type.toArray().map(plain) }
  if (type instanceof Y.Text) {
    const delta = type.toDelta().map((op) => ({ insert: plain(op.insert), attributes: plain(op.attributes ?? {}) }))
    return { $: type instanceof Y.XmlText ? 'xmltext' : 'text', delta, attributes: plain(type.getAttributes()) }
  }
  if (type instanceof Y.Map) return { $: 'map', entries: entries([...type.entries()].map(([k, v]) => [k, plain(v)])) }
  if (type instanceof Y.Array) return { $: 'array', items: type.toArray().map(plain) }
  return { $: type.constructor.name }
}

/** Deleted ranges per client, sorted and joined: [[client, [[clock, length], ...]], ...]. */
export const deleteSet = (doc) => {
  const result = []
  for (const [client, ranges] of Y.createDeleteSetFromStructStore(doc.store).clients) {
    const joined = []
    for (const { clock, len } of [...ranges].sort((a, b) => a.clock - b.clock)) {
      const last = joined.at(-1)
      if (last !== undefined && last[0] + last[1] >= clock) last[1] = Math.max(last[1], clock + len - last[0])
      else joined.push([clock, len])
    }
    if (joined.length > 0) result.push([client, joined])
  }
  return result.sort((a, b) => a[0] - b[0])
}

export const stateVector = (doc) =>
  [...Y.decodeStateVector(Y.encodeStateVector(doc))].filter(([, clock]) => clock > 0).sort((a, b) => a[0] - b[0])

/** Everything that is compared. Reading instantiates the four root types, so only read a document that is finished. */
export const canonical = (doc) => withoutCleanup(() => ({
  sv: stateVector(doc),
  ds: deleteSet(doc),
  pending: doc.store.pendingStructs !== null || doc.store.pendingDs !== null,
  roots: Object.fromEntries(Object.entries(ROOTS).map(([name, kind]) => [name, content(doc.get(name, Y[kind]))]))
}))
