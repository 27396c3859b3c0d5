"""When and how a room's log becomes blocks: policy, merge in the sandbox, check, commit behind the fence.

Segments first: every compaction turns the log into one segment, at a cost that follows the log. Only when the segments
after the first block outgrow a share of it are all blocks rewritten as one snapshot, so each byte is written
O(log(document)) times, like in an LSM tree. A room's first segment starts at position 1 and so is its first snapshot.

Nothing is replaced that has not been checked: `fold` verifies on the bytes that its result covers all it was given. A
snapshot is also loaded into a fresh document (`check`). If that fails, the snapshot is kept and the failure reported:
the room is served from bytes, browsers read them, and taking a saved edit away because one engine stumbles over it
would break the promise that was given for it. Exports of the room will fail, and somebody should look.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

from crdt.ids import RoomId
from persistence.api import FIRST_POSITION, Compaction, Quarantined, Store, StoredBlock, StoredRoom, StoredUpdate
from persistence.errors import (
    CompactionFailed,
    CorruptRecord,
    JobFailed,
    SandboxDied,
    SandboxError,
    SandboxMemory,
    SandboxTimeout,
)
from persistence.failpoints import hit
from persistence.sandbox import Sandbox

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class CompactionPolicy:
    """When to compact, and what a job may use.

    `updates`, `bytes`: a room is due with so many updates, or so many bytes of them, since the last block.
    `snapshot_ratio`: a snapshot is due when the segments after the first block exceed this share of its size.
    `memory`: address space of a job in bytes. `timeout`: wall seconds per job.
    """

    updates: int = 500
    bytes: int = 1 << 20
    snapshot_ratio: float = 0.5
    memory: int = 2 << 30
    timeout: float = 120.0

    def log_is_due(self, updates: int, size: int) -> bool:
        """Whether a log of so many updates and bytes is to become a segment."""
        return updates >= self.updates or (updates > 0 and size >= self.bytes)

    def snapshot_is_due(self, blocks: Sequence[StoredBlock]) -> bool:
        """Whether the blocks are to become one."""
        return len(blocks) > 1 and sum(len(b.data) for b in blocks[1:]) > self.snapshot_ratio * len(blocks[0].data)


@dataclass(frozen=True, slots=True)
class CompactionReport:
    """What one compaction did to a room.

    `kind`: snapshot: `block` (from position 1) replaces all blocks; segment: `block` follows them; quarantine: there
    was nothing good in the batch and there is no block. In each case the updates up to `last` have left the log.
    `updates`: how many did. `bytes_in`: of the updates and blocks read; `bytes_out`: written.
    `unloadable`: why a fresh document does not load the snapshot; empty when it does, or when nobody tried.
    """

    room: RoomId
    kind: Literal["segment", "snapshot", "quarantine"]
    block: StoredBlock | None
    last: int
    updates: int
    bytes_in: int
    bytes_out: int
    quarantined: tuple[Quarantined, ...]
    unloadable: str = ""


class Compactor:
    """Compacts rooms one call at a time. Keeps no state of its own: two of them on one store are safe, by the fence."""

    def __init__(self, store: Store, sandbox: Sandbox, policy: CompactionPolicy) -> None:
        self._store = store
        self._sandbox = sandbox
        self._policy = policy
        self._run = partial(sandbox.run, timeout=policy.timeout, memory=policy.memory)

    async def compact(self, room: RoomId, *, force: bool = False) -> CompactionReport | None:
        """Compact the room if it is due (with `force`: if it has any log at all).

        None: not due, or somebody else changed the room meanwhile and the work was thrown away.
        Raises CompactionFailed (it took too long, too much memory, or stored blocks cannot be folded), SandboxError,
        StoreError; the room is then as it was, or has its new segment and lacks its snapshot.
        """
        stored = await self._store.load(room)
        size = sum(len(update.data) for update in stored.updates)
        report = None
        if self._policy.log_is_due(len(stored.updates), size) or (force and stored.updates):
            report = await self._write_segment(room, stored)
            if report is None:
                return None
            stored = await self._reread(room, report)
        if self._policy.snapshot_is_due(stored.blocks):
            return await self._write_snapshot(room, stored, report) or report
        return report

    async def _write_segment(self, room: RoomId, stored: StoredRoom) -> CompactionReport | None:
        batch = stored.updates
        data, poison = await _Merge(self._run, stored.blocks).run(batch)
        bad = {quarantined.position for quarantined in poison}
        kept = [update for update in batch if update.position not in bad]
        block = StoredBlock(stored.covered + 1, batch[-1].position, data) if data is not None else None
        hit("mid_compaction")
        change = Compaction(
            room=room,
            kind="segment",
            generation=stored.generation,
            covered=stored.covered,
            block=block,
            positions=tuple(update.position for update in batch),
            quarantined=poison,
            authors=tuple(sorted({update.author for update in kept})),
            started=min((update.at for update in kept), default=0),
            ended=max((update.at for update in kept), default=0),
        )
        if not await self._store.commit(change):
            return None
        for quarantined in poison:
            _log.error("room %r: update %d quarantined: %s", room, quarantined.position, quarantined.rule)
        whole = block is not None and block.first == FIRST_POSITION
        return CompactionReport(
            room=room,
            kind="quarantine" if block is None else "snapshot" if whole else "segment",
            block=block,
            last=batch[-1].position,
            updates=len(batch),
            bytes_in=sum(len(update.data) for update in batch),
            bytes_out=len(data or b""),
            quarantined=poison,
            unloadable=await self._try_to_load(room, block) if whole and block is not None else "",
        )

    async def _reread(self, room: RoomId, report: CompactionReport) -> StoredRoom:
        """Read the room back: the store must now hold what it was given, or something newer."""
        stored = await self._store.load(room)
        block = report.block
        same = [found for found in stored.blocks if block is not None and found.last == block.last]
        if same and block is not None and same[0].first == block.first and same[0].data != block.data:
            raise CorruptRecord(room, block.last, "the store returns other bytes than were committed")
        return stored

    async def _write_snapshot(
        self, room: RoomId, stored: StoredRoom, segment: CompactionReport | None
    ) -> CompactionReport | None:
        parts = [block.data for block in stored.blocks]
        try:
            data = await self._run("fold", parts, [])
        except JobFailed as error:
            raise CompactionFailed(f"room {room!r}: its {len(parts)} blocks do not make a snapshot: {error}") from error
        block = StoredBlock(FIRST_POSITION, stored.covered, data)
        hit("mid_compaction")
        if not await self._store.commit(Compaction(room, "snapshot", stored.generation, stored.covered, block)):
            return None
        return CompactionReport(
            room=room,
            kind="snapshot",
            block=block,
            last=stored.covered,
            updates=segment.updates if segment else 0,
            bytes_in=sum(map(len, parts)) + (segment.bytes_in if segment else 0),
            bytes_out=len(data) + (segment.bytes_out if segment else 0),
            quarantined=segment.quarantined if segment else (),
            unloadable=await self._try_to_load(room, block),
        )

    async def _try_to_load(self, room: RoomId, block: StoredBlock) -> str:
        """Why a fresh document does not load a snapshot; empty when it does."""
        try:
            await self._run("check", [block.data], [])
        except SandboxError as error:
            _log.error("room %r: no document loads its snapshot, so it cannot be exported: %s", room, error)
            return str(error)
        return ""


class _Merge:
    """Merges one batch of a room, leaving out what cannot be merged.

    A batch that is refused is bisected; each half is tried on top of all that was good before it. A child that dies is
    given a second chance, since anything may kill a process once. Time and memory are nobody's fault: what takes too
    much stays uncompacted, which is loud and loses nothing.
    """

    def __init__(self, run: Callable[..., Awaitable[bytes]], blocks: Sequence[StoredBlock]) -> None:
        self._run = run
        self._base = [block.data for block in blocks]
        self._poison: list[Quarantined] = []

    async def run(self, batch: Sequence[StoredUpdate]) -> tuple[bytes | None, tuple[Quarantined, ...]]:
        """Return the merged block (None when nothing is good) and what was left out of it."""
        try:
            return await self._try(None, batch), ()
        except (JobFailed, SandboxDied) as error:
            _log.warning("a batch of %d updates cannot be merged, bisecting: %s", len(batch), error)
        await self._require_sound_base()
        return await self._absorb(None, batch), tuple(self._poison)

    async def _require_sound_base(self) -> None:
        """No update may be blamed for a sandbox that does not work, or for blocks that do not fold without it."""
        try:
            await self._run("fold", [], [], self._base)
        except SandboxError as error:
            raise CompactionFailed(f"the {len(self._base)} stored blocks do not fold on their own: {error}") from error

    async def _absorb(self, good: bytes | None, batch: Sequence[StoredUpdate]) -> bytes | None:
        try:
            return await self._try(good, batch)
        except (JobFailed, SandboxDied) as error:
            if len(batch) == 1:
                rule = error.rule if isinstance(error, JobFailed) else type(error).__name__
                self._poison.append(Quarantined(batch[0].position, rule, str(error)))
                return good
        middle = len(batch) // 2
        good = await self._absorb(good, batch[:middle])
        return await self._absorb(good, batch[middle:])

    async def _try(self, good: bytes | None, batch: Sequence[StoredUpdate]) -> bytes:
        try:
            return await self._fold(good, batch)
        except SandboxDied as error:
            _log.warning("the sandbox died on a batch of %d updates, trying once more: %s", len(batch), error)
            return await self._fold(good, batch)

    async def _fold(self, good: bytes | None, batch: Sequence[StoredUpdate]) -> bytes:
        parts = [] if good is None else [good]
        try:
            return await self._run("fold", parts, [update.data for update in batch], self._base)
        except (SandboxTimeout, SandboxMemory) as error:
            raise CompactionFailed(f"a batch of {len(batch)} updates was not merged: {error}") from error
