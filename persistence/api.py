"""The store port: what syncd needs from a store, and nothing more.

Rules that every adapter keeps, and that tests/conformance/store_suite.py checks:

- `data` is opaque. An adapter never merges, deduplicates, reorders or drops bytes.
- The position a store gives to a record is the only order there is. Positions of a room ascend strictly, start at 1
  or above, may have holes (other rooms share the counter), and are never used twice, not even after a deletion.
  No wall clock takes part: `at` is information for people.
- "Not there" and "cannot be read" are different answers: an unknown room is an empty `StoredRoom`, everything that
  keeps a store from knowing is an exception.

Two kinds of block: a *segment* takes updates out of the log and is kept for ever as history (authors, time span); a
*snapshot* only repeats what the blocks before it hold, as one block from position 1 on, and is replaced by the next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

from crdt.ids import RoomId

FIRST_POSITION = 1

BlockKind = Literal["segment", "snapshot"]


class Record(NamedTuple):
    """One update on its way into the log.

    `room`: any text that UTF-8 can encode; compared byte for byte. `data`: opaque bytes.
    `author`: who sent it, "" when unknown. `at`: Unix time in milliseconds, information only.
    """

    room: RoomId
    data: bytes
    author: str
    at: int


@dataclass(frozen=True, slots=True)
class StoredUpdate:
    """One update of the log. `position`: its place in the room's order. `at`: Unix ms, information only."""

    position: int
    data: bytes
    author: str
    at: int


@dataclass(frozen=True, slots=True)
class StoredBlock:
    """Merged updates. `first`, `last`: the positions covered, both inclusive; `data`: opaque bytes."""

    first: int
    last: int
    data: bytes


@dataclass(frozen=True, slots=True)
class StoredRoom:
    """A room's whole state.

    `blocks`: ascending, the first starts at position 1, each next one right after the last: the newest snapshot (if
    there is one) and the segments after it. `updates`: everything after the last block, ascending.
    `generation`: how often the room was deleted.
    """

    blocks: tuple[StoredBlock, ...]
    updates: tuple[StoredUpdate, ...]
    generation: int

    @property
    def covered(self) -> int:
        """The last position that a block covers, 0 without blocks."""
        return self.blocks[-1].last if self.blocks else 0


EMPTY_ROOM = StoredRoom(blocks=(), updates=(), generation=0)


@dataclass(frozen=True, slots=True)
class Quarantined:
    """An update that cannot be merged: its `position`, the `rule` it broke (kebab-case), a `detail` for people."""

    position: int
    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class Compaction:
    """One atomic step of compaction, valid only while the fence holds.

    The fence is what the compactor read before its slow merge: the room's `generation`, the last position `covered`
    by a block (0 for none), and `positions`, the updates it took: exactly the room's updates up to `positions[-1]`.

    segment: `block` covers `covered + 1 .. positions[-1]`, or is None when every update went to quarantine;
      `quarantined` are the positions left out of it; `authors` (sorted) and `started`..`ended` (Unix ms, 0 when the
      block is None) describe what is in it.
    snapshot: `block` covers `1 .. covered`; no positions, no quarantine, no authors.
    """

    room: RoomId
    kind: BlockKind
    generation: int
    covered: int
    block: StoredBlock | None
    positions: tuple[int, ...] = ()
    quarantined: tuple[Quarantined, ...] = ()
    authors: tuple[str, ...] = ()
    started: int = 0
    ended: int = 0

    def __post_init__(self) -> None:
        """Refuse a step that would leave a hole or an overlap (ValueError: a bug of the caller, not of the data)."""
        if self.kind == "snapshot":
            span = (FIRST_POSITION, self.covered)
            sound = self.block is not None and not self.positions and not self.quarantined
        else:
            span = (self.covered + 1, self.positions[-1] if self.positions else 0)
            taken = set(self.positions)
            sound = span[0] <= span[1] and all(q.position in taken for q in self.quarantined)
            sound = sound and (self.block is not None or len(self.quarantined) == len(taken))
        if not sound or (self.block is not None and (self.block.first, self.block.last) != span):
            raise ValueError(f"compaction of {self.room!r} does not cover what it takes: {self.kind} over {span}")


@dataclass(frozen=True, slots=True)
class Deletion:
    """Forget everything that is stored of a room and raise its generation by one.

    Fence: the `generation` that the caller knew.
    """

    room: RoomId
    generation: int


Change = Compaction | Deletion


@dataclass(frozen=True, slots=True)
class RoomStats:
    """What a store holds of one room.

    `updates`, `quarantined`: counts. `update_bytes`: of the log. `block_bytes`: of the blocks that `load` returns.
    `last_position`: the highest position stored.
    """

    room: RoomId
    updates: int
    update_bytes: int
    block_bytes: int
    last_position: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class StoreCheck:
    """What a check found.

    `adapter`: its name. `durable`: whether records survive this process. `schema`: version of the schema, 0 where there
    is none. `bytes`: size of the store. `queued`: calls waiting. `rooms`: rooms read (deep checks only).
    `problems`: one line each, empty when all is well (deep checks only: a store that cannot answer raises).
    """

    adapter: str
    durable: bool
    schema: int
    bytes: int
    queued: int
    rooms: int = 0
    problems: tuple[str, ...] = ()


class Store(Protocol):
    """A room store. Any method may raise StoreBroken, StoreUnavailable or StoreClosed."""

    async def append(self, records: Sequence[Record]) -> Sequence[int]:
        """Write the records in one transaction and return their positions, in the order given.

        Returns only once they are durable. Cancelling the call does not undo it: the records may be there or not.
        Raises RecordTooLarge, or UnicodeEncodeError for a name that UTF-8 cannot encode, before anything is written.
        """
        ...

    async def load(self, room: RoomId) -> StoredRoom:
        """Return the room's whole state; an unknown room is an empty one. Raises CorruptRecord."""
        ...

    async def commit(self, change: Change) -> bool:
        """Apply the change atomically and durably; False, with nothing changed, when its fence no longer holds.

        A segment takes its positions out of the log; the quarantined ones move, with their bytes, to the quarantine.
        A snapshot replaces the snapshot before it. Segments stay as history.
        """
        ...

    async def rooms(self, after: str = "", limit: int = 1000) -> Sequence[RoomStats]:
        """Return up to `limit` rooms that hold something and sort after `after`, in order of code points."""
        ...

    async def check(self, *, deep: bool = False) -> StoreCheck:
        """Return facts for a readiness probe; `deep` reads and verifies everything stored (seconds to minutes)."""
        ...

    async def close(self) -> None:
        """Finish what is queued and let go of the store. Calling it again does nothing."""
        ...
