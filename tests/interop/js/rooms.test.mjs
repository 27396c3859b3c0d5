// Names of rooms as stock clients put them into the URL.
import assert from 'node:assert/strict'
import { afterEach, test } from 'node:test'
import { closeAll, converged, join, room, sleep } from './clients.mjs'
import { closeSockets, Raw } from './sockets.mjs'
import { until } from './clients.mjs'

afterEach(() => {
  closeAll()
  closeSockets()
})

const base = room()

for (const name of [`${base}/a/b`, `${base} with space`, `${base}ä ö`, `${base}🎉`, `${base}%2Fb`, `${base}/ä/%41`, `${base}:*{x}~y`, `${base}.json`]) {
  test(`two clients meet in ${JSON.stringify(name.slice(base.length))}`, async () => {
    const [a, b] = [await join(name), await join(name)]
    a.t.insert(0, name)
    await converged([a, b])
    assert.equal(b.t.toString(), name)
  })
}

const different = [
  [`${base}-1/b`, `${base}-1%2Fb`], [`${base}-2`, `${base}-2/x`], [`${base}-3é`, `${base}-3e\u0301`], [`${base}-4a`, `${base}-4A`],
  [`${base}-5%2520`, `${base}-5%20`]
]
for (const [one, other] of different) {
  test(`${JSON.stringify(one.slice(base.length))} and ${JSON.stringify(other.slice(base.length))} are two rooms`, async () => {
    const [a, b] = [await join(one), await join(other)]
    a.t.insert(0, 'one')
    b.t.insert(0, 'other')
    await sleep(200)
    const [lateA, lateB] = [await join(one), await join(other)]
    assert.deepEqual([a, b, lateA, lateB].map((client) => client.t.toString()), ['one', 'other', 'one', 'other'])
  })
}

test('a space and %20 are one room: the URL parser makes them the same', async () => {
  const name = `${base}-6`
  const [a, b] = [await join(`${name} x`), await join(`${name}%20x`)]
  a.t.insert(0, 'same')
  await converged([a, b])
})

const refused = async (name) => {
  const raw = new Raw(name)
  await until(() => raw.closed !== null || raw.failed !== null, `${JSON.stringify(name)} is refused`)
  assert.equal(raw.starting('0001').length, 0, 'nothing was synced')
}

// The URL parser of every client resolves `.` and `..` itself; what arrives encoded must not be taken for a path either.
for (const name of ['', '%00', `${base}%00`, `${base}%0A`, 'x'.repeat(3000)]) {
  test(`the room ${JSON.stringify(name.slice(0, 60))} is refused`, () => refused(name))
}
