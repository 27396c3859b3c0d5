// All defaults (documents are stored two seconds after an edit, ten at most); STORE is a file for the SQLite extension.
import { Server } from '@hocuspocus/server'

const { HOST, PORT, STORE } = process.env
const extensions = []
if (STORE) {
  const { SQLite } = await import('@hocuspocus/extension-sqlite')
  extensions.push(new SQLite({ database: STORE }))
}
await new Server({ address: HOST, port: Number(PORT), quiet: true, extensions }).listen()
