"""HTTP on the server's port: uvicorn's protocol, with limits and deadlines."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from syncd.endpoint import WebSocketProtocol
from syncd.handshake import Request, decode_headers, refused
from syncd.sockets import SLOWEST_READ, SocketTable


class HttpProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol with limits, which hands websockets over without losing a byte.

    uvicorn forgets what arrives in the same read behind the upgrade request; a client that sends its first message
    without waiting for the answer would lose it.
    """

    def __init__(
        self,
        table: SocketTable,
        websocket: Callable[[], WebSocketProtocol],
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.table = table
        self.websocket = websocket
        self.access_log = False  # its lines hold the query string, and that may hold a token
        self._counted = False
        self._refused = False
        self._head_bytes = 0
        self._unsent = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.table.full():
            self.table.refused += 1
            transport.close()
            return
        self._counted = True
        self.table.opened()
        self.table.heads.start(self, self.table.now())
        # With no room in the buffer, `pause_writing` says that the client takes nothing, for any size of response.
        transport.set_write_buffer_limits(high=0)

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        self._unsent = self.transport.get_write_buffer_size()
        self.table.responses.start(self, self.table.now())
        super().pause_writing()

    def resume_writing(self) -> None:
        self.table.responses.stop(self)
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._refused or self.transport.is_closing():
            return
        self._unset_keepalive_if_required()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            if self._should_upgrade():
                self._upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self._refuse(400, "malformed request")
        else:
            self._watch(len(data))

    def drop(self) -> None:
        """A deadline passed: end the socket."""
        self.transport.abort()

    def read_on(self) -> bool:
        """Whether the client takes its response at a bearable pace."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        return self._unsent <= before - SLOWEST_READ

    # what the parser calls

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = 0
        self.table.heads.start(self, self.table.now())

    def on_headers_complete(self) -> None:
        self.table.heads.stop(self)
        self.table.bodies.start(self, self.table.now())
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self.table.bodies.stop(self)
        super().on_message_complete()

    def _watch(self, size: int) -> None:
        """Bound the head, which the parser does not, and see that the peer never is without a deadline."""
        if self in self.table.heads:
            self._head_bytes += size
            if self._head_bytes > self.table.limits.max_head:
                self._refuse(431, "the request's head is too large")
        elif self not in self.table.bodies and (self.cycle is None or self.cycle.response_complete):
            # Empty lines between two requests stop the keep-alive timer and begin no request.
            self.table.heads.start(self, self.table.now())

    def _upgrade(self, rest: bytes) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            # Its response would be written into the websocket.
            self._refuse(400, "an upgrade behind an unanswered request")
            return
        request = Request(
            method=self.scope["method"],
            target=self.url,
            headers=decode_headers(self.scope["headers"]),
            http_version=self.scope["http_version"],
        )
        protocol = self.websocket()
        self.transport.set_protocol(cast(asyncio.Protocol, protocol))
        self.connections.discard(self)
        self._leave()
        self.parser = None  # type: ignore[assignment]  # breaks the cycle with the parser: freed now, not by the GC
        protocol.connection_made(self.transport)
        protocol.open(request)
        if rest:
            protocol.data_received(rest)

    def _refuse(self, status: int, detail: str) -> None:
        """Answer and read no further. Half closed only, lest unread bytes reset the connection before the answer."""
        self._refused = True
        self.table.heads.stop(self)
        self.table.bodies.stop(self)
        self.table.lingering.start(self, self.table.now())
        if self.cycle is not None:
            self.cycle.disconnected = True  # an application still at work on an earlier request writes into the void
            self.cycle.message_event.set()
        self.transport.write(refused(status, detail))
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _leave(self) -> None:
        self.table.forget_http(self)
        if self._counted:
            self._counted = False
            self.table.gone()
