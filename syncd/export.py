"""A document out of a store and into it, as the command line does it while no server has the store open.

A document engine (`pycrdt.Doc`) is only ever built in the sandbox's child process: rendering and the last check of an
import happen there, everything else on bytes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, get_args

from crdt.block import Block, unpack
from crdt.errors import ProtocolError
from crdt.ids import RoomId
from crdt.replica import Limits, Outcome, Replica
from persistence.api import Record, Store, StoredRoom
from persistence.errors import CorruptRecord, StoreError
from persistence.sandbox import Sandbox

Format = Literal["update", "json", "text", "delta", "html", "md"]
"""`update`: Yjs v1 bytes; `json`: all shared types; `text`, `delta` (Quill), `html`, `md`: the document's text."""

FORMATS: Final[tuple[str, ...]] = get_args(Format)

BINARY: Final = frozenset({"update"})
"""Formats that are not text."""


class RoomNotFound(StoreError):
    """The store holds nothing under this name."""

    def __init__(self, room: str) -> None:
        super().__init__(f"the store holds no room {room!r}")


class ImportRefused(StoreError):
    """The file cannot become part of the room; nothing was written."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one job of the child process may take: `memory` in bytes, `seconds` of time."""

    memory: int
    seconds: float


async def load_existing(store: Store, room: RoomId) -> StoredRoom:
    """The stored state of `room`. Raises `RoomNotFound` if there is none, `StoreError` if it cannot be read."""
    stored = await store.load(room)
    if not stored.blocks and not stored.updates:
        raise RoomNotFound(room)
    return stored


def updates_of(stored: StoredRoom) -> list[bytes]:
    """All updates of a room, v1 bytes, each building only on those before it."""
    packed = [update for block in stored.blocks for update in unpack(block.data)]
    return packed + [update.data for update in stored.updates]


async def render(sandbox: Sandbox, stored: StoredRoom, form: Format, bounds: Bounds) -> bytes:
    """The document in one format; text formats are UTF-8. Raises `persistence.errors.SandboxError`."""
    return await sandbox.run("render", form, updates_of(stored), timeout=bounds.seconds, memory=bounds.memory)


def open_replica(stored: StoredRoom, max_bytes: int | None = None) -> Replica:
    """The room as a server would hold it; `max_bytes` bounds what may be added. Raises `ProtocolError` if damaged."""
    limits = Limits() if max_bytes is None else Limits(max_update=max_bytes, max_bytes=max_bytes, held_updates=1)
    replica = Replica(limits)
    replica.load([Block.from_bytes(block.data) for block in stored.blocks], [update.data for update in stored.updates])
    return replica


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import added: `records` to the log, `size` in bytes; both 0 if the room had it all."""

    records: int
    size: int


async def import_update(
    store: Store, sandbox: Sandbox, room: RoomId, data: bytes, author: str, at: int, max_bytes: int, bounds: Bounds
) -> Imported:
    """Merges the update `data` (v1 bytes) into `room`, which may be new, in one transaction.

    `author` is who it is attributed to, `at` the time (unix milliseconds) it is noted under, `max_bytes` the largest
    document allowed. Raises `ProtocolError` for bytes that break a rule, `ImportRefused` for an update that builds on
    what the room does not have, and `StoreError`.
    """
    stored = await store.load(room)
    fresh = _new_part(open_replica(stored, max_bytes), data)
    if fresh is None:
        return Imported(0, 0)
    block = await sandbox.run("fold", [], [fresh], timeout=bounds.seconds, memory=bounds.memory)
    updates = unpack(block)
    await _check(sandbox, stored, updates, bounds)
    await store.append([Record(room, update, author, at) for update in updates])
    return Imported(len(updates), sum(map(len, updates)))


async def _check(sandbox: Sandbox, stored: StoredRoom, more: list[bytes], bounds: Bounds) -> None:
    blocks = [block.data for block in stored.blocks]
    updates = [update.data for update in stored.updates] + more
    await sandbox.run("check", blocks, updates, timeout=bounds.seconds, memory=bounds.memory)


def _new_part(replica: Replica, data: bytes) -> bytes | None:
    outcome = replica.receive(data, None)
    if outcome is Outcome.KNOWN:
        return None
    if outcome is not Outcome.ACCEPTED:
        raise ImportRefused(
            "the update builds on edits that the room does not have; export the whole document and import that"
        )
    return replica.flush()


async def check_rooms(store: Store, rooms: Sequence[RoomId], bounds: Bounds, sandbox: Sandbox) -> list[str]:
    """What is wrong with stored rooms, one line per damaged room.

    Each is read (checksums, no holes), all its updates are parsed as if a client had sent them, and it is loaded into a
    fresh document.
    """
    problems = []
    for room in rooms:
        try:
            stored = await store.load(room)
            open_replica(stored)
            await _check(sandbox, stored, [], bounds)
        except CorruptRecord as error:
            problems.append(str(error))
        except (StoreError, ProtocolError) as error:
            problems.append(f"room {room!r}: {error}")
    return problems
