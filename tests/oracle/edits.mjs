// Random edits of one client, over all shared types.
import { Y } from './canonical.mjs'

const PIECES = [
  'a', 'b', 'xyz', 'hello ', '\n', 'é', 'ß', '漢字', '🎉', '🎉🎉', 'a🎉b', '👩‍👩‍👧', '\u200d', 'e\u0301', '𝔘', '🏳️‍🌈', '\u0000', '€'
]
const LONG = 'lorem 🎉 ipsum '.repeat(120)
const KEYS = ['k', 'l', 'm', 'ключ', '']
const FORMATS = [
  { bold: true }, { italic: true }, { bold: null }, { italic: null }, { color: 'red' }, { color: 'blue' }, { color: null },
  { link: { href: 'x', n: 1 } }
]

const value = (random) => {
  switch (random.int(0, 9)) {
    case 0: return random.int(-5, 70000)
    case 1: return random.pick([0.5, -1.25, 1e100, 2 ** 31, -(2 ** 40)])
    case 2: return random.chance(0.5)
    case 3: return null
    case 4: return { b: random.int(0, 9), a: [1, { z: 'é', y: null }] }
    case 5: return [random.pick(PIECES), [], {}]
    case 6: return new Uint8Array([random.int(0, 255), 0, 255])
    case 7: return undefined
    default: return random.pick(PIECES)
  }
}

// Y.Array refuses undefined, Y.Map takes it.
const element = (random) => value(random) ?? null

const nested = (random, depth = 0) => {
  switch (random.int(0, 4)) {
    case 0: {
      const map = new Y.Map()
      map.set(random.pick(KEYS), depth < 2 && random.chance(0.4) ? nested(random, depth + 1) : value(random))
      return map
    }
    case 1: {
      const array = new Y.Array()
      array.push([element(random), depth < 2 && random.chance(0.4) ? nested(random, depth + 1) : element(random)])
      return array
    }
    case 2: return new Y.Text(random.pick(PIECES))
    case 3: return xml(random, depth + 1)
    default: return new Y.Map()
  }
}

const xml = (random, depth = 0) => {
  if (random.chance(0.35)) return new Y.XmlText(random.pick(PIECES))
  const node = new Y.XmlElement(random.pick(['p', 'div', 'h1']))
  if (random.chance(0.5)) node.setAttribute(random.pick(['class', 'id']), random.pick(PIECES))
  if (depth < 2 && random.chance(0.5)) node.insert(0, [xml(random, depth + 1)])
  return node
}

// The guid comes from the seed: Y.Doc would draw its own, and the history would not be the same twice.
const subdocument = (random) =>
  new Y.Doc({ guid: `sub-${random.int(0, 0xffffff).toString(16)}`, autoLoad: random.chance(0.3), meta: random.chance(0.5) ? { n: random.int(0, 9) } : null })

const insertText = (random, text) => {
  const at = random.int(0, text.length)
  const piece = random.chance(0.01) ? LONG : random.pick(PIECES)
  if (random.chance(0.15)) text.insert(at, piece, random.pick(FORMATS))
  else text.insert(at, piece)
}

// Positions are code units, so a delete may take half of an emoji and an insert may land inside one.
const deleteText = (random, text) => {
  if (text.length === 0) return insertText(random, text)
  const at = random.int(0, text.length - 1)
  text.delete(at, Math.min(random.pick([1, 1, 1, 2, 5]), text.length - at))
}

// Whether a position lies between the two halves of a surrogate pair.
const insidePair = (text, at) => {
  let start = 0
  for (const { insert } of text.toDelta()) {
    const length = typeof insert === 'string' ? insert.length : 1
    if (at < start + length) return typeof insert === 'string' && at > start && insert.codePointAt(at - start - 1) > 0xffff
    start += length
  }
  return false
}

const formatText = (random, text) => {
  if (text.length === 0) return insertText(random, text)
  const at = random.int(0, text.length - 1)
  const end = Math.min(at + random.int(1, 6), text.length)
  // A format that changes nothing still splits a pair in the writer's own document and tells nobody: from then on that
  // client reads another text than all others (a defect of Yjs). A value that is new is written for certain.
  const traceless = !insidePair(text, at) && !insidePair(text, end)
  text.format(at, end - at, traceless ? random.pick(FORMATS) : { color: `c${random.int(0, 0xffffff)}` })
}

const editText = (random, text, weights = { insert: 5, remove: 3, format: 2, embed: 1, attribute: 0.3 }) => {
  switch (random.weighted(weights)) {
    case 'insert': return insertText(random, text)
    case 'remove': return deleteText(random, text)
    case 'format': return formatText(random, text)
    case 'embed': {
      const what = random.chance(0.7) ? { image: random.int(0, 9) } : new Y.Map()
      return text.insertEmbed(random.int(0, text.length), what)
    }
    default: return text.setAttribute(random.pick(['dir', 'lang']), random.pick(['rtl', 'ltr']))
  }
}

const editMap = (random, map) => {
  const key = random.pick(KEYS)
  switch (random.weighted({ set: 5, type: 2, remove: 2, doc: 0.4, big: 0.2 })) {
    case 'big': return map.set('big', random.pick([5n, -(2n ** 60n)]))
    case 'set': return map.set(key, value(random))
    case 'type': return map.set(key, nested(random))
    case 'doc': return map.set(key, subdocument(random))
    default: return map.delete(key)
  }
}

const editArray = (random, array) => {
  const at = random.int(0, array.length)
  switch (random.weighted({ values: 4, type: 2, remove: 3, doc: 0.3 })) {
    case 'values': return array.insert(at, Array.from({ length: random.int(1, 3) }, () => element(random)))
    case 'type': return array.insert(at, [nested(random)])
    case 'doc': return array.insert(at, [subdocument(random)])
    default:
      if (array.length > 0 && at < array.length) array.delete(at, Math.min(random.int(1, 2), array.length - at))
  }
}

const editXml = (random, node) => {
  const at = random.int(0, node.length)
  const isElement = node instanceof Y.XmlElement
  switch (random.weighted({ child: 4, remove: 2, attribute: isElement ? 3 : 0 })) {
    case 'child': return node.insert(at, [xml(random)])
    case 'attribute':
      return random.chance(0.7) ? node.setAttribute('class', random.pick(PIECES)) : node.removeAttribute('class')
    default:
      if (at < node.length) node.delete(at, 1)
  }
}

/** Shared types inside a shared type, itself first. */
const inside = (type, found = []) => {
  found.push(type)
  if (found.length > 24) return found
  const children = type instanceof Y.Map ? [...type.values()] : type instanceof Y.Text ? [] : type.toArray()
  for (const child of children) if (child instanceof Y.AbstractType) inside(child, found)
  return found
}

const edit = (random, type) => {
  if (type instanceof Y.Text) return editText(random, type)
  if (type instanceof Y.Map) return editMap(random, type)
  if (type instanceof Y.Array) return editArray(random, type)
  return editXml(random, type)
}

/** One random edit; `weights` says how much of it goes to each root type. */
export const randomEdit = (random, roots, weights) => {
  const root = roots[random.weighted(weights)]
  edit(random, random.chance(0.4) ? random.pick(inside(root)) : root)
}
