"""The fast endpoint on a real socket, in front of a node that only records."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from syncd.arrival import Arrivals
from syncd.frames import frame
from syncd.link import Handshake, Link
from syncd.metrics import Stats
from syncd.sockets import SocketLimits, SocketTable


@dataclass
class Admission:
    status: int = 101
    reason: str = ""
    subprotocol: str | None = None


class RecordingConnection:
    """Keeps what it is told; echoes messages unless told otherwise."""

    def __init__(self, link: Link, node: "RecordingNode") -> None:
        self.link = link
        self.node = node
        self.messages: list[bytes] = []
        self.events: list[str] = []
        self.end: tuple[int | None, bool] | None = None

    def __str__(self) -> str:
        return "connection under test"

    def message_received(self, message: bytes) -> None:
        self.messages.append(message)
        if message == b"raise":
            raise RuntimeError("planted")
        if message == b"throw me out":
            self.link.close(4403, "as you wish")
        elif self.node.echo:
            self.link.send(frame(message))

    def pause(self) -> None:
        self.events.append("pause")

    def resume(self) -> None:
        self.events.append("resume")

    def pong_received(self) -> None:
        self.events.append("pong")

    def closed(self, code: int | None, clean: bool) -> None:
        assert self.end is None, "closed() twice"
        self.end = (code, clean)
        if self.node.raise_on == "closed":
            raise RuntimeError("planted")


@dataclass
class MountSettings:
    """What a mounted node says of its sockets."""

    prefix: str = "/ws/"
    max_message: int = 70_000
    outbox_high: int = 64 * 1024
    outbox_low: int = 16 * 1024


@dataclass
class RecordingNode:
    """Admits everybody under /ws/ with `admission`; `raise_on` names the method that fails."""

    admission: Admission = field(default_factory=Admission)
    echo: bool = True
    raise_on: str = ""
    settings: MountSettings = field(default_factory=MountSettings)
    greeting: list[bytes] = field(default_factory=list)
    handshakes: list[Handshake] = field(default_factory=list)
    connections: list[RecordingConnection] = field(default_factory=list)

    def is_room_path(self, raw_path: bytes) -> bool:
        return raw_path.startswith(b"/ws/")

    def admit(self, handshake: Handshake) -> Admission:
        if self.raise_on == "admit":
            raise RuntimeError("planted")
        self.handshakes.append(handshake)
        return self.admission

    def connect(self, link: Link, handshake: Handshake, admission: Any) -> RecordingConnection:
        assert admission is self.admission
        assert handshake is self.handshakes[-1]
        for message in self.greeting:
            link.send(frame(message))
        if self.raise_on == "connect":
            raise RuntimeError("planted")
        connection = RecordingConnection(link, self)
        self.connections.append(connection)
        return connection

    def ends(self) -> list[tuple[int | None, bool] | None]:
        """How each connection ended, None for those that have not."""
        return [connection.end for connection in self.connections]

    async def connection(self, index: int = 0) -> RecordingConnection:
        """The connection made as number `index`, once it is there."""
        await until(lambda: len(self.connections) > index)
        return self.connections[index]


@dataclass
class Rig:
    """A listening endpoint. `clock` is the time of the deadlines, if the rig was made with a stopped clock."""

    node: RecordingNode
    table: SocketTable
    port: int
    release: asyncio.Event
    clock: list[float]

    def advance(self, seconds: float) -> None:
        """Move a stopped clock, and sweep as the timer would."""
        self.clock[0] += seconds
        self.table.sweep(self.clock[0])


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition, by looking often."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.002)


def plain_app(release: asyncio.Event) -> ASGIApp:
    """Answers "app" to every request; to /slow when `release` is set; to /large with 8 MB; reads bodies."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        more = scope["method"] == "POST"
        while more:
            event = await receive()
            more = event.get("more_body", False)
        if scope["path"] == "/slow":
            await release.wait()
        body = bytes(8_000_000) if scope["path"] == "/large" else b"app"
        headers = [(b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


@asynccontextmanager
async def serving(
    node: RecordingNode | None = None,
    limits: SocketLimits | None = None,
    *,
    stopped_clock: bool = False,
    stock_http: bool = False,
) -> AsyncIterator[Rig]:
    """The endpoint on a free port. At the end every socket must be gone from every table."""
    clock = [1000.0]
    node = node or RecordingNode()
    table = SocketTable(limits or SocketLimits(), Stats(), (lambda: clock[0]) if stopped_clock else None)
    fast = Arrivals(node, table)
    release = asyncio.Event()
    config = uvicorn.Config(
        plain_app(release),
        http="httptools" if stock_http else cast(Any, fast),
        ws=cast(Any, fast.websocket),
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
    )
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()

    def make() -> asyncio.Protocol:
        factory: Any = config.http_protocol_class
        protocol: asyncio.Protocol = factory(config=config, server_state=state, app_state={}, _loop=loop)
        return protocol

    server = await loop.create_server(make, "127.0.0.1", 0)
    try:
        yield Rig(node, table, server.sockets[0].getsockname()[1], release, clock)
    finally:
        server.close()
        release.set()
        for connection in list(state.connections):
            transport: Any = getattr(connection, "transport", None) or getattr(connection, "_transport", None)
            transport.abort()
        await until(lambda: not state.connections and not state.tasks)
    assert table.open == 0
    for deadlines in (table.heads, table.bodies, table.responses, table.lingering, table.closing):
        assert len(deadlines) == 0
