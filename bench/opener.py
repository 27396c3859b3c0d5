"""A client that hands in a document and opens it again, for the servers' cost of doing so. Any of the two protocols.

The client is not measured: only the server's CPU is, so it may be plain Python.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from websockets.asyncio.client import ClientConnection, connect

from bench.documents import Document
from bench.servers.api import Server, WireProtocol
from crdt.errors import ProtocolError
from crdt.varint import read_bytes, read_uint, write_bytes, write_uint
from crdt.wire import STEP1, STEP2, SYNC, UPDATE, sync_message

HOCUSPOCUS_AUTH: Final = 2
HOCUSPOCUS_SYNC_REPLY: Final = 4
EMPTY: Final = b"\x00"
PATIENCE: Final = 30.0
"""Seconds a server may be silent while a document is opened."""


@dataclass(frozen=True, slots=True)
class Opened:
    """What one opening brought.

    Attributes:
        seconds: until all was there.
        size: bytes of all updates.
        synced: bytes of those that had come when the server said that this is all.
    """

    seconds: float
    size: int
    synced: int


class Peer:
    """One open connection, speaking for one room."""

    def __init__(self, socket: ClientConnection, protocol: WireProtocol, room: str) -> None:
        self._socket = socket
        self._before = b""
        if protocol == "hocuspocus":
            name = bytearray()
            write_bytes(name, room.encode())
            self._before = bytes(name)

    async def greet(self) -> None:
        """What must come before anything else: Hocuspocus wants a token, even an empty one."""
        if self._before:
            message = bytearray(self._before)
            write_uint(message, HOCUSPOCUS_AUTH)
            write_uint(message, 0)
            write_bytes(message, b"")
            await self._socket.send(bytes(message))

    async def send(self, kind: int, payload: bytes) -> None:
        """Send a sync message."""
        await self._socket.send(self._before + sync_message(kind, payload))

    async def receive(self) -> tuple[int, int]:
        """The next sync message: its kind and the bytes of its frame; other messages are passed over.

        Raises:
            TimeoutError: when nothing comes.
            websockets.exceptions.ConnectionClosed: when the server closes.
        """
        while True:
            frame = await _before(PATIENCE, self._socket)
            try:
                start = read_bytes(frame, 0)[1] if self._before else 0
                outer, start = read_uint(frame, start)
                if outer == SYNC or (self._before and outer == HOCUSPOCUS_SYNC_REPLY):
                    return read_uint(frame, start)[0], len(frame)
            except ProtocolError:
                continue

    async def synced(self) -> int:
        """Wait for SyncStep2; return the bytes of all updates until then."""
        size = 0
        while True:
            kind, length = await self.receive()
            size += length if kind != STEP1 else 0
            if kind == STEP2:
                return size


async def _before(seconds: float, socket: ClientConnection) -> bytes:
    async with asyncio.timeout(seconds):
        frame = await socket.recv(decode=False)
    assert isinstance(frame, bytes)
    return frame


@asynccontextmanager
async def joined(server: Server, room: str) -> AsyncIterator[Peer]:
    """A connection to a room of a running server."""
    url = f"ws://{server.address}{server.path.replace('{room}', room)}"
    async with connect(url, max_size=None, compression=None, ping_interval=None) as socket:
        peer = Peer(socket, server.protocol, room)
        await peer.greet()
        yield peer


@asynccontextmanager
async def fed(server: Server, room: str, document: Document) -> AsyncIterator[Peer]:
    """Hand a document in and stay, since some servers forget a document that nobody has open.

    The server has it when this is entered: it answers in order, so an answer comes after the updates before it.
    """
    async with joined(server, room) as peer:
        await peer.send(STEP1, EMPTY)
        await peer.synced()
        for update in document.updates:
            await peer.send(UPDATE, update)
        await peer.send(STEP1, document.state_vector())
        await peer.synced()
        yield peer


async def opened(server: Server, room: str, state_vector: bytes = EMPTY, least: int = 0) -> Opened:
    """Open a room until synced, and further until at least `least` bytes of updates have come.

    Raises:
        TimeoutError: when the server is silent before that.
    """
    started = time.perf_counter()
    async with joined(server, room) as peer:
        await peer.send(STEP1, state_vector)
        size = synced = await peer.synced()
        while size < least:
            kind, length = await peer.receive()
            size += length if kind != STEP1 else 0
        return Opened(time.perf_counter() - started, size, synced)
