// The server's own main module; with STORE it keeps documents in LevelDB: every update is appended, nothing is awaited.
const folder = process.env.STORE

if (folder) {
  const [{ setPersistence }, { LeveldbPersistence }, Y] = await Promise.all([
    import('@y/websocket-server/utils'),
    import('y-leveldb'),
    import('yjs')
  ])
  const store = new LeveldbPersistence(folder)
  setPersistence({
    provider: store,
    bindState: async (room, doc) => {
      doc.on('update', (update, origin) => { if (origin !== store) store.storeUpdate(room, update) })
      Y.applyUpdate(doc, Y.encodeStateAsUpdate(await store.getYDoc(room)), store)
    },
    writeState: async () => {}
  })
}

await import('@y/websocket-server/server')
