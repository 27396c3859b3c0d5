"""Rooms and connections on links and stores that do what a test wants."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from pycrdt import Doc, Text

from crdt.awareness import Presence, encode_awareness, read_awareness
from crdt.ids import RoomId
from crdt.replica import Limits
from crdt.session import Session
from crdt.wire import STEP1, STEP2, SYNC, UPDATE, awareness_message, read_messages, saved_message, sync_message
from persistence.api import EMPTY_ROOM, Change, Record, StoredRoom
from persistence.errors import StoreError
from persistence.memory import MemoryStore
from syncd.connection import Connection
from syncd.frames import messages_of
from syncd.metrics import Stats
from syncd.room import Pace, Room

SLOW = Pace(1000.0, 1000.0, 1000.0, presence=1000.0)
"""Windows that no test waits for: what is sent is sent at the leading edge, or by hand."""


class FakeLink:
    """A socket that takes `capacity` bytes and then is full until `drain`."""

    def __init__(self, capacity: int = 1 << 60) -> None:
        self.capacity = capacity
        self.waiting = 0
        self.frames: list[bytes] = []
        self.sent: list[bytes] = []
        self.closes: list[tuple[int, str, float]] = []
        self.pings = 0
        self.aborted = False
        self.reading = True
        self.connection: Connection | None = None

    def send(self, whole: bytes) -> None:
        messages = messages_of(whole)
        self.frames.append(whole)
        self.sent.extend(messages)
        self.waiting += sum(map(len, messages))
        if self.connection is not None and self.waiting > self.capacity and not self.connection.paused:
            self.connection.pause()

    def drain(self) -> None:
        """The peer has read everything."""
        self.waiting = 0
        if self.connection is not None and self.connection.paused:
            self.connection.resume()

    def ping(self) -> None:
        self.pings += 1

    def close(self, code: int, reason: str, delay: float = 0.0) -> None:
        self.closes.append((code, reason, delay))

    def abort(self) -> None:
        self.aborted = True

    def buffered(self) -> int:
        return self.waiting

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    @property
    def messages(self) -> list[bytes]:
        """Everything sent, as y-protocol messages."""
        return list(self.sent)


class Client:
    """A Yjs client on a fake link; reads nothing from it before `read`."""

    def __init__(self, link: FakeLink, number: int) -> None:
        self.link = link
        self.doc: Doc[Any] = Doc(client_id=number)
        self.number = number
        self.clock = 0
        self._read = 0
        self.connection: Connection | None = None

    def send(self, *messages: bytes) -> None:
        """One websocket message."""
        assert self.connection is not None
        self.connection.message_received(b"".join(messages))

    def ask(self) -> None:
        """SyncStep1."""
        self.send(sync_message(STEP1, self.doc.get_state()))

    def typed(self, value: str) -> bytes:
        """Edit, and return the message that says so."""
        before = self.doc.get_state()
        field = self.doc.get("t", type=Text)
        field += value
        return sync_message(UPDATE, self.doc.get_update(before))

    def type(self, value: str) -> None:
        """Edit and send."""
        self.send(self.typed(value))

    def barrier(self, counter: int) -> None:
        """Ask to be told when everything so far is saved."""
        self.send(saved_message(bytes((counter,))))

    def announce(self, state: bytes = b"{}", number: int | None = None) -> None:
        """Presence."""
        self.clock += 1
        self.send(awareness_message(encode_awareness([(number or self.number, self.clock, state)])))

    def read(self) -> str:
        """Take all that was sent and return the text."""
        for message in self.link.messages[self._read :]:
            for kind, sub, payload in read_messages(message):
                if kind == SYNC and sub != STEP1:
                    self.doc.apply_update(payload)
        self._read = len(self.link.sent)
        return str(self.doc.get("t", type=Text))

    def kinds(self) -> list[str]:
        """Every message sent to this client, by name."""
        names = {(0, STEP1): "ask", (0, STEP2): "step2", (0, UPDATE): "update", (1, 0): "presence"}
        found = []
        for message in self.link.messages:
            if message[0] == 2:
                found.append("denied")
                continue
            ((kind, sub, payload),) = read_messages(message)
            found.append(f"saved {payload[0]}" if kind == 102 else names[kind, sub])
        return found

    def presence(self) -> list[tuple[int, int, bytes]]:
        """Every presence entry sent to this client."""
        found = []
        for message in self.link.messages:
            ((kind, _, payload),) = read_messages(message)
            if kind == 1:
                found += read_awareness(payload)
        return found


class FakeStore(MemoryStore):
    """A memory store that can be held up and told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.gate.set()
        self.failures: list[Exception] = []
        self.batches: list[list[Record]] = []
        self.loads: list[RoomId] = []
        self.appending = 0

    def fail(self, *errors: Exception) -> None:
        """The next calls raise these."""
        self.failures += errors

    async def append(self, records: Sequence[Record]) -> Sequence[int]:
        self.appending += 1
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        self.batches.append(list(records))
        return await super().append(records)

    async def load(self, room: RoomId) -> StoredRoom:
        self.loads.append(room)
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop(0)
        return await super().load(room)

    async def commit(self, change: Change) -> bool:
        return await super().commit(change)


class Rig:
    """One loaded room and its clients."""

    def __init__(self, pace: Pace = SLOW, limits: Limits | None = None, name: str = "r") -> None:
        self.stats = Stats()
        self.notes: list[Room] = []
        self.gone: list[tuple[Connection, int]] = []
        self.room = Room(
            RoomId(name), limits or Limits(), Presence(1000, 1), self.stats, pace, self.notes.append, durable=True
        )
        self.clients: list[Client] = []

    async def load(self, stored: StoredRoom = EMPTY_ROOM) -> None:
        """Load what a store would have given."""
        await self.room.load(stored)

    def enter(
        self,
        *,
        may_write: bool = True,
        capacity: int = 1 << 60,
        rate: float = 1e6,
        author: str = "",
        greet: bool = True,
    ) -> Client:
        """A newcomer, greeted, that has asked for the document."""
        link = FakeLink(capacity)
        client = Client(link, 100 + len(self.clients))
        client.connection = link.connection = Connection(
            link,
            self.room,
            self.stats,
            author or f"author {client.number}",
            may_write=may_write,
            rate=rate,
            on_gone=lambda connection, code: self.gone.append((connection, code)),
        )
        self.room.join(client.connection)
        self.clients.append(client)
        if greet:
            self.greet(client)
            client.ask()
        return client

    def greet(self, client: Client) -> None:
        """Open the client's session."""
        assert client.connection is not None
        connection = client.connection
        connection.open(
            Session(
                self.room.replica,
                self.room.presence,
                self.stats,
                connection.author,
                may_write=connection.may_write,
                whole_bytes=500,
                diff_bytes=500,
            )
        )

    async def save(self, store: MemoryStore) -> None:
        """What the log writer does, once."""
        self.room.flush()
        taken, number, _ = self.room.take_unlogged()
        positions = await store.append([Record(self.room.name, data, author, 0) for data, author in taken])
        if taken:
            self.room.logged(number, positions[-1], len(taken))


async def until(happened: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait for something that is under way."""
    async with asyncio.timeout(seconds):
        while not happened():
            await asyncio.sleep(0.001)


class Broken(StoreError):
    """A store that cannot go on."""
