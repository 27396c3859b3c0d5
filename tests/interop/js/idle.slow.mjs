// Nothing happens for a minute: nobody may reconnect. y-websocket gives up on a socket that is silent for 30 s.
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { closeAll, join, room, sleep } from './clients.mjs'

afterEach(closeAll)

test('a lone client, and one without presence, stay connected for 70 s', { timeout: 90_000 }, async () => {
  const lone = await join(room())
  const silent = await join(room())
  // Without a local state there is no renewal every 15 s whose echo would feed the watchdog.
  silent.awareness.setLocalState(null)
  const pair = room()
  const [a, b] = [await join(pair), await join(pair)]
  a.awareness.setLocalStateField('user', 'Ada')
  let flickers = 0
  b.awareness.on('change', ({ removed }) => { flickers += removed.includes(a.doc.clientID) })
  await sleep(70_000)
  for (const client of [lone, silent, a, b]) {
    assert.deepEqual(client.closes, [])
    assert.ok(client.provider.wsconnected && client.provider.synced)
  }
  assert.equal(flickers, 0)
  assert.equal(b.awareness.getStates().get(a.doc.clientID)?.user, 'Ada')
})
