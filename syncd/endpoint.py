"""The fast websocket endpoint.

Bytes go from the socket to the node, and from the node to the socket, without a task, a queue or an await between:
`WebSocketProtocol` is at once the asyncio protocol and the `Link` that the node writes to.
"""

import asyncio
import logging
import os
from collections.abc import Callable
from typing import Any, Final

from syncd.close_codes import CloseCode
from syncd.frames import (
    BINARY,
    CLOSE,
    PING,
    FrameReader,
    close_code,
    close_frame,
    ping_frame,
    pong_frame,
)
from syncd.handshake import HandshakeError, Request, accepted, open_handshake, parse_head, refused
from syncd.link import Handshake
from syncd.sockets import SocketConnection, SocketNode, SocketTable

logger = logging.getLogger(__name__)

# The life of a websocket, in this order; a state is never entered twice.
_HEAD: Final = 0  # the request has not been answered
_OPEN: Final = 1
_DELAYED: Final = 2  # a close was asked for with a delay: nothing is sent or delivered any more
_CLOSING: Final = 3  # we sent a close frame, the peer has not
_CLOSED: Final = 4  # nothing more to say; waiting for the socket to go


_SHARED: Final = 64 * 1024
"""Bytes of a write from which its rest is not copied."""


class _Nobody:
    """Stands in for the connection until the node has made one, so that the hot path need not ask."""

    def message_received(self, message: bytes) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def pong_received(self) -> None: ...
    def closed(self, code: int | None, clean: bool) -> None: ...


_NOBODY: Final[SocketConnection] = _Nobody()


def _ignore(whole: bytes) -> None:
    """Stands in for `send` of a socket that is not open."""


class WebSocketProtocol:
    """One websocket, an `asyncio.Protocol` by its methods.

    After `connection_made` it is told the request by `open`, or given its head by `data_received`.

    Args:
        node: what decides on handshakes and takes the messages.
        table: the server's sockets.
        connections: the protocols that uvicorn shuts down in the end.
    """

    __slots__ = (
        "_connection",
        "_connections",
        "_fd",
        "_overrun",
        "_owed_pong",
        "_paused",
        "_peer_code",
        "_pending",
        "_reader",
        "_sent_code",
        "_state",
        "_transport",
        "node",
        "send",
        "table",
    )

    def __init__(self, node: SocketNode, table: SocketTable, connections: set[Any]) -> None:
        self.node = node
        self.table = table
        self._connections = connections
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # connection_made comes first
        self._connection: SocketConnection = _NOBODY
        self._reader = FrameReader(self.table.limits.max_message)
        self._state = _HEAD
        self._paused = False
        # What the node calls for every frame; one of the four ways below, or nothing unless the socket is open.
        self.send: Callable[[bytes], object] = _ignore
        self._fd = -1
        self._overrun = 0  # bytes written since the connection was told to pause
        self._owed_pong: bytes | None = None
        self._pending: tuple[int, str] | None = None
        self._sent_code: int | None = None
        self._peer_code: int | None = None

    # asyncio's side

    def connection_made(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        limits = self.table.limits
        self._transport.set_write_buffer_limits(high=limits.outbox_high, low=limits.outbox_low)
        self._connections.add(self)
        self.table.opened()

    def data_received(self, data: bytes) -> None:
        if self._state == _OPEN:
            message = self._reader.single(data)
            if message is not None:
                self._deliver(message)
            else:
                self._receive(data)
        elif self._state == _HEAD:
            self._receive_head(data)
        elif self._state != _CLOSED:
            self._receive(data)

    def eof_received(self) -> None:
        # asyncio closes the transport now; a peer that reads nothing could keep that from ending.
        self._leave_open(_CLOSED)
        self.table.closing.start(self, self.table.now())

    def connection_lost(self, exc: Exception | None) -> None:
        self._leave_open(_CLOSED)
        self._connections.discard(self)
        self.table.gone()
        self.table.forget_websocket(self)
        connection, self._connection = self._connection, _NOBODY
        try:
            # Who closes second repeats the first's code, so ours is the decisive one either way.
            connection.closed(self._sent_code, clean=self._peer_code is not None)
        except Exception:
            self._log_failure(connection)

    def pause_writing(self) -> None:
        self._paused = True
        self._overrun = 0
        if self._state == _OPEN:
            self.send = self._write_overrun
        self._guarded(self._connection.pause)

    def resume_writing(self) -> None:
        if not self._paused:
            return  # the HTTP protocol before us was told to pause
        self._paused = False
        if self._state == _OPEN:
            self.send = self._writer()
        if self._owed_pong is not None:
            self._pong(self._owed_pong)
            self._owed_pong = None
        self._guarded(self._connection.resume)

    def shutdown(self) -> None:
        """uvicorn ends and the node did not close this socket before."""
        if self._state == _HEAD:
            self._refuse(503, "the server is shutting down")
        else:
            self.close(CloseCode.RESTART, "the server restarts")

    # the node's side: Link

    def ping(self) -> None:
        """Write a protocol ping; ignored once the socket is closing."""
        if self._state == _OPEN:
            (self._transport.write if self._paused else self.send)(ping_frame())

    def close(self, code: int, reason: str, delay: float = 0.0) -> None:
        """Begin the closing handshake, now or after `delay` seconds. The first call decides, but a later one without
        delay ends the wait of an earlier one with it."""
        if self._state == _OPEN and delay > 0:
            self._leave_open(_DELAYED)
            self._pending = (code, reason)
            self.table.delay_close(self, delay)
        elif self._state == _OPEN or (self._state == _DELAYED and delay <= 0):
            self._send_close(code, reason)

    def abort(self) -> None:
        """Drop the socket without a handshake."""
        if self._transport is not None:
            self._leave_open(_CLOSED)
            self._transport.abort()

    def buffered(self) -> int:
        """Bytes written and not yet taken by the kernel."""
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """Read nothing more: what the peer sends waits in the kernel, and then at the peer."""
        if self._state == _OPEN and not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if not self._transport.is_closing() and not self._transport.is_reading():
            self._transport.resume_reading()

    def finish_close(self) -> None:
        """The delay of a close is over."""
        if self._state == _DELAYED and self._pending is not None:
            self._send_close(*self._pending)

    # opening

    def open(self, request: Request) -> None:
        """Answer the handshake, and if the node admits the client connect it."""
        peer = self._transport.get_extra_info("peername")
        address = peer[0] if isinstance(peer, tuple) else ""  # a Unix socket has no address
        try:
            opening = open_handshake(request, address, self.table.limits.trusted_proxies)
        except HandshakeError as error:
            self._refuse(error.status, error.detail, error.headers)
            return
        handshake = opening.handshake
        if not self.node.is_room_path(handshake.raw_path):
            self._refuse(404, "no such websocket endpoint")
            return
        try:
            admission = self.node.admit(handshake)
        except Exception:
            self._log_failure("the admission of a client")
            self._refuse(500, "internal error")
            return
        if admission.status != 101:
            self._refuse(admission.status, admission.reason)
            return
        self._transport.write(accepted(opening.accept, admission.subprotocol))
        self._state = _OPEN
        self.send = self._writer()
        self._connect(handshake, admission)

    def _connect(self, handshake: Handshake, admission: object) -> None:
        try:
            self._connection = self.node.connect(self, handshake, admission)
        except Exception:
            self._fail("connecting a client")
            return
        if self._paused:
            # What `connect` wrote filled the buffer before there was a connection to tell.
            self._guarded(self._connection.pause)

    def _receive_head(self, data: bytes) -> None:
        try:
            request = parse_head(data)
        except HandshakeError as error:
            self._refuse(error.status, error.detail, error.headers)
            return
        self.open(request)

    def _refuse(self, status: int, detail: str, headers: Any = None) -> None:
        self.table.stats.handshakes_refused += 1
        self._leave_open(_CLOSED)
        self._transport.write(refused(status, detail, headers))
        self.table.closing.start(self, self.table.now())
        self._end_output()

    # receiving

    def _deliver(self, message: bytes) -> None:
        try:
            self._connection.message_received(message)
        except Exception:
            self._fail(self._connection)

    def _receive(self, data: bytes) -> None:
        for opcode, payload in self._reader.receive(data):
            if opcode == BINARY:
                # An earlier message of this chunk may have got the client thrown out.
                if self._state == _OPEN:
                    self._deliver(payload)
            elif opcode == CLOSE:
                self._peer_closed(close_code(payload))
            elif opcode == PING:
                self._pong(payload)
            elif self._state == _OPEN:
                self._guarded(self._connection.pong_received)
        violation = self._reader.violation
        if violation is not None and self._state != _CLOSED:
            self.table.stats.refuse(violation.rule)
            self._violated(violation.code, violation.rule)

    def _writer(self) -> Callable[[bytes], object]:
        """The way in which a socket is written to that is open."""
        if self._paused:
            return self._write_overrun
        if self._transport.get_extra_info("sslcontext") is not None:
            return self._transport.write
        self._fd = self._transport.get_extra_info("socket").fileno()
        return self._write_behind

    def _write_direct(self, frames: bytes) -> None:
        """Nothing is waiting in the transport: give the kernel the bytes without its help, which costs a tenth more.

        All that is written while the socket is open goes through `send`, so that nothing overtakes what waits.
        """
        try:
            written = os.write(self._fd, frames)
        except OSError:  # full, or broken: the transport finds out which, and does what is to be done
            written = 0
        if written != len(frames):
            self.send = self._write_behind
            # The rest of something large is shared with whoever else is sent it.
            self._transport.write(memoryview(frames)[written:] if len(frames) > _SHARED else frames[written:])

    def _write_behind(self, frames: bytes) -> None:
        """Something may be waiting in the transport."""
        if self._transport.get_write_buffer_size():
            self._transport.write(frames)
        else:
            self.send = self._write_direct
            self._write_direct(frames)

    def _write_overrun(self, frames: bytes) -> None:
        """The last guard of our memory: whatever makes the node write on, this client takes nothing."""
        self._overrun += len(frames)
        if self._overrun <= self.table.limits.outbox_excess:
            self._transport.write(frames)
            return
        self.table.stats.slow_readers_closed += 1
        self._sent_code = CloseCode.TRY_LATER
        self.abort()

    def _leave_open(self, state: int) -> None:
        """Go on to `state`, in which nothing of the node is sent any more."""
        self._state = state
        self.send = _ignore

    def _pong(self, payload: bytes) -> None:
        if self._state >= _CLOSING:
            return
        if self._paused:
            # A flood of pings from a client that reads nothing must not grow the buffer: only the most recent ping
            # has to be answered (RFC 6455 §5.5.3).
            self._owed_pong = payload
        else:
            (self.send if self._state == _OPEN else self._transport.write)(pong_frame(payload))

    # closing

    def _send_close(self, code: int, reason: str) -> None:
        self.resume_reading()  # to see the answer
        self._leave_open(_CLOSING)
        self._sent_code = code
        self._transport.write(close_frame(code, reason))
        self.table.closing.start(self, self.table.now())

    def _peer_closed(self, code: int) -> None:
        self._peer_code = code
        if self._state < _CLOSING:
            self._send_close(code, "")
        self._leave_open(_CLOSED)
        self._transport.close()

    def _violated(self, code: int, rule: str) -> None:
        """Tell the peer and read no further: after a violation nothing in the stream can be trusted."""
        if self._state < _CLOSING:
            self._send_close(code, rule)
        self._leave_open(_CLOSED)
        self._end_output()

    def _end_output(self) -> None:
        """Half close: closing with unread bytes would reset the connection, and the reset overtake our last words."""
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _fail(self, where: object) -> None:
        """Our own code raised: this client is sent away, nobody else notices."""
        self._log_failure(where)
        self.close(CloseCode.INTERNAL_ERROR, "internal error")

    def _guarded(self, call: Callable[[], None]) -> None:
        try:
            call()
        except Exception:
            self._fail(self._connection)

    def _log_failure(self, where: object) -> None:
        self.table.internal_errors += 1
        logger.exception("unexpected error in %s", where)
