// A private syncd for tests that kill, drain or configure it; the shared one that pytest starts must stay up.
import assert from 'node:assert/strict'
import { execFileSync, spawn } from 'node:child_process'
import { openSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { sleep } from './clients.mjs'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const PYTHON = process.env.SYNCD_PYTHON ?? join(ROOT, '.venv/bin/python')

const freePort = () => new Promise((resolve, reject) => {
  const probe = createServer()
  probe.on('error', reject)
  probe.listen(0, '127.0.0.1', () => {
    const { port } = probe.address()
    probe.close(() => resolve(port))
  })
})

const running = new Set()

export class Server {
  static async start (settings = {}) {
    const server = new Server()
    server.folder = mkdtempSync(join(tmpdir(), 'syncd-interop-'))
    server.port = await freePort()
    server.store = `sqlite:///${server.folder}/syncd.db`
    const inherited = Object.entries(process.env).filter(([name]) => !name.startsWith('SYNCD_'))
    server.environment = { ...Object.fromEntries(inherited), SYNCD_STORE: server.store, ...settings }
    await server.start()
    running.add(server)
    return server
  }

  get url () {
    return `ws://127.0.0.1:${this.port}/ws`
  }

  async start () {
    const log = openSync(`${this.folder}/log`, 'a')
    const command = ['-m', 'syncd', 'serve', '--host', '127.0.0.1', '--port', String(this.port), '--store', this.store]
    this.process = spawn(PYTHON, command, { cwd: ROOT, env: this.environment, stdio: ['ignore', log, log] })
    this.ended = new Promise((resolve) => this.process.on('exit', (code) => resolve(code)))
    const deadline = Date.now() + 30_000
    while (!(await this.answers())) {
      if (this.process.exitCode !== null || Date.now() > deadline) assert.fail(`syncd did not start:\n${this.log()}`)
      await sleep(30)
    }
  }

  async answers () {
    try {
      return (await fetch(`http://127.0.0.1:${this.port}/readyz`)).ok
    } catch {
      return false
    }
  }

  /** A crash. */
  async kill () {
    this.process.kill('SIGKILL')
    await this.ended
  }

  /** SIGTERM; returns the exit code. */
  async stop () {
    this.process.kill('SIGTERM')
    return await this.ended
  }

  token (room, ...options) {
    const command = ['-m', 'syncd', 'token', room, ...options]
    return execFileSync(PYTHON, command, { cwd: ROOT, env: this.environment, encoding: 'utf8' }).trim()
  }

  log () {
    return readFileSync(`${this.folder}/log`, 'utf8').split('\n').slice(-30).join('\n')
  }
}

/** Kills every private server and removes its data. */
export const stopServers = async () => {
  for (const server of running) {
    if (server.process.exitCode === null && server.process.signalCode === null) await server.kill()
    rmSync(server.folder, { recursive: true, force: true })
  }
  running.clear()
}
