"""Rooms by name: one load, no answer before it, unloading only what is saved."""

from __future__ import annotations

import asyncio

import pytest

from crdt.awareness import Presence
from crdt.ids import RoomId
from crdt.replica import Limits
from persistence.api import Record
from persistence.errors import CorruptRecord, StoreUnavailable
from syncd.close_codes import CloseCode
from syncd.connection import Connection
from syncd.metrics import Stats
from syncd.registry import Registry
from syncd.room import Room
from tests.unit.crdt.build import gc, section, update
from tests.unit.syncd.room_rig import SLOW, FakeLink, FakeStore, until

R = RoomId("r")


class Bench:
    """A registry on a store that can be held up."""

    def __init__(self) -> None:
        self.store = FakeStore()
        self.stats = Stats()
        self.greeted: list[Connection] = []
        self.loaded: list[Room] = []
        self.registry = self._registry()

    def _registry(self) -> Registry:
        return Registry(self.store, self.stats, self._make, self.greeted.append, self.loaded.append)

    def _make(self, name: RoomId) -> Room:
        return Room(name, Limits(), Presence(100, 1), self.stats, SLOW, lambda _: None)

    def enter(self, name: RoomId = R) -> tuple[Connection, FakeLink]:
        """Somebody asks for a room."""
        link = FakeLink()
        room = self.registry.get(name)
        connection = Connection(
            link, room, self.stats, "a", may_write=True, rate=1e6, on_gone=lambda _connection, _code: None
        )
        room.join(connection)
        return connection, link


async def test_however_many_ask_it_is_loaded_once() -> None:
    bench = Bench()
    bench.store.gate.clear()
    entered = [bench.enter() for _ in range(5)]
    await until(lambda: bench.store.loads == [R])
    assert bench.greeted == []
    assert len({id(connection.room) for connection, _ in entered}) == 1
    bench.store.gate.set()
    await until(lambda: len(bench.greeted) == 5)
    assert bench.registry.get(R) is entered[0][0].room
    assert bench.store.loads == [R]
    assert (bench.stats.rooms, bench.stats.loads) == (1, 1)


async def test_who_left_during_the_load_is_not_greeted_and_the_room_is_idle() -> None:
    bench = Bench()
    bench.store.gate.clear()
    gone, _ = bench.enter()
    gone.closed(1001, clean=True)
    bench.store.gate.set()
    await until(lambda: bench.registry.get(R).loaded)
    await asyncio.sleep(0)
    assert bench.greeted == []
    bench.registry.unload_idle(gone.room.idle_since + 31, 30)
    assert bench.registry.rooms == {}


@pytest.mark.parametrize(
    "error", [StoreUnavailable("locked"), CorruptRecord("r", 3, "checksum"), RuntimeError("a bug"), MemoryError()]
)
async def test_a_load_that_fails_tells_everybody_to_come_back(error: Exception) -> None:
    bench = Bench()
    bench.store.gate.clear()
    bench.store.fail(error)
    entered = [bench.enter() for _ in range(3)]
    bench.store.gate.set()
    await until(lambda: all(link.closes for _, link in entered))
    assert {link.closes[0][0] for _, link in entered} == {CloseCode.TRY_LATER}
    assert bench.greeted == []
    assert bench.registry.rooms == {}
    assert (bench.stats.load_failures, bench.stats.rooms) == (1, 0)
    _, link = bench.enter()
    await until(lambda: len(bench.greeted) == 1)
    assert link.closes == []


async def test_a_damaged_document_is_not_served() -> None:
    bench = Bench()
    await bench.store.append([Record(R, update(section(1, 3, gc(1))), "a", 0)])
    _, link = bench.enter()
    await until(lambda: link.closes != [])
    assert link.closes[0][:2] == (CloseCode.TRY_LATER, "the document is damaged")


async def test_only_what_is_saved_is_unloaded() -> None:
    bench = Bench()
    connection, _ = bench.enter()
    room = connection.room
    await until(lambda: room.loaded)
    bench.registry.unload_idle(1e12, 0)
    assert bench.registry.rooms == {R: room}
    connection.closed(1000, clean=True)
    bench.registry.unload_idle(room.idle_since + 29, 30)
    assert bench.registry.rooms == {R: room}
    room.replica.receive(update(section(1, 0, gc(1))), None)
    bench.registry.unload_idle(room.idle_since + 31, 30)
    assert bench.registry.rooms == {R: room}
    room.replica.flush()
    bench.registry.unload_idle(room.idle_since + 31, 30)
    assert bench.registry.rooms == {R: room}
    room.logged(1, 1, 1)
    bench.registry.unload_idle(room.idle_since + 31, 30)
    assert bench.registry.rooms == {}
    assert (bench.stats.unloads, bench.stats.rooms) == (1, 0)


async def test_stopping_ends_loads_that_are_under_way() -> None:
    bench = Bench()
    bench.store.gate.clear()
    bench.enter()
    await until(lambda: bench.store.loads == [R])
    async with asyncio.timeout(10):
        await bench.registry.stop()
    assert bench.registry.rooms == {}
    assert bench.greeted == []
