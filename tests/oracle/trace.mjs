// Recorded editing sessions (josephg/editing-traces, one writer) as the updates that a Yjs client would have sent.
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { Y } from './canonical.mjs'

/** The parsed file. */
export const load = (path) => JSON.parse(gunzipSync(readFileSync(path)).toString('utf8'))

/** Positions of the files count code points, those of Yjs code units; this keeps the text as a list of code points. */
export const patch = (points, text, [position, deleted, inserted]) => {
  const before = astralBefore(points, position)
  if (deleted > 0) {
    const removed = points.splice(position, deleted).join('')
    text.delete(position + before, removed.length)
  }
  if (inserted.length > 0) {
    points.splice(position, 0, ...inserted)
    text.insert(position + before, inserted)
  }
}

const astralBefore = (points, position) => {
  if (!points.hasAstral) return 0
  let count = 0
  for (let i = 0; i < position; i++) if (points[i].length === 2) count++
  return count
}

/** Whether code points and code units differ anywhere in a session. */
export const astral = ({ startContent = '', txns }) =>
  [startContent, ...txns.flatMap(({ patches }) => patches.map((one) => one[2]))].some((text) => /[\u{10000}-\u{10ffff}]/u.test(text))

/** One update per transaction of a sequential file, at most `limit` of them (0: all), and the final text. */
export const replay = (path, limit = 0) => {
  const session = load(path)
  const { startContent, txns } = session
  const doc = new Y.Doc()
  doc.clientID = 1
  const text = doc.get('t', Y.Text)
  const updates = []
  doc.on('update', (update) => updates.push(update))
  const points = [...startContent]
  points.hasAstral = astral(session)
  if (startContent.length > 0) text.insert(0, startContent)
  for (const { patches } of limit > 0 ? txns.slice(0, limit) : txns) {
    doc.transact(() => patches.forEach((one) => patch(points, text, one)))
  }
  return { updates, content: text.toString() }
}
