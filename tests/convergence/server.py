"""A server reduced to what decides whether its readers converge: a replica, a store, broadcasts."""

from __future__ import annotations

from collections.abc import Iterator

from crdt.awareness import Presence
from crdt.block import Block
from crdt.fold import fold
from crdt.replica import Outcome, Replica
from crdt.session import Session
from crdt.wire import STEP1, SYNC, read_messages, sync_message
from syncd.metrics import Stats
from tests.convergence.steps import Compact


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

    def connect(self, state_vector: bytes, limit: int) -> Session:
        """A reader's connection that has sent its SyncStep1; what it is owed comes by `pull`."""
        session = Session(self.replica, Presence(1024, 1), Stats(), "reader", diff_bytes=limit)
        session.receive(sync_message(STEP1, state_vector), 0.0)
        return session

    def sync(self, state_vector: bytes, limit: int = 256 * 1024) -> list[bytes]:
        """The whole answer to a SyncStep1."""
        return list(pull(self.connect(state_vector, limit)))


def pull(session: Session) -> Iterator[bytes]:
    """What a connection is owed, one update at a time; the server may change meanwhile."""
    while session.wants_more():
        for message in session.pull():
            for kind, _, update in read_messages(message):
                assert kind == SYNC
                yield update
