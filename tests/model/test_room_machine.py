"""A room without an event loop, driven at random: clients come, edit, lag, resend and vanish; the server saves,
compacts and crashes. In the end everybody has the same document, and it is the one that a plain engine makes of all
edits in the order in which they were made.

`SYNCD_MODEL_PROFILE=nightly` walks longer and more often; in CI the quick walks are always the same.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from pycrdt import Array, Doc, Map, Text

from crdt.awareness import Presence
from crdt.block import Block
from crdt.fold import fold
from crdt.replica import Replica
from crdt.session import Session
from crdt.update import parse_state_vector
from crdt.wire import SAVED, STEP1, STEP2, SYNC, UPDATE, read_messages, saved_message, sync_message
from syncd.metrics import Stats
from tests.unit.crdt.build import author, content

CLIENTS = 3
SLOWLY = 2
"""The client whose messages all take long."""

MAX_ENTRIES = 1000
CHUNK = 200
LETTERS = ("a", "bc", "é", "🎉", "漢字", "👩‍👩‍👧", "\n", "xyz" * 30)

whom = st.integers(0, CLIENTS - 1)
share = st.integers(0, 4).map(lambda quarter: quarter / 4)


@dataclass
class Client:
    """A pycrdt client and its two wires; `None` for a session when it is not connected."""

    doc: Doc[Any]
    session: Session | None = None
    joined: bool = False
    paused: bool = False
    up: list[bytes] = field(default_factory=list)
    down: list[bytes] = field(default_factory=list)
    sent: list[bytes] = field(default_factory=list)
    here: list[bytes] = field(default_factory=list)
    barriers: dict[int, bytes] = field(default_factory=dict)


class Server:
    """A room: replica, store, and the bookkeeping of barriers."""

    def __init__(self) -> None:
        self.replica = Replica()
        self.blocks: list[bytes] = []
        self.stored: list[bytes] = []
        self.unlogged: list[bytes] = []
        self.saved = 0
        self.barriers: list[tuple[int, Client, bytes]] = []
        self.leaving: list[Session] = []

    def reload(self) -> None:
        """Forget everything but the store."""
        self.replica = Replica()
        self.replica.load([Block.from_bytes(data) for data in self.blocks], list(self.stored))
        self.unlogged = []
        self.barriers = []
        self.leaving = []
        self.saved = self.replica.tail.end

    def compact(self, part: float, *, snapshot: bool) -> None:
        """Fold the oldest stored updates into a segment, or everything up to them into one block."""
        count = round(len(self.stored) * part)
        covered = self.stored[:count]
        if snapshot:
            self.blocks = [fold(self.blocks, covered, CHUNK)]
        elif covered:
            self.blocks.append(fold([], covered, CHUNK))
        self.stored = self.stored[count:]
        number = self.replica.tail.end - len(self.unlogged) - len(self.stored)
        self.replica.rebase([Block.from_bytes(data) for data in self.blocks], number)


class RoomMachine(RuleBasedStateMachine):
    """The walk."""

    def __init__(self) -> None:
        super().__init__()
        self.server = Server()
        self.presence = Presence(100, 1)
        self.clients = [Client(author(10 + number)) for number in range(CLIENTS)]
        self.edits: list[bytes] = []
        self.promised: list[bytes] = []
        self.counter = 0

    # clients

    @initialize(live=st.integers(0, CLIENTS))
    def start(self, live: int) -> None:
        """Some have been there for a while."""
        for who in range(live):
            self.connect(who)
        self.everybody_reads()

    @rule(who=whom)
    def connect(self, who: int) -> None:
        """Open a connection: the server greets, the client asks."""
        client = self.clients[who]
        if client.session is None:
            client.session = Session(
                self.server.replica,
                self.presence,
                Stats(),
                f"author {who}",
                diff_bytes=CHUNK,
                large=0 if who == SLOWLY else 1 << 40,
            )
            client.session.open()
            client.up = [sync_message(STEP1, client.doc.get_state())]
            self._replies(client)

    @rule(who=whom)
    def disconnect(self, who: int) -> None:
        """Everything under way is lost."""
        self._drop(self.clients[who])

    def _drop(self, client: Client) -> None:
        if client.session is not None:
            client.session.hang_up()
            self.server.leaving.append(client.session)
        client.session = None
        client.joined = client.paused = False
        client.up, client.down, client.here = [], [], []
        client.barriers = {}
        self.server.barriers = [entry for entry in self.server.barriers if entry[1] is not client]

    @rule(who=whom, at=st.integers(0, 99), letter=st.sampled_from(LETTERS))
    def insert(self, who: int, at: int, letter: str) -> None:
        """Type between two characters."""
        client = self.clients[who]
        before = client.doc.get_state()
        field_ = client.doc.get("t", type=Text)
        value = str(field_)
        field_.insert(len(value[: at % (len(value) + 1)].encode()), letter)
        self._edited(client, before)

    @rule(who=whom, at=st.integers(0, 99), length=st.integers(1, 5))
    def delete(self, who: int, at: int, length: int) -> None:
        """Delete whole characters."""
        client = self.clients[who]
        field_ = client.doc.get("t", type=Text)
        value = str(field_)
        if value:
            before = client.doc.get_state()
            at %= len(value)
            del field_[len(value[:at].encode()) : len(value[: at + length].encode())]
            self._edited(client, before)

    @rule(who=whom, key=st.sampled_from("xyz"), value=st.integers(0, 9))
    def put(self, who: int, key: str, value: int) -> None:
        """Set a key, or delete it with 0."""
        client = self.clients[who]
        before = client.doc.get_state()
        table = client.doc.get("m", type=Map)
        if value:
            table[key] = value
        elif key in table:
            del table[key]
        self._edited(client, before)

    @rule(who=whom, at=st.integers(0, 9), value=st.sampled_from([1, "é", None, [2], {"k": 3}]))
    def push(self, who: int, at: int, value: Any) -> None:
        """Insert into the array, or delete from it with None."""
        client = self.clients[who]
        before = client.doc.get_state()
        values = client.doc.get("a", type=Array)
        if value is not None:
            values.insert(at % (len(values) + 1), value)
        elif len(values):
            del values[at % len(values)]
        self._edited(client, before)

    def _edited(self, client: Client, before: bytes) -> None:
        data = client.doc.get_update(before)
        if data == b"\x00\x00":
            return
        self.edits.append(data)
        if client.session is not None:
            client.up.append(sync_message(UPDATE, data))
            client.sent.append(client.up[-1])
            client.here.append(data)

    @rule(who=whom, which=st.integers(0, 99))
    def send_again(self, who: int, which: int) -> None:
        """The same message once more."""
        client = self.clients[who]
        if client.session is not None and client.sent:
            client.up.append(client.sent[which % len(client.sent)])

    @rule(who=whom, at=st.integers(0, 9))
    def overtake(self, who: int, at: int) -> None:
        """Two updates of a client change places: the second is early."""
        up = self.clients[who].up
        pairs = [n for n in range(len(up) - 1) if all(message[:2] == b"\x00\x02" for message in up[n : n + 2])]
        if pairs:
            n = pairs[at % len(pairs)]
            up[n], up[n + 1] = up[n + 1], up[n]

    @rule(who=whom, letters=st.lists(st.sampled_from(LETTERS), min_size=2, max_size=5), overtaken=st.booleans())
    def burst(self, who: int, letters: list[str], overtaken: bool) -> None:
        """Typing that arrives in one go, the last letter first or in order, and a question whether it is saved."""
        for letter in letters:
            self.insert(who, 99, letter)
        if overtaken:
            self.clients[who].up[-2:] = self.clients[who].up[:-3:-1]
        self.ask_for_saved(who)
        self.deliver_up(who, len(self.clients[who].up) - overtaken)

    @rule(who=whom)
    def ask_again(self, who: int) -> None:
        """What `resyncInterval` does."""
        client = self.clients[who]
        if client.session is not None:
            client.up.append(sync_message(STEP1, client.doc.get_state()))

    @rule(who=whom)
    def ask_for_saved(self, who: int) -> None:
        """A barrier. It covers all a client has once it has answered the server, before that what it sent since."""
        client = self.clients[who]
        if client.session is not None and (client.joined or client.here):
            self.counter = (self.counter + 1) % 128
            client.barriers[self.counter] = client.doc.get_update() if client.joined else client.here[-1]
            client.up.append(saved_message(bytes((self.counter,))))

    # wires

    @rule(who=whom, count=st.integers(1, 6))
    def deliver_up(self, who: int, count: int) -> None:
        """The server reads some messages of a client."""
        client = self.clients[who]
        for _ in range(min(count, len(client.up))):
            if client.session is not None:
                client.session.receive(client.up.pop(0), 0.0)
                self._take_barriers(client)
        if count > 9:
            self._finish()
        self._replies(client)

    @rule(count=st.integers(1, 30), budget=st.integers(1, 9))
    def work(self, count: int, budget: int) -> None:
        """The server does a part of what takes long."""
        self._work(count, budget)

    def _finish(self) -> None:
        while self._work(1, 100):
            pass

    def _work(self, count: int, budget: int) -> bool:
        """Steps of all who have work left; whether there is more."""
        server = self.server
        more = False
        for _ in range(count):
            for client in self.clients:
                if client.session is not None and client.session.busy:
                    client.session.work(0.0, budget)
                    self._take_barriers(client)
                    self._replies(client)
                    more = True
            for session in list(server.leaving):
                if session.busy:
                    session.work(0.0, budget)
                    more = True
                else:
                    server.leaving.remove(session)
                    server.replica.leave(session)
            if server.replica.stirred:
                server.replica.retry(budget)
                more = True
        return more

    def _take_barriers(self, client: Client) -> None:
        assert client.session is not None
        replica = self.server.replica
        for counter in client.session.barriers:
            self.server.barriers.append((replica.tail.end + bool(replica.pending), client, counter))
        client.session.barriers.clear()

    def _replies(self, client: Client) -> None:
        session = client.session
        if session is None:
            return
        client.down += session.out
        session.out.clear()
        while session.wants_more() and not client.paused and len(client.down) < 8:
            self._flush()
            client.down += session.pull()

    @rule(who=whom, count=st.integers(1, 9))
    def deliver_down(self, who: int, count: int) -> None:
        """A client reads some messages of the server."""
        client = self.clients[who]
        for _ in range(min(count, len(client.down))):
            for kind, sub, payload in read_messages(client.down.pop(0)):
                if kind == SYNC and sub == STEP1:
                    client.up.append(sync_message(STEP2, client.doc.get_update(payload)))
                    client.joined = True
                elif kind == SYNC:
                    client.doc.apply_update(payload)
                elif kind == SAVED:
                    self.promised.append(client.barriers.pop(payload[0]))
        self._replies(client)

    @rule()
    def everybody_reads(self) -> None:
        """All that is under way arrives."""
        for who in range(CLIENTS):
            self.deliver_up(who, 99)
            self.deliver_down(who, 99)

    @rule(who=whom, compact=st.booleans())
    def lag(self, who: int, compact: bool) -> None:
        """A client's link is full while others type, and compaction may take what it missed."""
        self.pause(who)
        other = (who + 1) % CLIENTS
        self.insert(other, 0, "lag")
        self.insert(other, 99, "lag")
        self.deliver_up(other, 99)
        self.flush()
        if compact:
            self.log()
            self.compact(1.0, snapshot=True)
        self.resume(who)

    @rule(who=whom)
    def pause(self, who: int) -> None:
        """The client's link is full."""
        client = self.clients[who]
        if client.session is not None and not client.paused:
            self._flush()
            client.paused = True
            client.session.fall_behind()

    @rule(who=whom)
    def resume(self, who: int) -> None:
        """The link has room again."""
        self._resume(self.clients[who])

    def _resume(self, client: Client) -> None:
        if client.session is not None and client.paused:
            client.paused = False
            if not client.session.live and client.session._position >= 0:
                client.session.catch_up()
            self._replies(client)

    # the server

    @rule()
    def flush(self) -> None:
        """Send what is pending."""
        self._flush()

    def _flush(self) -> None:
        data = self.server.replica.flush()
        if data is not None:
            self.server.unlogged.append(data)
            for client in self.clients:
                if client.session is not None and client.session.live:
                    client.down.append(sync_message(UPDATE, data))

    @rule()
    def log(self) -> None:
        """Make everything durable and confirm the barriers whose clients wait for nothing."""
        self._flush()
        server = self.server
        server.stored += server.unlogged
        server.unlogged = []
        server.saved = server.replica.tail.end
        waiting = []
        for number, client, counter in server.barriers:
            assert client.session is not None
            if number <= server.saved and not client.session.waits():
                client.down.append(client.session.saved(counter))
            else:
                waiting.append((number, client, counter))
        server.barriers = waiting

    @precondition(lambda self: self.server.stored)
    @rule(part=share, snapshot=st.booleans())
    def compact(self, part: float, snapshot: bool) -> None:
        """Compaction finishes and the room is served from its result."""
        self.server.compact(part, snapshot=snapshot)

    @rule()
    def crash(self) -> None:
        """The process is killed and starts again."""
        for client in self.clients:
            self._drop(client)
        self.server.reload()
        for promise in self.promised:
            assert self.server.replica.is_known(promise), "something reported saved is gone"

    @rule(who=whom, again=st.booleans())
    def crash_and_come_back(self, who: int, again: bool) -> None:
        """A client has seen what the server lost, and builds on it before the server has asked for it."""
        other = (who + 1) % CLIENTS
        self.everybody_reads()
        self.insert(other, 99, "lost")
        self.everybody_reads()
        self.everybody_reads()
        self.crash()
        self.connect(who)
        self.insert(who, 99, "early")
        self.ask_for_saved(who)
        self.deliver_up(who, 9)
        self.log()
        if again:
            while self.clients[who].down:
                self.deliver_down(who, 9)
            self.crash()

    # what always holds

    @invariant()
    def clocks_of_the_server_are_those_of_somebody(self) -> None:
        """The server never claims what nobody wrote."""
        known = {client: clock for client, clock in self.server.replica.index.clocks.items() if clock}
        for number, client in enumerate(self.clients):
            written = parse_state_vector(client.doc.get_state(), MAX_ENTRIES).get(10 + number, 0)
            assert known.get(10 + number, 0) <= written

    @invariant()
    def nobody_waits_for_what_never_comes(self) -> None:
        """A client that is not paused and has something to pull has messages to read first."""
        for client in self.clients:
            if client.session is not None and client.session.wants_more():
                assert client.paused or client.down or client.session.busy

    # the end

    def teardown(self) -> None:
        """Heal everything, then compare everybody with the oracle."""
        for who, client in enumerate(self.clients):
            self._resume(client)
            self.connect(who)
        quiet = 0
        while quiet < 2:
            moved = False
            for who, client in enumerate(self.clients):
                moved = moved or bool(client.up or client.down or self.server.replica.pending)
                moved = self._work(1, 100) or moved
                self.deliver_up(who, 99)
                self.deliver_down(who, 99)
            self._flush()
            quiet = 0 if moved else quiet + 1
        assert not self.server.replica.held
        wanted = content(author(5, *self.edits))
        state = {client: clock for client, clock in self._state(author(6, *self.edits)).items() if clock}
        for client in self.clients:
            assert content(client.doc) == wanted
            assert {who: clock for who, clock in self._state(client.doc).items() if clock} == state
        self._check_newcomer(wanted)
        self.log()
        self.server.reload()
        self._check_newcomer(wanted)
        self.server.compact(1.0, snapshot=True)
        self._check_newcomer(wanted)

    @staticmethod
    def _state(doc: Doc[Any]) -> dict[int, int]:
        return parse_state_vector(doc.get_state(), MAX_ENTRIES)

    def _check_newcomer(self, wanted: dict[str, Any]) -> None:
        newcomer = Client(author(7), Session(self.server.replica, self.presence, Stats(), "new", diff_bytes=CHUNK))
        assert newcomer.session is not None
        newcomer.session.receive(sync_message(STEP1, b"\x00"), 0.0)
        while newcomer.session.wants_more():
            for message in newcomer.session.pull():
                ((_, _, payload),) = read_messages(message)
                newcomer.doc.apply_update(payload)
        assert content(newcomer.doc) == wanted


_nightly = os.environ.get("SYNCD_MODEL_PROFILE") == "nightly"

TestRoom = RoomMachine.TestCase
TestRoom.settings = settings(
    max_examples=2000 if _nightly else 60,
    stateful_step_count=120 if _nightly else 40,
    derandomize=bool(os.environ.get("CI")) and not _nightly,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
    print_blob=True,
)
