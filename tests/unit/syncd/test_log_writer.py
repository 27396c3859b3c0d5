"""Saving: groups, retries, and what happens when the store cannot go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from crdt.ids import RoomId
from persistence.errors import StoreBroken, StoreError, StoreUnavailable
from syncd import log_writer
from syncd.log_writer import LogWriter
from syncd.metrics import Stats
from syncd.room import Room
from tests.unit.syncd.room_rig import FakeStore, Rig, until


class Bench:
    """A running log writer and rooms that report to it."""

    def __init__(self, gather: float = 0.0, patience: float = 0.0) -> None:
        self.store = FakeStore()
        self.stats = Stats()
        self.saved: list[RoomId] = []
        self.broken: list[StoreError] = []
        self.writer = LogWriter(
            self.store, self.stats, gather, patience, lambda room: self.saved.append(room.name), self.broken.append
        )

    async def room(self, name: str) -> Rig:
        """A loaded room that notes what it has to save."""
        rig = Rig(name=name)
        rig.room.stats = self.stats
        note: Callable[[Room], None] = self.writer.note
        rig.room._on_unlogged = note
        await rig.load()
        return rig


@asynccontextmanager
async def running(gather: float = 0.0, patience: float = 0.0) -> AsyncIterator[Bench]:
    """A bench whose writer runs."""
    bench = Bench(gather, patience)
    task = asyncio.create_task(bench.writer.run())
    try:
        yield bench
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_what_was_flushed_becomes_durable_and_is_confirmed() -> None:
    async with running() as bench:
        rig = await bench.room("r")
        client = rig.enter()
        client.type("a")
        client.barrier(1)
        await until(lambda: client.kinds()[-1] == "saved 1")
        assert bench.saved == ["r"]
        assert bench.stats.unsaved_updates == 0
        assert (bench.stats.log_batches, bench.stats.log_records) == (1, 1)


async def test_nothing_is_confirmed_before_the_store_has_answered() -> None:
    async with running() as bench:
        rig = await bench.room("r")
        bench.store.gate.clear()
        client, other = rig.enter(), rig.enter()
        client.type("a")
        client.barrier(1)
        await until(lambda: bench.store.appending == 1)
        assert "saved 1" not in client.kinds()
        assert other.read() == "a"
        assert bench.stats.unsaved_updates == 1
        bench.store.gate.set()
        await until(lambda: "saved 1" in client.kinds())


async def test_rooms_share_a_transaction_and_the_next_one_gathers_meanwhile() -> None:
    async with running() as bench:
        one, two = await bench.room("one"), await bench.room("two")
        bench.store.gate.clear()
        clients = [one.enter(), two.enter()]
        clients[0].type("a")
        await until(lambda: bench.store.appending == 1)
        for letter in "bcd":
            for client in clients:
                client.type(letter)
        one.room.flush()
        bench.store.gate.set()
        await bench.writer.drain()
        assert [{record.room for record in batch} for batch in bench.store.batches] == [{"one"}, {"one", "two"}]
        assert not one.room.has_unsaved()
        assert not two.room.has_unsaved()


async def test_a_store_that_says_not_now_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_writer, "FIRST_RETRY", 0.001)
    async with running() as bench:
        rig = await bench.room("r")
        bench.store.fail(StoreUnavailable("locked"), StoreUnavailable("locked"))
        client = rig.enter()
        client.type("a")
        client.barrier(1)
        await until(lambda: "saved 1" in client.kinds())
        assert bench.stats.log_failures == 2
        assert bench.broken == []
        assert len((await bench.store.load(RoomId("r"))).updates) == 1


@pytest.mark.parametrize(
    "error", [StoreBroken("fsync"), ValueError("a bug"), UnicodeEncodeError("utf-8", "x", 0, 1, "")]
)
async def test_a_broken_store_confirms_nothing_and_is_reported_once(error: Exception) -> None:
    async with running() as bench:
        rig = await bench.room("r")
        bench.store.fail(error)
        client = rig.enter()
        client.type("a")
        client.barrier(1)
        await until(lambda: bench.broken != [])
        client.type("b")
        await asyncio.sleep(0.01)
        assert "saved 1" not in client.kinds()
        assert len(bench.broken) == 1
        assert bench.store.batches == []


async def test_draining_does_not_wait_for_a_broken_store() -> None:
    async with running() as bench:
        rig = await bench.room("r")
        bench.store.gate.clear()
        rig.enter().type("a")
        drained = asyncio.create_task(bench.writer.drain())
        await until(lambda: bench.store.appending == 1)
        assert not drained.done()
        bench.store.fail(StoreBroken("fsync"))
        bench.store.gate.set()
        async with asyncio.timeout(10):
            await drained
        assert len(bench.broken) == 1


async def test_draining_does_not_gather() -> None:
    async with running(gather=0.0) as bench:
        async with asyncio.timeout(10):
            await bench.writer.drain()
        rig = await bench.room("r")
        rig.enter().type("a")
        bench.writer._gather = bench.writer._patience = 1000.0
        async with asyncio.timeout(10):
            await bench.writer.drain()
        assert not rig.room.has_unsaved()


async def test_draining_ends_a_wait_that_has_begun() -> None:
    async with running(1000.0, 1000.0) as bench:
        rig = await bench.room("r")
        rig.enter().type("a")
        await asyncio.sleep(0)
        assert rig.room.has_unsaved()
        async with asyncio.timeout(10):
            await bench.writer.drain()
        assert not rig.room.has_unsaved()


async def test_what_nobody_waits_for_gathers_until_somebody_does() -> None:
    async with running(gather=0.0, patience=1000.0) as bench:
        rig, other = await bench.room("r"), await bench.room("s")
        client = rig.enter()
        other.enter().type("b")
        client.type("a")
        for _ in range(20):
            await asyncio.sleep(0)
        assert rig.room.has_unsaved()
        assert bench.stats.log_batches == 0
        client.barrier(1)
        await until(lambda: client.kinds()[-1] == "saved 1")
        assert not other.room.has_unsaved(), "what has gathered goes along"
        assert bench.stats.log_batches == 1


async def test_a_room_that_everybody_has_left_is_saved_soon() -> None:
    async with running(gather=0.0, patience=1000.0) as bench:
        rig = await bench.room("r")
        client = rig.enter()
        client.type("a")
        assert client.connection is not None
        client.connection.closed(1000, clean=True)
        await until(lambda: not rig.room.has_unsaved())


async def test_authors_are_kept_apart() -> None:
    async with running() as bench:
        rig = await bench.room("r")
        for author in ("ann", "bob"):
            rig.enter(author=author).type(author)
        await bench.writer.drain()
        rig.room.flush()
        await bench.writer.drain()
        found = (await bench.store.load(RoomId("r"))).updates
        assert sorted(update.author for update in found) == ["ann", "bob"]
        assert rig.room.records == 2
        assert rig.room.position == found[-1].position
