"""All sockets of one server together: what they need of a node, how many there are, and which ran out of time.

One timer serves every deadline of every socket. A timer per socket would cost a heap entry and a wake-up for each of
50,000 connections, nearly all of which answer within milliseconds.
"""

import asyncio
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from syncd.link import Handshake, Link
from syncd.metrics import Stats

CLOSE_DEADLINE = 3.0
"""Seconds a peer has to answer a close frame, and its kernel to take what was written before it."""

SLOWEST_READ = 64 * 1024
"""Bytes that a client must take of a response in each `response_timeout`, about 1 KB/s."""

SWEEP_INTERVAL = 1.0
"""Seconds between two looks at the deadlines, hence their precision."""


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What one server grants its sockets. Sizes in bytes, times in seconds."""

    max_message: int = 16 * 1024 * 1024
    outbox_high: int = 256 * 1024
    outbox_low: int = 64 * 1024
    outbox_excess: int = 4 * 1024 * 1024  # bytes that may be written to a websocket that was told to pause
    handshake_timeout: float = 10.0  # accept to the end of a request's head, and again for each next request
    body_timeout: float = 120.0  # end of the head to the end of the body
    response_timeout: float = 60.0  # a client that takes less than SLOWEST_READ of an HTTP response in so long
    max_head: int = 64 * 1024
    max_sockets: int = 60_000  # every kind of socket; the node has its own, lower limit for websockets
    trusted_proxies: frozenset[str] = field(default=frozenset({"127.0.0.1", "::1"}))

    def __post_init__(self) -> None:
        if not 0 <= self.outbox_low < self.outbox_high < 1 << 31:
            raise ValueError("0 <= outbox_low < outbox_high < 2 GiB must hold: event loops take no other limits")


class Admission(Protocol):
    """The node's answer to a handshake: 101 and the subprotocol to select, or an HTTP status and a reason."""

    @property
    def status(self) -> int: ...
    @property
    def reason(self) -> str: ...
    @property
    def subprotocol(self) -> str | None: ...


class SocketConnection(Protocol):
    """One client, as the node sees it (`syncd.connection.Connection`)."""

    def message_received(self, message: bytes) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def pong_received(self) -> None: ...
    def closed(self, code: int | None, clean: bool) -> None: ...


class SocketNode(Protocol):
    """What an endpoint needs of `syncd.node.Node`. `admission` is what `admit` gave for the same handshake."""

    def is_room_path(self, raw_path: bytes) -> bool: ...
    def admit(self, handshake: Handshake) -> Any: ...
    def connect(self, link: Link, handshake: Handshake, admission: Any) -> SocketConnection: ...


class HttpSocket(Hashable, Protocol):
    """An HTTP connection, as the sweep sees it."""

    def drop(self) -> None:
        """The deadline passed: end the socket without further ado."""

    def read_on(self) -> bool:
        """Whether the client has taken SLOWEST_READ bytes since this was last asked, or since the response stalled."""


class WebSocket(Hashable, Protocol):
    """A websocket, as the sweep sees it."""

    def abort(self) -> None:
        """The peer had its time to finish the closing handshake: end the socket."""

    def finish_close(self) -> None:
        """The delay of a close that was asked for is over: send the close frame."""


T = TypeVar("T", bound=Hashable)


class Deadlines(Generic[T]):
    """Items that must be done within one fixed time.

    The time being fixed, the order of insertion is the order of expiry: a look costs only what has expired.
    """

    __slots__ = ("_due", "_seconds")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._due: dict[T, float] = {}

    def __contains__(self, item: T) -> bool:
        return item in self._due

    def __len__(self) -> int:
        return len(self._due)

    def start(self, item: T, now: float) -> None:
        """Begin to count for `item`; one that is counted already keeps its deadline."""
        self._due.setdefault(item, now + self._seconds)

    def stop(self, item: T) -> None:
        """`item` is done in time, or gone."""
        self._due.pop(item, None)

    def expire(self, now: float) -> list[T]:
        """Remove and return the items whose time is over."""
        late: list[T] = []
        for item, due in self._due.items():
            if due > now:
                break
            late.append(item)
        for item in late:
            del self._due[item]
        return late


class SocketTable:
    """The sockets of one server. Used from the event loop's thread only.

    `clock` returns seconds that never go back; tests pass their own and call `sweep` themselves.
    """

    def __init__(self, limits: SocketLimits, stats: Stats, clock: Callable[[], float] | None = None) -> None:
        self.limits = limits
        self.stats = stats
        self.open = 0
        self.refused = 0
        """Sockets that were closed at once because `max_sockets` were open."""
        self.internal_errors = 0
        """Websockets closed with 1011 because our own code raised."""
        self.heads: Deadlines[HttpSocket] = Deadlines(limits.handshake_timeout)
        self.bodies: Deadlines[HttpSocket] = Deadlines(limits.body_timeout)
        self.responses: Deadlines[HttpSocket] = Deadlines(limits.response_timeout)
        self.lingering: Deadlines[HttpSocket] = Deadlines(CLOSE_DEADLINE)
        self.closing: Deadlines[WebSocket] = Deadlines(CLOSE_DEADLINE)
        self._delayed: dict[WebSocket, float] = {}
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def now(self) -> float:
        """Seconds on the clock of the deadlines."""
        return asyncio.get_running_loop().time() if self._clock is None else self._clock()

    def full(self) -> bool:
        """Whether one more socket would be too many."""
        return self.open >= self.limits.max_sockets

    def opened(self) -> None:
        """One more socket. Starts the sweep if it sleeps."""
        self.open += 1
        if self._timer is None and self._clock is None:
            self._timer = asyncio.get_running_loop().call_later(SWEEP_INTERVAL, self._tick)

    def gone(self) -> None:
        """One socket less."""
        self.open -= 1

    def forget_http(self, socket: HttpSocket) -> None:
        """`socket` is gone, or no longer an HTTP connection."""
        self.heads.stop(socket)
        self.bodies.stop(socket)
        self.responses.stop(socket)
        self.lingering.stop(socket)

    def forget_websocket(self, socket: WebSocket) -> None:
        """`socket` is gone."""
        self.closing.stop(socket)
        self._delayed.pop(socket, None)

    def delay_close(self, socket: WebSocket, seconds: float) -> None:
        """Call `socket.finish_close()` when `seconds` are over."""
        self._delayed[socket] = self.now() + seconds

    def sweep(self, now: float) -> None:
        """End what has run out of time."""
        late_requests = [*self.heads.expire(now), *self.bodies.expire(now)]
        self.stats.half_open_dropped += len(late_requests)
        self._drop(late_requests)
        for http in self.responses.expire(now):
            if http.read_on():
                self.responses.start(http, now)
            else:
                http.drop()
        self._drop(self.lingering.expire(now))
        for socket in self.closing.expire(now):
            socket.abort()
        for websocket in [websocket for websocket, due in self._delayed.items() if due <= now]:
            del self._delayed[websocket]
            websocket.finish_close()

    @staticmethod
    def _drop(sockets: Iterable[HttpSocket]) -> None:
        for socket in sockets:
            socket.drop()

    def _tick(self) -> None:
        # Asleep while nobody is connected, so that an idle server leaves no timer behind.
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(SWEEP_INTERVAL, self._tick) if self.open else None
        self.sweep(loop.time())
