// Stock clients that type by a schedule: node real_clients.mjs CONFIG.json
//
// The configuration is that of bench/load, of which target, path, protocol, room, clients, writers, rate, presence_rate,
// duration, warmup, drain and seed are heeded; with `compression` it is offered to the server, as browsers do. Deliveries
// are counted by (client, clock), as there: a clock of a writer that another client's document got for the first time.
// Prints a line of JSON at the start of the measured window, and the result when all that was sent in it has arrived, or
// `drain` seconds later.
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { HocuspocusProvider, HocuspocusProviderWebsocket } from '@hocuspocus/provider'
import { WebSocket } from 'ws'
import { WebsocketProvider } from 'y-websocket'
import * as Y from 'yjs'

const config = {
  path: '/ws/{room}', protocol: 'yjs', room: 'bench', clients: 10, writers: 10, rate: 10, presence_rate: 0,
  duration: 10, warmup: 2, drain: 5, seed: 1, compression: false, ...JSON.parse(readFileSync(process.argv[2], 'utf8'))
}
const { room, presence_rate: presenceRate } = config
const address = `ws://${[config.target].flat()[0]}${config.path.replaceAll('{room}', room)}`
const connectSeconds = 60

class Socket extends WebSocket {
  constructor (url, protocols) {
    super(url, protocols, { perMessageDeflate: config.compression })
  }
}
globalThis.WebSocket ??= Socket // Node has its own from version 22 on; y-websocket's timers look for it
process.setMaxListeners(0) // every provider listens for the end of the process

// Presence is off unless it is asked for; a provider would tell its state when it connects and every 15 seconds.
const connect = {
  yjs: (doc) => {
    const slash = address.lastIndexOf('/')
    const provider = new WebsocketProvider(address.slice(0, slash), address.slice(slash + 1), doc, {
      WebSocketPolyfill: Socket, disableBc: true
    })
    if (presenceRate === 0) provider.awareness.setLocalState(null)
    return provider
  },
  hocuspocus: (doc) => {
    const socket = new HocuspocusProviderWebsocket({ url: address, WebSocketPolyfill: Socket })
    const off = presenceRate === 0 ? { awareness: null } : {}
    const provider = new HocuspocusProvider({ websocketProvider: socket, name: room, document: doc, ...off })
    provider.attach()
    return provider
  }
}[config.protocol]

// splitmix32: the same times for the same seed.
let random = config.seed >>> 0
const share = () => {
  random = (random + 0x9e3779b9) >>> 0
  let mixed = Math.imul(random ^ (random >>> 16), 0x21f0aaad)
  mixed = Math.imul(mixed ^ (mixed >>> 15), 0x735a2d97)
  return ((mixed ^ (mixed >>> 15)) >>> 0) / 2 ** 32
}

const windowStart = config.warmup * 1000
const windowEnd = windowStart + config.duration * 1000

// Milliseconds of one writer's edits: an even pace from a random phase on, each moved by a tenth either way. The window
// begins a pace of its own, so that the number of edits in it does not depend on the phase.
const typingTimes = (rate) => {
  const pace = 1000 / rate
  const times = []
  for (const [from, to] of [[0, windowStart], [windowStart, windowEnd]]) {
    for (let at = from + share() * pace; at < to; at += pace) {
      times.push(Math.min(Math.max(at + (share() - 0.5) * 0.2 * pace, from), to - 0.001))
    }
  }
  return times
}

const inWindow = (due) => due >= windowStart && due < windowEnd

const clients = []
const timesOf = new Map() // client id -> milliseconds of its edits; the index is the clock
const latencies = []
const lateness = []
const presence = { sent: 0, received_states: 0 }
let started = 0
let deliveries = 0
let sent = 0

const since = () => performance.now() - started

const count = ({ local, beforeState, afterState }, doc) => {
  if (local) return
  const now = since()
  for (const [writer, clock] of afterState) {
    const times = timesOf.get(writer)
    if (times === undefined || writer === doc.clientID) continue
    for (let got = beforeState.get(writer) ?? 0; got < clock; got++) {
      if (!inWindow(times[got])) continue
      deliveries += 1
      latencies.push(now - times[got])
    }
  }
}

const open = (index) => {
  const doc = new Y.Doc()
  const client = { doc, index, text: doc.getText('quill'), written: 0, mark: null, provider: connect(doc) }
  doc.on('afterTransaction', count)
  if (presenceRate > 0) {
    client.provider.awareness.on('change', ({ added, updated }, origin) => {
      if (origin !== 'local' && started && since() >= windowStart) presence.received_states += added.length + updated.length
    })
  }
  if (index < config.writers) timesOf.set(doc.clientID, typingTimes(config.rate))
  return client
}

// A character behind the one typed before, wherever others have typed meanwhile.
const type = (client) => {
  const { doc, text, mark } = client
  const at = mark === null ? text.length : Y.createAbsolutePositionFromRelativePosition(mark, doc).index
  text.insert(at, String.fromCharCode(97 + client.written++ % 26))
  client.mark = Y.createRelativePositionFromTypeIndex(text, at + 1, -1)
}

const tellPresence = ({ index, mark, provider }) => {
  provider.awareness.setLocalState({ user: { name: `Writer ${index}`, color: '#30bced' }, cursor: { anchor: mark, head: mark, at: since() } })
}

const schedule = () => {
  const events = []
  for (const client of clients) {
    for (const due of timesOf.get(client.doc.clientID) ?? []) events.push({ due, client, act: type, edit: true })
    if (presenceRate === 0) continue
    const pace = 1000 / presenceRate
    for (let due = share() * pace; due < windowEnd; due += pace) events.push({ due, client, act: tellPresence, edit: false })
  }
  return events.sort((a, b) => a.due - b.due)
}

const run = async (events) => {
  const tell = (line) => process.stdout.write(`${JSON.stringify(line)}\n`)
  let measuring = false
  for (const { due, client, act, edit } of events) {
    while (since() < due) await sleep(Math.max(due - since(), 0))
    if (!measuring && due >= windowStart) {
      measuring = true
      tell({ event: 'window' })
    }
    act(client)
    if (!inWindow(due)) continue
    if (edit) sent += 1
    else presence.sent += 1
    lateness.push(since() - due)
  }
}

const quantile = (sorted, q) => sorted.length ? sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] : null

const figures = (values) => {
  const sorted = Float64Array.from(values).sort()
  return { p50: quantile(sorted, 0.5), p99: quantile(sorted, 0.99), max: quantile(sorted, 1), count: sorted.length }
}

const until = async (condition, seconds) => {
  const deadline = performance.now() + seconds * 1000
  while (!condition() && performance.now() < deadline) await sleep(5)
  return condition()
}

const hasConverged = () => new Set(clients.map(({ doc, text }) => {
  const state = [...Y.decodeStateVector(Y.encodeStateVector(doc))].sort(([a], [b]) => a - b)
  return JSON.stringify([state, text.toString()])
})).size === 1

for (let index = 0; index < config.clients; index++) {
  clients.push(open(index))
  if (!await until(() => clients[index].provider.synced, connectSeconds)) {
    process.stderr.write(`client ${index} did not sync with ${address} within ${connectSeconds} s\n`)
    process.exit(1)
  }
}
const events = schedule()
const cpu = process.cpuUsage()
started = performance.now()
await run(events)
const expected = sent * (config.clients - 1)
await until(() => deliveries >= expected, config.drain)
const used = process.cpuUsage(cpu)
const converged = await until(hasConverged, 1)
process.stdout.write(`${JSON.stringify({
  event: 'result', connected: clients.length, sent, expected, deliveries, latency_ms: figures(latencies), presence, converged,
  generator_cpu: (used.user + used.system) / 1e6, late_by_ms: figures(lateness).p99
})}\n`)
process.exit(0)
