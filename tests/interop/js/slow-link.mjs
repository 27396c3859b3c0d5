// Opens a room with a stock provider and reports every change of its connection until it is synced.
// Usage: node slow-link.mjs <websocket url> <room> <seconds at most>
import WebSocket from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

const [url, room, seconds] = process.argv.slice(2)
const doc = new Y.Doc()
const started = Date.now()
const report = { connected: 0, disconnected: 0, synced: 0, seconds: 0, messages: 0, length: 0, longestWait: 0 }
const provider = new WebsocketProvider(url, room, doc, { WebSocketPolyfill: WebSocket, disableBc: true })
let last = Date.now()
provider.on('status', ({ status }) => {
  if (status in report) report[status]++
})
doc.on('update', () => {
  report.messages++
  report.longestWait = Math.max(report.longestWait, (Date.now() - last) / 1000)
  last = Date.now()
})

const finish = () => {
  report.seconds = (Date.now() - started) / 1000
  report.length = doc.getText('quill').length
  report.pending = doc.store.pendingStructs !== null || doc.store.pendingDs !== null
  console.log(JSON.stringify(report)) // before the end, which is a disconnect too
  process.exit(0)
}
provider.on('sync', synced => {
  if (synced) {
    report.synced++
    finish()
  }
})
setTimeout(finish, Number(seconds) * 1000)
