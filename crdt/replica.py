"""One document as a server holds it: blocks, a tail of raw updates, an index, and what waits for its dependencies.

There is no document engine here. `receive` takes a client's update through the validator and the gate; what is new
waits in `pending` until the room flushes; `flush` hands out one merged update and puts it into the tail. A reader is
brought up to date by the blocks as they lie (or a diff cut from them) and then the tail.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import Final

from crdt.block import Block
from crdt.errors import ProtocolError
from crdt.gate import BATCH, STEPPED, Intake, Verdict, judge
from crdt.index import Index
from crdt.json_text import UNLIMITED
from crdt.merge import join
from crdt.tail import Piece, Tail, pack
from crdt.update import EMPTY_UPDATE, Update, encode_state_vector, parse_update
from crdt.wire import UPDATE, sync_message

SHARED_FROM: Final = 64 * 1024
"""Bytes from which what is sent to several is made once and kept until something else is sent."""


class Outcome(IntEnum):
    """What became of an update."""

    ACCEPTED = 0  # new; it is in `pending`
    KNOWN = 1  # nothing new; dropped
    HELD = 2  # all or part of it waits for something the sender must be asked for
    OVERFLOW = 3  # it would have to wait, but too much waits already; the sender must come back with a full sync


class Limits:
    """What one document may hold.

    Args:
        held_bytes, held_updates: updates that wait for what they build on.
        max_update: bytes of one update.
        max_bytes: bytes of the document, blocks and tail together.
        max_clients: client ids that may have written to it.
        max_deletes: ranges of its delete set; they take 16 bytes of memory each.
    """

    __slots__ = ("held_bytes", "held_updates", "max_bytes", "max_clients", "max_deletes", "max_update")

    def __init__(
        self,
        held_bytes: int = 4 << 20,
        held_updates: int = 1024,
        max_update: int = 16 << 20,
        max_bytes: int = 256 << 20,
        max_clients: int = 200_000,
        max_deletes: int = 4_000_000,
    ) -> None:
        self.held_bytes = held_bytes
        self.held_updates = held_updates
        self.max_update = max_update
        self.max_bytes = max_bytes
        self.max_clients = max_clients
        self.max_deletes = max_deletes


class Held:
    """An update that waits for clocks the document does not have.

    Attributes:
        source: who sent it first; counts as its author.
        senders: all who sent it and are still here.
        waits_for: one (client, clock) that it lacks.
    """

    __slots__ = ("data", "senders", "source", "waits_for")

    def __init__(self, data: bytes, source: object, waits_for: tuple[int, int]) -> None:
        self.data = data
        self.source = source
        self.senders: list[object] = [source]
        self.waits_for = waits_for

    def is_from(self, source: object) -> bool:
        """Whether `source` sent it."""
        return any(sender is source for sender in self.senders)


class Replica:
    """State of one document and the only place that changes it.

    Args:
        limits: what it may hold.

    Attributes:
        index: what is known.
        held_size: bytes that wait in `held`.
        base_size: bytes of the blocks.
        pending: (update, source) accepted since the last flush.
        summaries: those of the updates in `pending`.
        version: rises with every accepted update; equal versions mean equal state.
        base_version: rises when the blocks are replaced.
    """

    __slots__ = (
        "_full",
        "_full_version",
        "_look_again",
        "_look_at",
        "_looking",
        "_released",
        "_shared_message",
        "_shared_update",
        "_whole",
        "_whole_version",
        "base_size",
        "base_version",
        "blocks",
        "held",
        "held_size",
        "index",
        "limits",
        "pending",
        "summaries",
        "tail",
        "version",
    )

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = Limits() if limits is None else limits
        self._released: tuple[Held, Intake] | None = None  # the held update that is being looked at
        self._looking = False  # a round through `held` is under way
        self._look_at = 0  # where it is
        self._look_again = False  # another one must follow
        self.base_size = 0
        self.blocks: tuple[Block, ...] = ()
        self.tail = Tail()
        self.index = Index()
        self.pending: list[tuple[bytes, object]] = []
        self.summaries: list[Update] = []
        self.held: list[Held] = []
        self.held_size = 0
        self.version = 0
        self.base_version = 0
        self._full: list[bytes] = []
        self._full_version = -1
        self._whole: list[bytes] = []
        self._whole_version = -1
        self._shared_update = b""
        self._shared_message = b""

    # -- loading

    def load_blocks(self, blocks: list[Block]) -> None:
        """Take over stored blocks. They are trusted: they were verified when they were written."""
        for block in blocks:
            self.index.add_state(block.state, block.deletes)
        self._set_blocks(blocks)

    def load_update(self, data: bytes) -> None:
        """Take over one stored update; it gets a tail number of its own. Limits do not matter: it was accepted once.

        Raises:
            ProtocolError: when it is not valid: then the store is damaged.
        """
        limits, self.limits = self.limits, _UNLIMITED
        try:
            self.receive(data, None)
        finally:
            self.limits = limits
        if self.flush() is None:
            self.tail.append(Piece(EMPTY_UPDATE, Update()))

    def begin_load(self, data: bytes) -> Intake:
        """Take over one stored update in steps: `advance_load` until it says True. For those of `STEPPED` bytes."""
        return Intake(data, None, self.index, UNLIMITED, BATCH)

    def advance_load(self, intake: Intake, budget: int) -> bool:
        """One step; whether it was the last. The update may get any number of tail numbers.

        Raises:
            ProtocolError: when the update is not valid: then the store is damaged.
        """
        limits, self.limits = self.limits, _UNLIMITED
        try:
            if intake.finished and intake.ready is None:
                self.retry(budget)
            else:
                self.advance(intake, budget)
        finally:
            self.limits = limits
        self.flush()
        return intake.finished and intake.ready is None and not self.stirred

    def check_loaded(self) -> None:
        """Check that the stored state is whole.

        Raises:
            ProtocolError: `hole` when something it builds on is missing: then the store is damaged.
        """
        if self.held:
            raise ProtocolError("hole", "the stored updates lack something they build on")

    def load(self, blocks: list[Block], updates: list[bytes]) -> None:
        """Take over stored state in one go.

        Raises:
            ProtocolError: when the store is damaged.
        """
        self.load_blocks(blocks)
        for update in updates:
            self.load_update(update)
        self.check_loaded()

    def _set_blocks(self, blocks: list[Block]) -> None:
        self.blocks = tuple(blocks)
        self.base_size = sum(block.size for block in blocks)

    def rebase(self, blocks: list[Block], covered: int) -> None:
        """Serve from new blocks that cover the old ones and the tail below number `covered`."""
        self._set_blocks(blocks)
        self.tail.drop(covered)
        self.base_version += 1
        self.version += 1

    # -- receiving

    def receive(self, data: bytes, source: object, patience: int = UNLIMITED) -> Outcome:
        """Take one update of a client.

        Args:
            data: update v1 as it came.
            source: who sent it; handed back beside it in `pending`.
            patience: structs of what was held back that may be looked at now; the rest is left to `retry`.

        Raises:
            ProtocolError: when the update breaks a rule; nothing has changed then.
        """
        if len(data) > self.limits.max_update:
            raise ProtocolError("update-size", f"an update is larger than {self.limits.max_update} bytes")
        if len(data) >= STEPPED:
            return self._receive_in_steps(data, source, patience)
        update = parse_update(data)
        verdict = judge(update, self.index)
        if verdict is Verdict.KNOWN:
            return Outcome.KNOWN
        self._check_room_for(len(data), update)
        if verdict is not Verdict.READY or update.has_empty:
            return self._receive_in_steps(data, source, patience)
        self._accept(data, update, source)
        if self.held:
            self._look_at_held(patience)
        return Outcome.ACCEPTED

    def begin(self, data: bytes, source: object) -> Intake:
        """Take one update of a client in steps: call `advance` until it has an outcome. For those of `STEPPED` bytes.

        Raises:
            ProtocolError: when it is larger than an update may be.
        """
        if len(data) > self.limits.max_update:
            raise ProtocolError("update-size", f"an update is larger than {self.limits.max_update} bytes")
        return Intake(data, source, self.index, self.limits.max_clients, BATCH)

    def advance(self, intake: Intake, budget: int, patience: int = 0) -> Outcome | None:
        """One step of an intake; its outcome after the last.

        Args:
            budget: structs or delete ranges, roughly.
            patience: as for `receive`.

        Raises:
            ProtocolError: when the update breaks a rule; nothing has changed then, unless the rule is a limit of the
                document and the update is one of very many deletes.
        """
        if not intake.step(budget):
            return None
        if intake.ready is not None:
            if not intake.is_current():
                intake.restart()
                return None
            self._check_room_for(len(intake.ready[0]), intake.ready[1])
        if intake.rest is not None and not self._hold(intake.rest, intake.source, intake.waits_for):
            return Outcome.OVERFLOW
        if intake.ready is not None:
            self._accept(intake.ready[0], intake.ready[1], intake.source)
            intake.proceed()
        if not intake.finished:
            return None
        if self.held:
            self._look_at_held(patience)
        if intake.rest is not None and self.holds_from(intake.source):
            return Outcome.HELD
        return Outcome.ACCEPTED if intake.handed or intake.rest is not None else Outcome.KNOWN

    def _receive_in_steps(self, data: bytes, source: object, patience: int) -> Outcome:
        intake = Intake(data, source, self.index, self.limits.max_clients, BATCH)
        while True:
            outcome = self.advance(intake, UNLIMITED, patience)
            if outcome is not None:
                return outcome

    def _check_room_for(self, size: int, update: Update) -> None:
        """Refuse what would make the document larger than it may be."""
        limits = self.limits
        if self.base_size + self.tail.size + size > limits.max_bytes:
            raise ProtocolError("document-size", f"the document would be larger than {limits.max_bytes} bytes")
        if update.deletes and self.index.delete_ranges + len(update.deletes) > limits.max_deletes:
            raise ProtocolError("document-deletes", f"the document has {limits.max_deletes} ranges of deletes already")
        clocks = self.index.clocks
        if len(clocks) + len(update.ranges) > limits.max_clients:
            clients = len(clocks)
            for client, _, _ in update.ranges:
                if client not in clocks:
                    clients += 1
            if clients > limits.max_clients:
                raise ProtocolError("document-clients", f"more than {limits.max_clients} clients wrote to the document")

    def _accept(self, data: bytes, update: Update, source: object) -> None:
        self.index.add(update)
        update.unlist_deletes()
        self.summaries.append(update)
        self.pending.append((data, source))
        self.version += 1

    def _hold(self, data: bytes, source: object, waits_for: tuple[int, int] | None) -> bool:
        for held in self.held:
            if held.data == data:
                if not held.is_from(source):
                    held.senders.append(source)
                return True
        if not self._may_hold(len(data)):
            self._drop_orphans()
        if not self._may_hold(len(data)):
            return False
        assert waits_for is not None, "a rest always waits for something"
        self.held.append(Held(data, source, waits_for))
        self.held_size += len(data)
        return True

    def _may_hold(self, size: int) -> bool:
        limits = self.limits
        return len(self.held) < limits.held_updates and self.held_size + size <= limits.held_bytes

    def _drop_orphans(self) -> None:
        """Make room: forget what nobody who is still here sent. Those who sent it still have it."""
        self.held = [held for held in self.held if held.senders]
        self.held_size = sum(len(held.data) for held in self.held)
        self._look_again = self.stirred
        self._looking = False
        self._released = None

    def leave(self, source: object) -> None:
        """A sender is gone. What it sent too early stays as long as there is room for it."""
        for held in self.held:
            held.senders = [sender for sender in held.senders if sender is not source]

    def _look_at_held(self, patience: int) -> None:
        """Something was accepted: what waited for it may be complete. Unless somebody is at it, look at once."""
        already = self.stirred
        self._look_again = True
        if not already or patience == UNLIMITED:
            self.retry(patience)

    def retry(self, budget: int) -> bool:
        """Admit what waited for what has been accepted; whether nothing is left to be looked at (see `stirred`).

        Args:
            budget: structs or delete ranges, roughly.
        """
        while budget > 0:
            if self._released is None and not self._next_released():
                return True
            assert self._released is not None, "the next one was found"
            held, intake = self._released
            step = min(budget, STEPPED)
            budget -= step if len(held.data) > step else len(held.data) >> 1
            while self._released is not None and self._advance_held(held, intake, step) and len(held.data) <= step:
                pass
        return not self.stirred

    @property
    def stirred(self) -> bool:
        """Whether what is held back may hold something that is complete by now; `retry` finds out."""
        return self._look_again or self._looking

    def _next_released(self) -> bool:
        """Find an update that no longer waits for what it has waited for, until a whole round has found none."""
        clocks = self.index.clocks
        while self._looking or (self._look_again and self.held):
            if not self._looking:
                self._looking = True
                self._look_again = False
                self._look_at = 0
            while self._look_at < len(self.held):
                held = self.held[self._look_at]
                client, clock = held.waits_for
                if clocks.get(client, 0) > clock:
                    self._released = (held, Intake(held.data, held.source, self.index, self.limits.max_clients, BATCH))
                    return True
                self._look_at += 1
            self._looking = False
        self._look_again = False
        return False

    def _advance_held(self, held: Held, intake: Intake, budget: int) -> bool:
        """One step; whether more must follow."""
        if not intake.step(budget):
            return True
        if intake.ready is not None:
            if not intake.is_current():
                intake.restart()
                return True
            try:
                self._check_room_for(len(intake.ready[0]), intake.ready[1])
            except ProtocolError:
                self._forget_released(held)
                return False
            self._accept(intake.ready[0], intake.ready[1], intake.source)
            self._look_again = True
            intake.proceed()
        if not intake.finished:
            return True
        if intake.rest is None:
            self._forget_released(held)
        else:
            assert intake.waits_for is not None, "a rest always waits for something"
            self.held_size += len(intake.rest) - len(held.data)
            held.data = intake.rest
            held.waits_for = intake.waits_for
            self._released = None
            self._look_at += 1
        return False

    def _forget_released(self, held: Held) -> None:
        """It is no longer held back: it has been admitted, or there is no room for it in the document."""
        self._released = None
        self.held_size -= len(held.data)
        del self.held[self._look_at]

    def is_known(self, data: bytes) -> bool:
        """Whether an update holds nothing new.

        Raises:
            ProtocolError: when the update breaks a rule.
        """
        if len(data) < STEPPED:
            return judge(parse_update(data), self.index) is Verdict.KNOWN
        intake = self.begin(data, None)
        while not intake.step(UNLIMITED):
            pass
        return intake.is_known

    def holds_from(self, source: object) -> bool:
        """Whether anything of `source` waits for its dependencies."""
        return any(held.is_from(source) for held in self.held)

    # -- sending

    def flush(self) -> bytes | None:
        """Merge what is pending into one update, move it to the tail and return it; None when nothing is pending."""
        if not self.pending:
            return None
        if len(self.pending) == 1:
            piece = Piece(self.pending[0][0], self.summaries[0])
        else:
            data, summary = join([data for data, _ in self.pending], self.summaries)
            piece = Piece(data, summary)
        self.pending.clear()
        self.summaries.clear()
        self.tail.append(piece)
        return piece.data

    def state_vector(self) -> bytes:
        """The encoded state vector."""
        return encode_state_vector(self.index.clocks)

    def base_updates(self, known: dict[int, int], limit: int, whole: int = 0) -> Iterator[bytes]:
        """The part of a sync that lies in the blocks, as updates in causal order, one at a time.

        The caller may take them as slowly as the reader's link allows; when the blocks are replaced meanwhile, the rest
        comes from the new ones. What is in the tail follows by `tail_updates`.

        Args:
            known: the reader's state vector, client id -> clock.
            limit: bytes after which an update is closed.
            whole: when no more bytes than this are lacking, each block is one update. An update that was cut shows its
                reader half of what somebody did at once, and an editor with a schema may delete what it finds
                incomplete (y-prosemirror does, for everybody).
        """
        while True:
            version = self.base_version
            blocks = self.blocks
            if sum([block.lacking(known) for block in blocks]) > whole:
                for block in blocks:
                    yield from block.updates(known, limit)
            elif known:
                for block in blocks:
                    yield from block.updates(known, whole + 1)
            else:
                yield from self._whole_base()
            if version == self.base_version:
                return
            known = dict(known)
            for block in blocks:
                for client, clock in block.state.items():
                    if known.get(client, 0) < clock:
                        known[client] = clock

    def _whole_base(self) -> list[bytes]:
        """Each block as one update, prepared once for all who join."""
        if self._whole_version != self.base_version:
            self._whole = [block.whole() for block in self.blocks if block.chunks]
            self._whole_version = self.base_version
        return self._whole

    def update_message(self, data: bytes) -> bytes:
        """The message that carries an update; of a large one, made once for all who are sent it in a row."""
        if len(data) < SHARED_FROM:
            return sync_message(UPDATE, data)
        if self._shared_update is not data:
            self._shared_update = data
            self._shared_message = sync_message(UPDATE, data)
        return self._shared_message

    def forget_prepared(self) -> None:
        """Nobody is there to be sent what was prepared for several."""
        self._full = self._whole = []
        self._full_version = self._whole_version = -1
        self._shared_update = self._shared_message = b""

    def tail_updates(self, number: int, known: dict[int, int], limit: int) -> tuple[list[bytes], int]:
        """The part of a sync that is not in the blocks yet: updates from tail number `number` on, and the next number.

        Everything accepted must have been flushed before. When the next number is the end of the tail, this is the
        rest, and its last update, which may be empty, is for the SyncStep2.

        Args:
            number: where to go on; not below the tail's first.
            known: the reader's state vector. What a batch that is not the last brings is added to it.
            limit: bytes after which a batch ends.
        """
        tail = self.tail
        if number == tail.first and tail.size <= limit:
            return self._whole_tail(known), tail.end
        batch: list[Piece] = []
        size = 0
        for piece in tail.since(number):
            number += piece.count
            news = piece.news(known)
            if news is not None:
                batch.append(news)
                size += len(news.data)
                if size >= limit:
                    break
        if number < tail.end:
            for piece in batch:
                for client, _, end in piece.update.ranges:
                    if known.get(client, 0) < end:
                        known[client] = end
        return pack(batch), number

    def _whole_tail(self, known: dict[int, int]) -> list[bytes]:
        """The tail for a reader with state `known`; for one with nothing it is prepared once for all who join."""
        if known:
            news = [piece.news(known) for piece in self.tail.pieces()]
            return pack([piece for piece in news if piece is not None])
        if self._full_version != self.version:
            self._full = pack(self.tail.pieces())
            self._full_version = self.version
        return self._full


_UNLIMITED: Final = Limits(1 << 60, 1 << 60, 1 << 60, 1 << 60, 1 << 60, 1 << 60)
"""For stored state: it was within the limits when it was accepted, and must open whatever they are now."""
