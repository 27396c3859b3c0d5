"""syncd inside somebody else's application: the same node behind a plain ASGI websocket.

    app.mount("/collab", websocket_app(node))

serves the room `notes` at `/collab/notes` on any ASGI server. The fast endpoint (`syncd.endpoint`) costs less per
message and can ping; everything else is the same.
"""

import asyncio
import contextlib
import logging
from collections import deque
from typing import Protocol
from urllib.parse import quote, unquote

from starlette.types import ASGIApp, Receive, Scope, Send

from syncd.close_codes import CloseCode
from syncd.frames import MESSAGE_TOO_BIG, NO_STATUS, UNSUPPORTED_DATA, messages_of
from syncd.link import Handshake
from syncd.sockets import CLOSE_DEADLINE, SocketConnection, SocketLimits, SocketNode

logger = logging.getLogger(__name__)

POLICY_VIOLATION = 1008
ABNORMAL = 1006


class MountSettings(Protocol):
    """The settings of a node that its sockets need (`syncd.config.Settings`)."""

    @property
    def prefix(self) -> str: ...
    @property
    def max_message(self) -> int: ...
    @property
    def outbox_high(self) -> int: ...
    @property
    def outbox_low(self) -> int: ...


class MountedNode(SocketNode, Protocol):
    """A node, as it is mounted (`syncd.node.Node`)."""

    @property
    def settings(self) -> MountSettings: ...


def websocket_app(node: MountedNode) -> ASGIApp:
    """An ASGI application to mount anywhere; what follows the mount point names the room.

    Start and stop the node in the lifespan of the application around it. The node's own prefix does not appear in the
    address.
    """
    settings = node.settings
    limits = SocketLimits(
        max_message=settings.max_message, outbox_high=settings.outbox_high, outbox_low=settings.outbox_low
    )

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await _serve(node, settings.prefix.encode(), limits, scope, receive, send)
        elif scope["type"] == "http":
            headers = [(b"content-length", b"0"), (b"upgrade", b"websocket"), (b"connection", b"upgrade")]
            await send({"type": "http.response.start", "status": 426, "headers": headers})
            await send({"type": "http.response.body", "body": b""})

    return app


def room_path(scope: Scope) -> bytes:
    """The path behind the mount point as the client sent it, with its percent-encoding; starts with '/'.

    A server that gives no `raw_path` has decoded it already: `a%2Fb` is then the same room as `a/b`.
    """
    root = scope.get("root_path", "").rstrip("/")
    raw: bytes | None = scope.get("raw_path")
    if not raw:
        path: str = scope["path"]
        rest = path[len(root) :] if root and path.startswith(f"{root}/") else path
        return quote(rest, safe="/!$&'()*+,;=:@~").encode()
    raw = raw.partition(b"?")[0]  # some servers leave the query on it
    # The mount point may itself be percent-encoded, in as many ways as there are characters in it.
    end = raw.find(b"/", 1)
    while root and 0 < end <= 3 * len(root.encode()):
        if unquote(raw[:end].decode("latin-1")) == root:
            return raw[end:]
        end = raw.find(b"/", end + 1)
    return raw


def _handshake(scope: Scope, prefix: bytes) -> Handshake:
    client = scope.get("client")
    return Handshake(
        raw_path=prefix + room_path(scope).removeprefix(b"/"),
        query=scope.get("query_string", b""),
        headers={name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]},
        address=client[0] if client else "",
        subprotocols=tuple(scope.get("subprotocols") or ()),
    )


async def _serve(
    node: SocketNode, prefix: bytes, limits: SocketLimits, scope: Scope, receive: Receive, send: Send
) -> None:
    if (await receive())["type"] != "websocket.connect":
        return
    handshake = _handshake(scope, prefix)
    if not node.is_room_path(handshake.raw_path):
        await _refuse(scope, send, 404, "no such websocket endpoint")
        return
    admission = node.admit(handshake)
    if admission.status != 101:
        await _refuse(scope, send, admission.status, admission.reason)
        return
    await send({"type": "websocket.accept", "subprotocol": admission.subprotocol})
    link = AsgiLink(send, limits)
    try:
        connection = node.connect(link, handshake, admission)
    except Exception:
        logger.exception("unexpected error in connecting a client")
        await send({"type": "websocket.close", "code": CloseCode.INTERNAL_ERROR, "reason": "internal error"})
        return
    link.connected(connection)
    await _run(link, connection, receive, limits.max_message)


async def _refuse(scope: Scope, send: Send, status: int, reason: str) -> None:
    if "websocket.http.response" in (scope.get("extensions") or {}):
        body = f"{reason}\n".encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(body))]
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": reason})  # servers answer 403


async def _run(link: "AsgiLink", connection: SocketConnection, receive: Receive, max_message: int) -> None:
    """Read and write until one side ends, then give the peer a moment to answer a close of ours."""
    reader = asyncio.create_task(_read(link, connection, receive, max_message))
    writer = asyncio.create_task(link.write())
    link.writer = writer
    peer_code: int | None = None
    try:
        await asyncio.wait((reader, writer), return_when=asyncio.FIRST_COMPLETED)
        if not reader.done() and not writer.cancelled():
            await asyncio.wait((reader,), timeout=CLOSE_DEADLINE)
    finally:
        reader.cancel()
        writer.cancel()
        await asyncio.wait((reader, writer))  # not gather: it would hide from anyio that a cancellation is its own
        if not reader.cancelled() and reader.exception() is None:
            peer_code = reader.result()
        code = peer_code if link.code is None else link.code
        link.detach()
        # Servers report 1005 both for a close without a code and for a socket that vanished: taken for the latter.
        connection.closed(code, clean=peer_code not in (None, NO_STATUS, ABNORMAL))


async def _read(link: "AsgiLink", connection: SocketConnection, receive: Receive, max_message: int) -> int:
    """Deliver messages until the peer is gone; returns the close code that the server reports."""
    while True:
        await link.readable()
        event = await receive()
        if event["type"] == "websocket.disconnect":
            return int(event.get("code") or NO_STATUS)
        if link.code is not None:
            continue  # thrown out: only its leaving is of interest
        message = event.get("bytes")
        if message is None:
            link.close(UNSUPPORTED_DATA, "text")
        elif len(message) > max_message:
            link.close(MESSAGE_TOO_BIG, "message-size")
        else:
            try:
                connection.message_received(message)
            except Exception:
                logger.exception("unexpected error in %s", connection)
                link.close(CloseCode.INTERNAL_ERROR, "internal error")


class AsgiLink:
    """One websocket of an ASGI server as a `Link`: a queue, and a task that empties it."""

    def __init__(self, send: Send, limits: SocketLimits) -> None:
        self._send = send
        self._limits = limits
        self._connection: SocketConnection | None = None
        self._queue: deque[bytes] = deque()
        self._size = 0
        self._paused = False
        self._wake = asyncio.Event()
        self._reason = ""
        self._close_at = 0.0
        self._deadline: asyncio.TimerHandle | None = None
        self._reading = asyncio.Event()
        self._reading.set()
        self.writer: asyncio.Task[None] | None = None
        self.code: int | None = None
        """The code that we close with, once that is decided; nothing is queued any more."""

    def connected(self, connection: SocketConnection) -> None:
        """The node has made its side; it may have written while it did."""
        self._connection = connection
        if self._paused:
            connection.pause()

    def detach(self) -> None:
        """The socket is gone."""
        self._connection = None
        self._queue.clear()
        self._size = 0
        if self._deadline is not None:
            self._deadline.cancel()
        if self.code is None:
            self.code = NO_STATUS

    def send(self, frames: bytes) -> None:
        """Queue messages; ignored once a close was asked for."""
        if self.code is not None:
            return
        if self._size > self._limits.outbox_high + self._limits.outbox_excess:
            # Whatever makes the node write on after `pause`, this client takes nothing.
            self.code = CloseCode.TRY_LATER
            self.abort()
            return
        messages = messages_of(frames)
        self._queue.extend(messages)
        self._size += sum(map(len, messages))
        self._wake.set()
        if self._size > self._limits.outbox_high and not self._paused:
            self._paused = True
            if self._connection is not None:
                self._connection.pause()

    def ping(self) -> None:
        """ASGI has no pings; servers send their own."""

    def close(self, code: int, reason: str, delay: float = 0.0) -> None:
        """Send what is queued, then close. The first call decides; a later one without delay ends its wait."""
        loop = asyncio.get_running_loop()
        self._reading.set()
        if self.code is None:
            self.code = code
            self._reason = reason
        elif delay > 0 or self._close_at <= loop.time():
            return
        self._close_at = loop.time() + delay
        if self._deadline is not None:
            self._deadline.cancel()
        # A peer that reads nothing keeps the writer waiting for ever.
        self._deadline = loop.call_later(delay + CLOSE_DEADLINE, self.abort)
        self._wake.set()

    def abort(self) -> None:
        """Stop writing; the server drops the socket when the application returns."""
        if self.code is None:
            self.code = ABNORMAL
        if self.writer is not None:
            self.writer.cancel()

    def buffered(self) -> int:
        """Bytes queued here; what the server holds below is unknown."""
        return self._size

    def pause_reading(self) -> None:
        """Ask the server for no more messages."""
        if self.code is None:
            self._reading.clear()

    def resume_reading(self) -> None:
        """Ask again."""
        self._reading.set()

    async def readable(self) -> None:
        """Wait until reading is not paused."""
        await self._reading.wait()

    async def write(self) -> None:
        """Send what is queued until a close is asked for, and then that."""
        while self.code is None:
            await self._wake.wait()
            self._wake.clear()
            await self._flush()
        await self._flush()
        await self._wait_to_close()
        await self._send({"type": "websocket.close", "code": self.code, "reason": self._reason})

    async def _flush(self) -> None:
        while self._queue:
            message = self._queue.popleft()
            await self._send({"type": "websocket.send", "bytes": message})
            self._size -= len(message)
            if self._paused and self._size <= self._limits.outbox_low:
                self._paused = False
                if self._connection is not None and self.code is None:
                    self._connection.resume()

    async def _wait_to_close(self) -> None:
        while (left := self._close_at - asyncio.get_running_loop().time()) > 0:
            self._wake.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), left)
