"""One connection's side of the protocol, without I/O: frames in, messages out.

All state of a connection's sync is in this file. A session is behind or live. Behind, it is brought up to date by
`pull`, a message at a time, as fast as its link takes them; live, it receives what the room flushes. It becomes live
with the first SyncStep2, falls behind when its link stalls, and catches up by one diff.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Protocol

from crdt.awareness import Presence, encode_awareness
from crdt.block import Block
from crdt.errors import ProtocolError
from crdt.gate import STEPPED, Intake
from crdt.replica import Outcome, Replica
from crdt.update import StateVectorReader, parse_state_vector
from crdt.wire import (
    AWARENESS,
    QUERY_AWARENESS,
    SAVED,
    STEP1,
    STEP2,
    SYNC,
    UPDATE,
    awareness_message,
    permission_denied,
    read_messages,
    saved_message,
    sync_message,
)

PATIENCE: Final = 16 * 1024
"""Structs of what was held back that are looked at together with the update that it waited for."""


class Counters(Protocol):
    """What a session counts; `syncd.metrics.Stats` is one."""

    unknown_messages: int
    updates_in: int
    updates_deduplicated: int
    updates_held: int
    updates_forbidden: int
    presence_in: int
    presence_dropped: int

    def refuse(self, rule: str) -> None:
        """Count one piece of a peer's bytes that broke `rule`."""


class Session:
    """The sync machine of one connection.

    Args:
        replica, presence: those of the room, shared by its sessions.
        counters: what happened is added here.
        may_write: whether the connection may change the document.
        max_state_entries: how many clients a state vector may name.
        whole_bytes: up to this size a sync is not cut: see `Replica.base_updates`.
        diff_bytes: size at which an update of a larger sync is closed and the next one begun.
        large: bytes from which a message is left to `work`.

    Attributes:
        out: messages to this connection alone, in order; the shell sends and clears them.
        live: whether the connection receives what the room flushes.
        author: who the connection's updates are recorded as.
        barriers: counters of message 102 that the shell has not taken yet.
        stalled: the link has no room. Presence that is asked for is not queued then; `send_presence` is due
            when there is room again.
        answered: the client has sent a SyncStep2 that the shell has not looked at; what it lacks, the client lacks too.
        contested: owners of presence ids that this connection claims; the shell pings and clears them.
        busy: something of what was received is left to be done by `work`.
        waiting: bytes of messages that have been received and not been looked at.
    """

    __slots__ = (
        "_asked",
        "_base",
        "_intake",
        "_kind",
        "_known",
        "_position",
        "_queue",
        "_sent",
        "_vector",
        "_warned",
        "answered",
        "author",
        "barriers",
        "busy",
        "contested",
        "counters",
        "diff_bytes",
        "large",
        "live",
        "max_state_entries",
        "may_write",
        "out",
        "presence",
        "replica",
        "stalled",
        "waiting",
        "whole_bytes",
    )

    def __init__(
        self,
        replica: Replica,
        presence: Presence,
        counters: Counters,
        author: str,
        *,
        may_write: bool = True,
        max_state_entries: int = 200_000,
        whole_bytes: int = 4 << 20,
        diff_bytes: int = 256 * 1024,
        large: int = STEPPED,
    ) -> None:
        self.replica = replica
        self.presence = presence
        self.counters = counters
        self.author = author
        self.may_write = may_write
        self.max_state_entries = max_state_entries
        self.whole_bytes = whole_bytes
        self.diff_bytes = diff_bytes
        self.large = large
        self.out: list[bytes] = []
        self.barriers: list[bytes] = []
        self.contested: list[object] = []
        self.live = False
        self.answered = False
        self.stalled = False
        self._known: dict[int, int] = {}
        self._sent: tuple[Block, ...] = ()
        self._base: Iterator[bytes] | None = None
        self._position = -1
        self._asked = False
        self._warned = False
        self.busy = False
        self.waiting = 0
        self._queue: deque[tuple[int, int, bytes]] | None = None  # made when it is needed: an empty one is 760 bytes
        self._intake: Intake | None = None  # a large update that is being taken in
        self._kind = UPDATE  # what it came as
        self._vector: StateVectorReader | None = None  # a large state vector that is being read

    # -- receiving

    def open(self) -> None:
        """Greet the client: ask for what it has and say who is here."""
        self.out.append(sync_message(STEP1, self.replica.state_vector()))
        self.send_presence()

    def receive(self, frame: bytes, now: float) -> None:
        """Take one websocket message of the client. If the session is `busy` then, it is for `work` to do the rest.

        Args:
            now: the caller's clock, seconds; it only ages presence.

        Raises:
            ProtocolError: when the client broke a rule and must be closed; what stood before in the frame has been
                done.
        """
        messages = read_messages(frame)
        if self.busy or (len(frame) >= self.large and messages):
            if self._queue is None:
                self._queue = deque()
            self._queue.extend(messages)
            self.waiting += len(frame)
            self.busy = True
            return
        asked = False
        for kind, sub, payload in messages:
            if kind == QUERY_AWARENESS:
                asked = True
            else:
                self._message(kind, sub, payload, now)
        if asked and not self.stalled:
            self.send_presence()

    def work(self, now: float, budget: int) -> None:
        """Do a piece of what was received. While the session is `busy`, call it again; others may be served between.

        Args:
            now: as for `receive`.
            budget: how much; passing over a struct or a delete range is one.

        Raises:
            ProtocolError: as `receive`; nothing is left to do then.
        """
        try:
            asked = self._work(now, budget)
        except ProtocolError:
            self.drop()
            raise
        self.busy = bool(self._queue) or self._intake is not None or self._vector is not None
        if not self.busy:
            self._queue = None
            self.waiting = 0
        if asked and not self.stalled:
            self.send_presence()

    def _work(self, now: float, budget: int) -> bool:
        """Whether the client asked who is here."""
        asked = False
        while budget > 0:
            if self._intake is not None:
                self._advance(self._intake, budget)
                break
            if self._vector is not None:
                if self._vector.step(budget):
                    self._answer(self._vector.state)
                    self._vector = None
                break
            if not self._queue:
                break
            kind, sub, payload = self._queue.popleft()
            size = len(payload)
            self.waiting -= size
            budget -= 64 + (size >> 1)
            if kind == QUERY_AWARENESS:
                asked = True
            elif size >= self.large and kind == SYNC:
                self._begin(sub, payload)
            else:
                self._message(kind, sub, payload, now)
        return asked

    @property
    def is_near(self) -> bool:
        """Whether the next `work` may bring a large update into the document."""
        return self._intake is not None and self._intake.is_near

    def drop(self) -> None:
        """Forget what was received and not done yet: the client is thrown out, and nothing of it is looked at."""
        self._queue = None
        self._intake = None
        self._vector = None
        self.waiting = 0
        self.busy = False

    def hang_up(self) -> None:
        """The client is gone and cannot be answered: of what it sent there is nothing left to do but its edits."""
        self._vector = None
        if self._queue is not None:
            updates = [message for message in self._queue if message[0] == SYNC and message[1] != STEP1]
            self._queue = deque(updates if self.may_write else [])
        if not self.may_write:
            self._intake = None
        self.busy = bool(self._queue) or self._intake is not None

    def _message(self, kind: int, sub: int, payload: bytes, now: float) -> None:
        if kind == SYNC:
            if sub == STEP1:
                self._answer(parse_state_vector(payload, self.max_state_entries))
            else:
                self._update(payload, sub)
        elif kind == AWARENESS:
            self._awareness(payload, now)
        elif kind == SAVED:
            if not self._warned:  # what was refused will never be saved, so nothing after it may be called so
                self.barriers.append(payload)
        else:
            self.counters.unknown_messages += 1

    def _begin(self, sub: int, payload: bytes) -> None:
        """Begin with a message that takes long."""
        if sub == STEP1:
            self._vector = StateVectorReader(payload, self.max_state_entries)
        else:
            self.counters.updates_in += 1
            self._kind = sub
            self._intake = self.replica.begin(payload, self)

    def _advance(self, intake: Intake, budget: int) -> None:
        """Go on with a large update; of one that may not be written, only find out whether it is known."""
        if not self.may_write:
            if intake.step(budget):
                self._intake = None
                self._answered(self._kind)
                if not intake.is_known:
                    self._refuse_write()
            return
        outcome = self.replica.advance(intake, budget)
        if outcome is not None:
            self._intake = None
            self._answered(self._kind)
            self._taken(outcome, self._kind)

    def _answer(self, known: dict[int, int]) -> None:
        """The client asks for what it lacks; it falls behind until `pull` has sent that."""
        self._known = known
        self._base = self.replica.base_updates(known, self.diff_bytes, self.whole_bytes)
        self._position = -1
        self.live = False

    def _update(self, data: bytes, sub: int) -> None:
        self._answered(sub)
        if data == b"\x00\x00":
            return
        self.counters.updates_in += 1
        if self.may_write:
            self._taken(self.replica.receive(data, self, PATIENCE), sub)
        elif not self.replica.is_known(data):
            self._refuse_write()

    def _answered(self, sub: int) -> None:
        if sub == STEP2:
            self._asked = False
            self.answered = True

    def _taken(self, outcome: Outcome, sub: int) -> None:
        if outcome is Outcome.KNOWN:
            self.counters.updates_deduplicated += 1
        elif outcome is Outcome.HELD:
            self.counters.updates_held += 1
            if sub == UPDATE:
                self.ask()
        elif outcome is Outcome.OVERFLOW:
            raise ProtocolError("held-overflow", "too many updates wait for what they build on")

    def _refuse_write(self) -> None:
        """Tell a reader once that its edit was not taken; what it repeats of the document is no edit."""
        self.counters.updates_forbidden += 1
        if not self._warned:
            self._warned = True
            self.out.append(permission_denied("read-only: your changes are not saved and nobody sees them"))

    def ask(self) -> None:
        """Ask the client for everything we lack, unless an answer is on its way."""
        if not self._asked:
            self._asked = True
            self.out.append(sync_message(STEP1, self.replica.state_vector()))

    def _awareness(self, data: bytes, now: float) -> None:
        counters = self.counters
        counters.presence_in += 1
        echoed = self.presence.echoed(data, self)
        if echoed:
            counters.presence_dropped += echoed
            return
        try:
            heard = self.presence.receive(data, self, now)
        except ProtocolError as error:
            counters.refuse("presence-" + error.rule)
            return
        counters.presence_dropped += heard.dropped
        for rule in heard.refused:
            counters.refuse(rule)
        if heard.revive:
            self.out.append(awareness_message(encode_awareness(heard.revive)))
        self.contested.extend(heard.contested)

    # -- sending

    def send_presence(self) -> None:
        """Queue the state of everybody who is present."""
        for update in self.presence.snapshot():
            self.out.append(awareness_message(update))

    def wants_more(self) -> bool:
        """Whether `pull` has something to send."""
        return self._base is not None

    def pull(self) -> list[bytes]:
        """The next messages of a sync; after the last the session is live. The room must have flushed before.

        About `diff_bytes` a call, in whole messages: a link takes them as fast as it can, and a client on a slow one
        sees a complete message often enough not to give up.
        """
        if self._base is None:
            return []
        replica = self.replica
        for update in self._base:
            return [replica.update_message(update)]
        if self._position < 0:
            self._note_base()
        elif self._position < replica.tail.first:
            self._start_over()
            return self.pull()
        updates, self._position = replica.tail_updates(self._position, self._known, self.diff_bytes)
        if self._position < replica.tail.end:
            return [replica.update_message(update) for update in updates]
        self._base = None
        self.live = True
        messages = [replica.update_message(update) for update in updates[:-1]]
        messages.append(sync_message(STEP2, updates[-1]))
        return messages

    def _note_base(self) -> None:
        """All blocks have been sent: the tail comes next."""
        self._position = self.replica.tail.first
        self._sent = self.replica.blocks

    def _start_over(self) -> None:
        """Part of the tail that the client lacks has moved into new blocks: go on from those."""
        for block in self._sent:
            for client, clock in block.state.items():
                if self._known.get(client, 0) < clock:
                    self._known[client] = clock
        self._sent = ()
        self._position = -1
        self._base = self.replica.base_updates(self._known, self.diff_bytes, self.whole_bytes)

    def fall_behind(self) -> None:
        """Stop receiving what the room flushes; remember how far the client got. The room must have flushed before."""
        if self.live:
            self.live = False
            self._position = self.replica.tail.end
            self._known = dict(self.replica.index.clocks)
            self._sent = ()

    def catch_up(self) -> None:
        """The link of a client that fell behind has room again: prepare the diff, which `pull` then sends."""
        if self._base is None:
            self._base = iter(())

    def waits(self) -> bool:
        """Whether something this client sent waits for what it builds on; then nothing after it can be called saved."""
        return self.replica.holds_from(self)

    @staticmethod
    def saved(counter: bytes) -> bytes:
        """The message that confirms a barrier."""
        return saved_message(counter)
