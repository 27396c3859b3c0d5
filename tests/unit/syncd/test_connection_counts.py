"""`syncd.connection` and the room behind it: the counters of what is sent agree with what links were given."""

import asyncio
from typing import Any

from pycrdt import Doc, Text

from crdt.wire import STEP1, UPDATE, sync_message
from syncd.config import Settings
from syncd.connection import Connection
from syncd.frames import messages_of
from syncd.link import Handshake
from syncd.node import Node


class Socket:
    """A link that keeps what it was given and says when it has a number of messages."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self._arrived = asyncio.Event()

    def send(self, whole: bytes) -> None:
        self.sent.extend(messages_of(whole))
        self._arrived.set()

    def ping(self) -> None: ...

    def close(self, code: int, reason: str, delay: float = 0.0) -> None: ...

    def abort(self) -> None: ...

    def buffered(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    async def until(self, start: bytes) -> None:
        """Waits until a message that starts like this has been given."""
        while not any(message.startswith(start) for message in self.sent):
            self._arrived.clear()
            await self._arrived.wait()


def connect(node: Node, socket: Socket) -> Connection:
    handshake = Handshake(b"/ws/notes", b"", {}, "127.0.0.1", ())
    connection = node.connect(socket, handshake, node.admit(handshake))
    assert isinstance(connection, Connection)
    return connection


async def test_messages_and_bytes_sent_are_counted_per_reader() -> None:
    doc: Doc[Any] = Doc()
    doc["quill"] = Text("hello")
    node = Node(Settings(store="memory://"))
    async with node.running():
        sockets = [Socket() for _ in range(3)]
        connections = [connect(node, socket) for socket in sockets]
        for connection, socket in zip(connections, sockets, strict=True):
            connection.message_received(sync_message(STEP1, b"\x00"))
            await socket.until(b"\x00\x01")
        connections[0].message_received(sync_message(UPDATE, doc.get_update()))
        for socket in sockets[1:]:
            await socket.until(b"\x00\x02")
        connections[0].message_received(b"\x01\x0b\x01\x07\x01\x07" + b'{"a":1}')
        for socket in sockets:
            await socket.until(b"\x01")
        sent = [message for socket in sockets for message in socket.sent]
        assert node.stats.frames_out == len(sent)
        assert node.stats.bytes_out == sum(map(len, sent))
        assert node.stats.updates_out == 2, "its writer has it"
        assert node.stats.connections == 3
    assert node.stats.connections == 0
