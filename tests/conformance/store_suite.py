"""What every store must do, whatever it is made of.

An adapter's test file derives a class from `StoreSuite` and supplies a `Backend`. The backend's `raw_*` helpers and
`damage` go around the adapter (another connection, another client), so that reading is not verified by the code that
wrote. What an adapter cannot do it declares; the tests skip by declaration, never by name.
"""

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Literal

import pytest
import pytest_asyncio

from crdt.ids import RoomId
from persistence.api import (
    EMPTY_ROOM,
    Compaction,
    Deletion,
    Quarantined,
    Record,
    Store,
    StoredBlock,
    StoredRoom,
)
from persistence.errors import CorruptRecord, StoreClosed

ROOM = RoomId("room")
OTHER = RoomId("other")

# Names that some store somewhere has mixed up: by case, normal form, prefix, separator, wildcard, number, quote or NUL.
_PLAIN = [
    "a",
    "A",
    "a/b",
    "a%2Fb",
    "a//b",
    "a/",
    "..",
    "../a",
    "%2e%2e",
    "a:b",
    "0",
    "00",
    "1",
    "1.0",
    "NULL",
    "ß",
    "ss",
]
_SIGNS = ["*", "?", "a*", "%", "_", "{a}", "[a]", "'", '"', ";--", "\\"]
_ODD = [" a", "a ", "é", "e\u0301", "a\0", "a\0b", "\n", "🎉", "\ud7ff", "\U0010ffff", "x" * 4000]
AWKWARD_NAMES = [RoomId(name) for name in _PLAIN + _SIGNS + _ODD]


@dataclass(frozen=True, slots=True)
class RawBlock:
    """A block as it lies in the store."""

    kind: str
    first: int
    last: int
    data: bytes
    authors: tuple[str, ...]
    started: int
    ended: int


class Backend(ABC):
    """How the suite opens an adapter and looks behind it."""

    durable: bool = True  # what is acknowledged is there after closing and opening again
    checksums: bool = True  # damaged bytes are noticed

    @abstractmethod
    async def open(self) -> Store:
        """Open a store over the same data every time."""

    @abstractmethod
    async def raw_updates(self, room: str) -> Sequence[tuple[int, bytes]]:
        """Return (position, data) of the room's log, ascending, around the adapter."""

    @abstractmethod
    async def raw_blocks(self, room: str) -> Sequence[RawBlock]:
        """Return every block of the room, history included, by (last, kind), around the adapter."""

    @abstractmethod
    async def raw_quarantine(self, room: str) -> Sequence[tuple[int, bytes, str]]:
        """Return (position, data, rule) of the room's quarantine, ascending, around the adapter."""

    async def damage(self, room: str, what: Literal["update", "block"]) -> None:
        """Flip one bit of the newest update or block of the room, around the adapter."""
        raise NotImplementedError


def record(data: bytes, room: RoomId = ROOM, author: str = "ann", at: int = 1_000) -> Record:
    return Record(room, data, author, at)


async def fill(store: Store, count: int, room: RoomId = ROOM) -> Sequence[int]:
    return await store.append([record(b"update %d" % n, room, f"author {n % 2}", 1_000 + n) for n in range(count)])


def segment(stored: StoredRoom, data: bytes, upto: int | None = None, poison: Sequence[int] = ()) -> Compaction:
    """A segment over the updates of `stored` up to position `upto` (default all), without those in `poison`."""
    taken = [update for update in stored.updates if upto is None or update.position <= upto]
    kept = [update for update in taken if update.position not in poison]
    block = StoredBlock(stored.covered + 1, taken[-1].position, data) if kept else None
    return Compaction(
        room=ROOM,
        kind="segment",
        generation=stored.generation,
        covered=stored.covered,
        block=block,
        positions=tuple(update.position for update in taken),
        quarantined=tuple(Quarantined(position, "bad-bytes", "a test says so") for position in poison),
        authors=tuple(sorted({update.author for update in kept})),
        started=min((update.at for update in kept), default=0),
        ended=max((update.at for update in kept), default=0),
    )


def snapshot(stored: StoredRoom, data: bytes) -> Compaction:
    """A snapshot over the blocks of `stored`."""
    return Compaction(ROOM, "snapshot", stored.generation, stored.covered, StoredBlock(1, stored.covered, data))


class StoreSuite:
    """The tests. A subclass supplies the `backend` fixture."""

    @pytest_asyncio.fixture
    async def store(self, backend: Backend) -> AsyncIterator[Store]:
        store = await backend.open()
        yield store
        await store.close()
        left = [task for task in asyncio.all_tasks() if "persistence" in str(task.get_coro())]
        assert left == [], "the store left tasks behind"
        assert [thread for thread in threading.enumerate() if thread.name.startswith("store ")] == []

    # --- the log ---

    async def test_an_unknown_room_is_empty(self, store: Store) -> None:
        assert await store.load(ROOM) == EMPTY_ROOM
        assert await store.rooms() == []

    async def test_reads_back_what_was_appended(self, store: Store, backend: Backend) -> None:
        positions = await fill(store, 3)
        stored = await store.load(ROOM)
        assert [update.position for update in stored.updates] == list(positions)
        assert [update.data for update in stored.updates] == [b"update 0", b"update 1", b"update 2"]
        assert [(update.author, update.at) for update in stored.updates] == [
            ("author 0", 1_000),
            ("author 1", 1_001),
            ("author 0", 1_002),
        ]
        assert stored.blocks == ()
        assert await backend.raw_updates(ROOM) == [(position, b"update %d" % n) for n, position in enumerate(positions)]

    async def test_bytes_are_opaque(self, store: Store) -> None:
        samples = [b"", b"\0", bytes(range(256)), b"\xff" * 100_000, b"same", b"same"]
        await store.append([record(data) for data in samples])
        assert [update.data for update in (await store.load(ROOM)).updates] == samples

    async def test_an_empty_append_is_allowed(self, store: Store) -> None:
        assert list(await store.append([])) == []

    async def test_positions_ascend_over_calls_and_rooms(self, store: Store) -> None:
        positions = [*await fill(store, 2), *await fill(store, 2, OTHER), *await fill(store, 2)]
        assert positions == sorted(set(positions))
        assert positions[0] >= 1

    async def test_order_does_not_follow_the_clock(self, store: Store) -> None:
        times = [5_000, 1, 4_000, -7, 4_000]
        await store.append([record(b"%d" % n, at=at) for n, at in enumerate(times)])
        stored = await store.load(ROOM)
        assert [update.data for update in stored.updates] == [b"0", b"1", b"2", b"3", b"4"]
        assert [update.at for update in stored.updates] == times

    async def test_one_call_may_write_many_rooms(self, store: Store) -> None:
        await store.append([record(b"1"), record(b"2", OTHER), record(b"3")])
        assert [update.data for update in (await store.load(ROOM)).updates] == [b"1", b"3"]
        assert [update.data for update in (await store.load(OTHER)).updates] == [b"2"]

    async def test_concurrent_appends_keep_each_callers_records_apart(self, store: Store) -> None:
        calls = [store.append([record(b"%d.%d" % (n, part)) for part in range(n % 4 + 1)]) for n in range(300)]
        positions = await asyncio.gather(*calls)
        stored = {update.position: update.data for update in (await store.load(ROOM)).updates}
        assert len(stored) == sum(map(len, positions))
        for n, own in enumerate(positions):
            assert [stored[position] for position in own] == [b"%d.%d" % (n, part) for part in range(n % 4 + 1)]

    async def test_appends_started_in_order_are_stored_in_order(self, store: Store) -> None:
        tasks = [asyncio.create_task(store.append([record(b"%d" % n)])) for n in range(100)]
        await asyncio.gather(*tasks)
        assert [update.data for update in (await store.load(ROOM)).updates] == [b"%d" % n for n in range(100)]

    async def test_a_load_sees_every_append_before_it(self, store: Store) -> None:
        pending = asyncio.create_task(store.append([record(b"first")]))
        await asyncio.sleep(0)
        stored = await store.load(ROOM)
        await pending
        assert [update.data for update in stored.updates] == [b"first"]

    @pytest.mark.parametrize("bad", [record(b"x", RoomId("\ud800")), record(b"x", author="\ud800")])
    async def test_a_record_that_cannot_be_stored_fails_alone(self, store: Store, bad: Record) -> None:
        with pytest.raises(UnicodeEncodeError):
            await store.append([record(b"good"), bad])
        assert await store.load(ROOM) == EMPTY_ROOM
        await fill(store, 1)

    async def test_a_cancelled_append_is_all_or_nothing(self, store: Store) -> None:
        task = asyncio.create_task(store.append([record(b"1"), record(b"2")]))
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await store.append([record(b"after")])
        found = [update.data for update in (await store.load(ROOM)).updates]
        assert found in ([b"after"], [b"1", b"2", b"after"])

    # --- names ---

    async def test_names_are_never_mixed_up(self, store: Store) -> None:
        await store.append([record(name.encode(), name) for name in AWKWARD_NAMES])
        for name in AWKWARD_NAMES:
            assert [update.data for update in (await store.load(name)).updates] == [name.encode()], repr(name)
        assert [stats.room for stats in await store.rooms()] == sorted(AWKWARD_NAMES)

    # --- compaction ---

    async def test_a_segment_takes_its_updates_out_of_the_log(self, store: Store, backend: Backend) -> None:
        positions = await fill(store, 3)
        assert await store.commit(segment(await store.load(ROOM), b"merged", upto=positions[1]))
        stored = await store.load(ROOM)
        assert stored.blocks == (StoredBlock(1, positions[1], b"merged"),)
        assert [update.data for update in stored.updates] == [b"update 2"]
        assert await backend.raw_updates(ROOM) == [(positions[2], b"update 2")]
        assert await backend.raw_blocks(ROOM) == [
            RawBlock("segment", 1, positions[1], b"merged", ("author 0", "author 1"), 1_000, 1_001)
        ]

    async def test_other_rooms_are_untouched_by_a_compaction(self, store: Store) -> None:
        await fill(store, 2)
        await fill(store, 2, OTHER)
        before = await store.load(OTHER)
        assert await store.commit(segment(await store.load(ROOM), b"merged"))
        assert await store.load(OTHER) == before

    async def test_segments_follow_one_another_without_a_gap(self, store: Store) -> None:
        for n in range(3):
            await fill(store, 1, OTHER)  # leaves holes in the room's positions
            await fill(store, 2)
            assert await store.commit(segment(await store.load(ROOM), b"segment %d" % n))
        blocks = (await store.load(ROOM)).blocks
        assert [block.data for block in blocks] == [b"segment 0", b"segment 1", b"segment 2"]
        assert blocks[0].first == 1
        assert [block.first for block in blocks[1:]] == [block.last + 1 for block in blocks[:-1]]

    async def test_a_snapshot_stands_for_the_segments_which_stay_as_history(
        self, store: Store, backend: Backend
    ) -> None:
        ends = []
        for n in range(2):
            ends.append((await fill(store, 2))[-1])
            assert await store.commit(segment(await store.load(ROOM), b"segment %d" % n))
        last = (await fill(store, 1))[-1]
        assert await store.commit(snapshot(await store.load(ROOM), b"snapshot"))
        stored = await store.load(ROOM)
        assert stored.blocks == (StoredBlock(1, ends[1], b"snapshot"),)
        assert [update.position for update in stored.updates] == [last]
        raw = await backend.raw_blocks(ROOM)
        assert [(block.kind, block.first, block.last, block.data) for block in raw] == [
            ("segment", 1, ends[0], b"segment 0"),
            ("segment", ends[0] + 1, ends[1], b"segment 1"),
            ("snapshot", 1, ends[1], b"snapshot"),
        ]
        assert [block.authors for block in raw[:2]] == [("author 0", "author 1")] * 2

    async def test_a_newer_snapshot_replaces_the_older(self, store: Store, backend: Backend) -> None:
        for n in range(3):
            await fill(store, 2)
            assert await store.commit(segment(await store.load(ROOM), b"segment %d" % n))
            assert await store.commit(snapshot(await store.load(ROOM), b"snapshot %d" % n))
        assert [block.data for block in (await store.load(ROOM)).blocks] == [b"snapshot 2"]
        kinds = [block.kind for block in await backend.raw_blocks(ROOM)]
        assert sorted(kinds) == ["segment", "segment", "segment", "snapshot"]
        await fill(store, 1)
        assert await store.commit(segment(await store.load(ROOM), b"after"))
        assert [block.data for block in (await store.load(ROOM)).blocks] == [b"snapshot 2", b"after"]

    async def test_poison_moves_to_the_quarantine(self, store: Store, backend: Backend) -> None:
        positions = await fill(store, 3)
        assert await store.commit(segment(await store.load(ROOM), b"merged", poison=[positions[1]]))
        stored = await store.load(ROOM)
        assert stored.blocks == (StoredBlock(1, positions[2], b"merged"),)
        assert stored.updates == ()
        assert await backend.raw_quarantine(ROOM) == [(positions[1], b"update 1", "bad-bytes")]
        assert (await store.rooms())[0].quarantined == 1

    async def test_a_batch_of_nothing_but_poison_leaves_no_block(self, store: Store, backend: Backend) -> None:
        positions = await fill(store, 2)
        assert await store.commit(segment(await store.load(ROOM), b"", poison=positions))
        assert await store.load(ROOM) == EMPTY_ROOM
        assert len(await backend.raw_quarantine(ROOM)) == 2
        last = (await fill(store, 1))[-1]
        assert await store.commit(segment(await store.load(ROOM), b"good"))
        assert (await store.load(ROOM)).blocks == (StoredBlock(1, last, b"good"),)

    # --- the fence ---

    async def test_a_repeated_compaction_changes_nothing(self, store: Store, backend: Backend) -> None:
        await fill(store, 2)
        change = segment(await store.load(ROOM), b"merged")
        assert await store.commit(change)
        before = await store.load(ROOM)
        assert not await store.commit(change)
        assert await store.load(ROOM) == before
        assert len(await backend.raw_blocks(ROOM)) == 1

    async def test_a_compaction_that_missed_an_update_is_refused(self, store: Store, backend: Backend) -> None:
        await fill(store, 3)
        stored = await store.load(ROOM)
        kept = tuple(update for update in stored.updates if update.data != b"update 1")
        assert not await store.commit(segment(StoredRoom((), kept, 0), b"merged"))
        assert await store.load(ROOM) == stored
        assert await backend.raw_blocks(ROOM) == []

    async def test_a_compaction_of_updates_that_are_not_there_is_refused(self, store: Store) -> None:
        await fill(store, 2)
        stored = await store.load(ROOM)
        change = segment(stored, b"merged")
        stray = Compaction(OTHER, "segment", 0, 0, change.block, change.positions)
        assert not await store.commit(stray)
        assert await store.load(ROOM) == stored
        assert await store.load(OTHER) == EMPTY_ROOM

    async def test_a_slow_compactor_loses_against_a_quick_one(self, store: Store) -> None:
        positions = await fill(store, 4)
        slow = segment(await store.load(ROOM), b"slow")
        assert await store.commit(segment(await store.load(ROOM), b"quick", upto=positions[1]))
        assert not await store.commit(slow)
        assert [block.data for block in (await store.load(ROOM)).blocks] == [b"quick"]
        assert len((await store.load(ROOM)).updates) == 2

    async def test_a_snapshot_of_older_blocks_is_refused(self, store: Store) -> None:
        await fill(store, 1)
        assert await store.commit(segment(await store.load(ROOM), b"segment 0"))
        stale = snapshot(await store.load(ROOM), b"stale")
        await fill(store, 1)
        assert await store.commit(segment(await store.load(ROOM), b"segment 1"))
        assert not await store.commit(stale)
        assert [block.data for block in (await store.load(ROOM)).blocks] == [b"segment 0", b"segment 1"]

    async def test_updates_that_come_in_during_a_compaction_stay(self, store: Store) -> None:
        await fill(store, 2)
        change = segment(await store.load(ROOM), b"merged")
        late = await fill(store, 1)
        assert await store.commit(change)
        assert [update.position for update in (await store.load(ROOM)).updates] == list(late)

    # --- deletion ---

    async def test_a_deleted_room_is_empty_and_one_generation_on(self, store: Store, backend: Backend) -> None:
        await fill(store, 2)
        assert await store.commit(segment(await store.load(ROOM), b"merged"))
        last = (await fill(store, 2))[-1]
        assert await store.commit(Deletion(ROOM, 0))
        assert await store.load(ROOM) == StoredRoom((), (), 1)
        assert await store.rooms() == []
        assert await backend.raw_updates(ROOM) == []
        assert await backend.raw_blocks(ROOM) == []
        assert (await fill(store, 1))[0] > last
        assert (await store.load(ROOM)).generation == 1

    async def test_a_deletion_of_another_generation_is_refused(self, store: Store) -> None:
        await fill(store, 1)
        assert not await store.commit(Deletion(ROOM, 1))
        assert await store.commit(Deletion(ROOM, 0))
        await fill(store, 1)
        assert not await store.commit(Deletion(ROOM, 0))
        assert len((await store.load(ROOM)).updates) == 1

    async def test_a_compaction_of_a_deleted_generation_is_refused(self, store: Store) -> None:
        await fill(store, 2)
        change = segment(await store.load(ROOM), b"merged")
        assert await store.commit(Deletion(ROOM, 0))
        assert not await store.commit(change)
        assert await store.load(ROOM) == StoredRoom((), (), 1)

    async def test_deleting_an_unknown_room_raises_its_generation(self, store: Store) -> None:
        assert await store.commit(Deletion(ROOM, 0))
        assert (await store.load(ROOM)).generation == 1

    # --- the list of rooms, the check ---

    async def test_rooms_are_listed_in_pages(self, store: Store) -> None:
        names = [RoomId(f"room {n:02}") for n in range(60)]
        await store.append([record(b"x", name) for name in reversed(names)])
        found: list[str] = []
        while page := await store.rooms(after=found[-1] if found else "", limit=3):
            assert len(page) <= 3
            found += [stats.room for stats in page]
        assert found == names
        assert [stats.room for stats in await store.rooms(after=names[9], limit=45)] == names[10:55]
        assert [stats.room for stats in await store.rooms()] == names

    async def test_the_statistics_count_what_is_there(self, store: Store) -> None:
        positions = await fill(store, 4)
        assert await store.commit(segment(await store.load(ROOM), b"12345", upto=positions[1]))
        (stats,) = await store.rooms()
        assert (stats.updates, stats.update_bytes, stats.block_bytes) == (2, 16, 5)
        assert (stats.last_position, stats.quarantined) == (positions[3], 0)
        assert await store.commit(snapshot(await store.load(ROOM), b"123"))
        assert (await store.rooms())[0].block_bytes == 3

    async def test_the_check_finds_a_whole_store_whole(self, store: Store, backend: Backend) -> None:
        await fill(store, 2)
        await fill(store, 2, OTHER)
        assert await store.commit(segment(await store.load(ROOM), b"merged"))
        found = await store.check(deep=True)
        assert found.problems == ()
        assert found.rooms == 2
        assert found.durable == backend.durable
        assert found.bytes > 0
        assert (await store.check()).adapter == found.adapter

    # --- the end, and after ---

    async def test_closing_twice_is_allowed_and_later_calls_are_refused(self, store: Store) -> None:
        await store.close()
        await store.close()
        with pytest.raises(StoreClosed):
            await fill(store, 1)
        with pytest.raises(StoreClosed):
            await store.load(ROOM)

    async def test_what_was_queued_before_the_close_is_written(self, backend: Backend) -> None:
        store = await backend.open()
        pending = [asyncio.create_task(fill(store, 2)) for _ in range(20)]
        await asyncio.sleep(0)
        await store.close()
        assert [len(positions) for positions in await asyncio.gather(*pending)] == [2] * 20
        assert len(await backend.raw_updates(ROOM)) == 40

    async def test_everything_is_there_after_reopening(self, backend: Backend) -> None:
        if not backend.durable:
            pytest.skip("not durable, as declared")
        store = await backend.open()
        for n in range(2):
            await fill(store, 2)
            assert await store.commit(segment(await store.load(ROOM), b"segment %d" % n))
        assert await store.commit(snapshot(await store.load(ROOM), b"snapshot"))
        assert await store.commit(Deletion(OTHER, 0))
        last = (await fill(store, 2))[-1]
        before, other = await store.load(ROOM), await store.load(OTHER)
        await store.close()
        store = await backend.open()
        try:
            assert await store.load(ROOM) == before
            assert await store.load(OTHER) == other
            assert (await fill(store, 1))[0] > last
        finally:
            await store.close()

    async def test_positions_are_not_used_again_after_a_deletion_and_a_restart(self, backend: Backend) -> None:
        if not backend.durable:
            pytest.skip("not durable, as declared")
        store = await backend.open()
        last = (await fill(store, 3))[-1]
        assert await store.commit(Deletion(ROOM, 0))
        await store.close()
        store = await backend.open()
        try:
            assert (await fill(store, 1))[0] > last
        finally:
            await store.close()

    @pytest.mark.parametrize("what", ["update", "block"])
    async def test_a_flipped_bit_is_an_error_and_never_an_empty_room(
        self, backend: Backend, what: Literal["update", "block"]
    ) -> None:
        if not backend.checksums:
            pytest.skip("no checksums, as declared")
        store = await backend.open()
        positions = await fill(store, 4)
        assert await store.commit(segment(await store.load(ROOM), b"merged", upto=positions[1]))
        await fill(store, 1, OTHER)
        await store.close()
        await backend.damage(ROOM, what)
        store = await backend.open()
        try:
            with pytest.raises(CorruptRecord) as caught:
                await store.load(ROOM)
            assert (caught.value.room, caught.value.position) == (ROOM, positions[3 if what == "update" else 1])
            assert len((await store.load(OTHER)).updates) == 1  # one bad room does not take the others with it
            assert len((await store.check(deep=True)).problems) == 1
        finally:
            await store.close()
