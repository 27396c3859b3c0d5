"""A server reduced to what decides whether its readers converge: a replica, a store, broadcasts."""

from __future__ import annotations

from collections.abc import Iterator

from pycrdt import merge_updates

from crdt.block import Block
from crdt.fold import fold
from crdt.replica import Outcome, Replica
from crdt.update import parse_state_vector
from tests.convergence.steps import Compact

MAX_ENTRIES = 10_000


class Server:
    """One room of one node. Stored is what was flushed, as in life; a restart forgets everything else."""

    def __init__(self) -> None:
        self.replica = Replica()
        self.blocks: list[bytes] = []
        self.updates: list[bytes] = []

    def receive(self, data: bytes, source: object) -> Outcome:
        """One update of a client."""
        return self.replica.receive(data, source)

    def flush(self) -> bytes | None:
        """What goes to every reader, and to the store."""
        update = self.replica.flush()
        if update is not None:
            self.updates.append(update)
        return update

    def restart(self) -> None:
        """Forget the memory, load the store."""
        self.replica = Replica()
        self.replica.load([Block.from_bytes(block) for block in self.blocks], list(self.updates))

    def compact(self, step: Compact) -> None:
        """Fold the oldest stored updates into a segment, or everything up to them into a snapshot."""
        count = round(len(self.updates) * step.share)
        covered, self.updates = self.updates[:count], self.updates[count:]
        number = self.replica.tail.end - len(self.updates)
        if step.kind == "snapshot":
            self.blocks = [fold(self.blocks, covered, step.chunk_bytes)]
        elif covered:
            self.blocks.append(fold([], covered, step.chunk_bytes))
        self.replica.rebase([Block.from_bytes(block) for block in self.blocks], number)

    def base(self, state_vector: bytes, limit: int) -> Iterator[bytes]:
        """First part of the answer to a SyncStep1; it is sent piece by piece, and the server may change meanwhile."""
        return self.replica.base_updates(parse_state_vector(state_vector, MAX_ENTRIES), limit)

    def tail(self, state_vector: bytes) -> list[bytes]:
        """Last part of the answer to a SyncStep1."""
        return self.replica.tail_updates(parse_state_vector(state_vector, MAX_ENTRIES))

    def sync(self, state_vector: bytes, limit: int = 256 * 1024) -> list[bytes]:
        """The whole answer."""
        return [*self.base(state_vector, limit), *self.tail(state_vector)]


def merged(updates: list[bytes]) -> bytes:
    """What a peer that merges with yrs sends instead of several updates."""
    return updates[0] if len(updates) == 1 else merge_updates(*updates)
