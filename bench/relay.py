"""A TCP relay with the speed of a slow link."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Final

SLICE: Final = 8 * 1024


class Relay:
    """Forwards connections to `host:port`, each direction at most `rate` bytes a second.

    The buffers of its sockets are kept small, so that a sender feels the link as it would a real one.
    """

    def __init__(self, host: str, port: int, rate: float) -> None:
        self._target = (host, port)
        self._rate = rate
        self._server: asyncio.Server | None = None
        self.connections = 0
        self.forwarded = 0

    async def start(self) -> int:
        """Listen on a free loopback port and return it."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=SLICE)
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def stop(self) -> None:
        """Stop listening; connections end with their peers."""
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, self._target)
        upstream, sink = await asyncio.open_connection(sock=sock, limit=SLICE)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(self._pump(reader, sink), self._pump(upstream, writer))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        try:
            while data := await reader.read(SLICE):
                due = max(due, loop.time()) + len(data) / self._rate
                await asyncio.sleep(due - loop.time())
                writer.write(data)
                await writer.drain()
                self.forwarded += len(data)
        finally:
            writer.close()
