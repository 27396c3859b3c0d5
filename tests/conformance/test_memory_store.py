"""The memory store against the suite. Its raw helpers read its fields: there is nothing else to read."""

from collections.abc import Sequence

import pytest

from crdt.ids import RoomId
from persistence.memory import MemoryStore
from tests.conformance.store_suite import Backend, RawBlock, StoreSuite


class MemoryBackend(Backend):
    durable = False
    checksums = False

    def __init__(self) -> None:
        self.store = MemoryStore()

    async def open(self) -> MemoryStore:
        return self.store

    async def raw_updates(self, room: str) -> Sequence[tuple[int, bytes]]:
        return [(update.position, update.data) for update in self.store._rooms[RoomId(room)].updates]

    async def raw_blocks(self, room: str) -> Sequence[RawBlock]:
        found = self.store._rooms[RoomId(room)]
        blocks = [
            RawBlock("segment", s.block.first, s.block.last, s.block.data, s.authors, s.started, s.ended)
            for s in found.segments
        ]
        if found.snapshot is not None:
            blocks.append(RawBlock("snapshot", 1, found.snapshot.last, found.snapshot.data, (), 0, 0))
        return sorted(blocks, key=lambda block: (block.last, block.kind))

    async def raw_quarantine(self, room: str) -> Sequence[tuple[int, bytes, str]]:
        return [(p.position, update.data, p.rule) for p, update in self.store._rooms[RoomId(room)].quarantine]


class TestMemoryStore(StoreSuite):
    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()
