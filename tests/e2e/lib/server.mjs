// A real syncd process on a free port of this machine, with a SQLite file that survives its restarts.
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const VENV = join(ROOT, ".venv/bin/python");
const PYTHON = process.env.SYNCD_PYTHON ?? (existsSync(VENV) ? VENV : "python3");
const START_DEADLINE = 30_000; // ms

async function freePort() {
  const probe = createServer().listen(0, "127.0.0.1");
  await once(probe, "listening");
  const { port } = probe.address();
  probe.close();
  await once(probe, "close");
  return port;
}

export class Server {
  #process = null;
  #folder = mkdtempSync(join(tmpdir(), "syncd-e2e-"));
  #port = 0;

  get url() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** Starts the process, or starts it again on the same port and store. `env` adds settings. */
  async start(env = {}) {
    this.#port ||= await freePort();
    const log = openSync(join(this.#folder, "server.log"), "a");
    const store = `sqlite:///${join(this.#folder, "syncd.db")}`;
    const args = ["-m", "syncd", "serve", "--host", "127.0.0.1", "--port", String(this.#port), "--store", store];
    this.#process = spawn(PYTHON, args, { cwd: ROOT, env: { ...process.env, ...env }, stdio: ["ignore", log, log] });
    const deadline = Date.now() + START_DEADLINE;
    while (!(await this.#ready())) {
      if (this.#process.exitCode !== null || Date.now() > deadline) throw new Error(`syncd did not start:\n${this.log()}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  async #ready() {
    try {
      return (await fetch(`${this.url}/readyz`)).ok;
    } catch {
      return false;
    }
  }

  /** kill -9: nothing is flushed, nobody is told. */
  async kill() {
    await this.#end("SIGKILL");
  }

  /** An orderly stop. */
  async stop() {
    await this.#end("SIGTERM");
  }

  async #end(signal) {
    const child = this.#process;
    this.#process = null;
    if (!child || child.exitCode !== null) return;
    const gone = once(child, "exit");
    child.kill(signal);
    await gone;
  }

  log() {
    return readFileSync(join(this.#folder, "server.log"), "utf8");
  }

  /** Ends the process and removes its folder. */
  async dispose() {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }
}
