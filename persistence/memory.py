"""A store in the memory of the process: for tests, demonstrations and rooms nobody needs to keep."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from crdt.ids import RoomId
from persistence.api import (
    EMPTY_ROOM,
    Change,
    Compaction,
    Deletion,
    Quarantined,
    Record,
    RoomStats,
    StoreCheck,
    StoredBlock,
    StoredRoom,
    StoredUpdate,
)
from persistence.errors import StoreClosed


@dataclass(slots=True)
class _Segment:
    block: StoredBlock
    authors: tuple[str, ...]
    started: int
    ended: int


@dataclass(slots=True)
class _Room:
    generation: int = 0
    snapshot: StoredBlock | None = None
    segments: list[_Segment] = field(default_factory=list)
    updates: list[StoredUpdate] = field(default_factory=list)
    quarantine: list[tuple[Quarantined, StoredUpdate]] = field(default_factory=list)

    def blocks(self) -> tuple[StoredBlock, ...]:
        newest = () if self.snapshot is None else (self.snapshot,)
        covered = newest[-1].last if newest else 0
        return (*newest, *(segment.block for segment in self.segments if segment.block.last > covered))

    def load(self) -> StoredRoom:
        return StoredRoom(self.blocks(), tuple(self.updates), self.generation)

    def last_position(self) -> int:
        ends = [block.last for block in self.blocks()] + [update.position for update in self.updates[-1:]]
        return max(ends + [poison.position for poison, _ in self.quarantine], default=0)


class MemoryStore:
    """Keeps everything in dicts. No thread, no await inside: each call is atomic by itself."""

    def __init__(self) -> None:
        self._rooms: dict[RoomId, _Room] = {}
        self._position = 0
        self._closed = False

    async def append(self, records: Sequence[Record]) -> Sequence[int]:
        self._require_open()
        for record in records:
            record.room.encode()
            record.author.encode()
        return [self._append(record) for record in records]

    def _append(self, record: Record) -> int:
        self._position += 1
        room = self._rooms.setdefault(record.room, _Room())
        room.updates.append(StoredUpdate(self._position, record.data, record.author, record.at))
        return self._position

    async def load(self, room: RoomId) -> StoredRoom:
        self._require_open()
        found = self._rooms.get(room)
        return EMPTY_ROOM if found is None else found.load()

    async def commit(self, change: Change) -> bool:
        self._require_open()
        room = self._rooms.get(change.room, _Room())
        if room.generation != change.generation:
            return False
        if isinstance(change, Deletion):
            self._rooms[change.room] = _Room(generation=room.generation + 1)
            return True
        if isinstance(change, Compaction):
            return self._compact(room, change)
        assert_never(change)

    def _compact(self, room: _Room, change: Compaction) -> bool:
        if room.load().covered != change.covered:
            return False
        if change.kind == "snapshot":
            room.snapshot = change.block
            return True
        end = bisect_right(room.updates, change.positions[-1], key=lambda update: update.position)
        taken = {update.position: update for update in room.updates[:end]}
        if tuple(taken) != change.positions:
            return False
        room.quarantine.extend((q, taken[q.position]) for q in change.quarantined)
        if change.block is not None:
            room.segments.append(_Segment(change.block, change.authors, change.started, change.ended))
        del room.updates[:end]
        return True

    async def rooms(self, after: str = "", limit: int = 1000) -> Sequence[RoomStats]:
        self._require_open()
        names = sorted(name for name, room in self._rooms.items() if name > after and room.last_position())
        return [self._stats(name) for name in names[:limit]]

    def _stats(self, name: RoomId) -> RoomStats:
        room = self._rooms[name]
        return RoomStats(
            room=name,
            updates=len(room.updates),
            update_bytes=sum(len(update.data) for update in room.updates),
            block_bytes=sum(len(block.data) for block in room.blocks()),
            last_position=room.last_position(),
            quarantined=len(room.quarantine),
        )

    async def check(self, *, deep: bool = False) -> StoreCheck:
        self._require_open()
        size = sum(stats.update_bytes + stats.block_bytes for stats in map(self._stats, self._rooms))
        rooms = len(self._rooms) if deep else 0
        return StoreCheck(adapter="memory", durable=False, schema=0, bytes=size, queued=0, rooms=rooms)

    async def close(self) -> None:
        self._closed = True

    def _require_open(self) -> None:
        if self._closed:
            raise StoreClosed("the memory store is closed")
