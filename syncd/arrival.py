"""What a socket is before its first bytes are known: most of them want a websocket, and say so in one read.

A complete handshake goes straight to the websocket. Everything else, also one that comes in parts, is left to uvicorn's
HTTP protocol, which knows all of HTTP and costs accordingly.
"""

import asyncio
from typing import Any, cast

from uvicorn.config import Config
from uvicorn.server import ServerState

from syncd.endpoint import WebSocketProtocol
from syncd.handshake import read_upgrade
from syncd.http_protocol import HttpProtocol
from syncd.sockets import SocketNode, SocketTable


class Arrivals:
    """Makes the protocols of one server's sockets, for uvicorn's `http=`."""

    def __init__(self, node: SocketNode, table: SocketTable) -> None:
        self.node = node
        self.table = table

    def __call__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> "Arrival":
        """A new socket, as uvicorn asks for it."""
        return Arrival(self, config, server_state, app_state)

    def websocket(self, config: Config, server_state: ServerState, app_state: dict[str, Any]) -> WebSocketProtocol:
        """A new websocket, as uvicorn's own HTTP protocols ask for it with `ws=`."""
        return WebSocketProtocol(self.node, self.table, server_state.connections)


class Arrival:
    """A socket that has sent nothing yet, an `asyncio.Protocol` by its methods."""

    __slots__ = ("_app_state", "_arrivals", "_config", "_connections", "_state", "_table", "_transport")

    def __init__(self, arrivals: Arrivals, config: Config, state: ServerState, app_state: dict[str, Any]) -> None:
        self._arrivals = arrivals
        self._config = config
        self._state = state
        self._app_state = app_state
        self._table = arrivals.table
        self._connections: set[Any] = state.connections
        self._transport: asyncio.Transport | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.Transport) -> None:
        table = self._table
        if table.full():
            table.refused += 1
            transport.close()
            return
        self._transport = transport
        self._connections.add(self)
        table.opened()
        table.heads.start(self, table.now())

    def data_received(self, data: bytes) -> None:
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        self._leave()
        found = read_upgrade(data)
        if found is None:
            self._go_on_as_http(transport, data)
            return
        request, rest = found
        websocket = self._websocket()
        transport.set_protocol(cast(asyncio.Protocol, websocket))
        websocket.connection_made(transport)
        websocket.open(request)
        if rest:
            websocket.data_received(rest)

    def eof_received(self) -> None:
        """Nobody will ask for anything: asyncio closes the socket."""

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave()

    def pause_writing(self) -> None:
        """Nothing has been written."""

    def resume_writing(self) -> None:
        """Nothing has been written."""

    def shutdown(self) -> None:
        """uvicorn ends."""
        self.drop()

    # the sweep's side

    def drop(self) -> None:
        """No request came in time: end the socket."""
        if self._transport is not None:
            self._transport.abort()

    def read_on(self) -> bool:
        """Nothing has been sent that could be read."""
        return True

    def _websocket(self) -> WebSocketProtocol:
        return WebSocketProtocol(self._arrivals.node, self._table, self._connections)

    def _go_on_as_http(self, transport: asyncio.Transport, data: bytes) -> None:
        http = HttpProtocol(self._table, self._websocket, self._config, self._state, self._app_state)
        transport.set_protocol(http)
        http.connection_made(transport)
        http.data_received(data)

    def _leave(self) -> None:
        if self._transport is not None:
            self._transport = None
            self._connections.discard(self)
            self._table.heads.stop(self)
            self._table.gone()
