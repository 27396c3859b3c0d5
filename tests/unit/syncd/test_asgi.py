"""syncd mounted in an application: on a real ASGI server, and step by step against the ASGI protocol."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp, Message, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from crdt.ids import RoomId
from crdt.wire import sync_message
from syncd import asgi
from syncd.asgi import room_path, websocket_app
from syncd.config import Settings
from syncd.frames import frame
from syncd.node import Node
from tests.unit.syncd.endpoint_rig import Admission, MountSettings, RecordingNode, until

LOOPS = ("uvloop", "asyncio")


def mounted(node: RecordingNode) -> AbstractAsyncContextManager[str]:
    """A FastAPI application with the node in it; gives its address."""
    return serving_app(websocket_app(node), "/collab")


@asynccontextmanager
async def serving_app(endpoint: ASGIApp, mount: str) -> AsyncIterator[str]:
    """An application in a FastAPI application, on uvicorn with its own websocket code; gives its address."""
    app = FastAPI()
    app.mount(mount, endpoint)
    config = uvicorn.Config(app, ws="websockets-sansio", lifespan="off", log_config=None, ws_per_message_deflate=False)
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: HttpToolsProtocol(config, state, {}, loop), "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}{mount}"
    finally:
        server.close()
        await until(lambda: not state.connections and not state.tasks)


async def test_messages_both_ways() -> None:
    node = RecordingNode()
    async with mounted(node) as url, connect(f"{url}/notes") as client:
        for size in (0, 1, 65_536, 70_000):
            payload = os.urandom(size)
            await client.send(payload)
            assert await client.recv() == payload
    await until(lambda: node.ends() == [(1000, True)])


@pytest.mark.parametrize(
    ("path", "raw_path"),
    [
        ("/notes", b"/ws/notes"),
        ("/a/b", b"/ws/a/b"),
        ("/a%2Fb", b"/ws/a%2Fb"),
        ("/a%20b?token=x", b"/ws/a%20b"),
        ("/%C3%A4", b"/ws/%C3%A4"),
        ("//a", b"/ws//a"),
    ],
)
async def test_what_follows_the_mount_point_is_the_room(path: str, raw_path: bytes) -> None:
    node = RecordingNode()
    async with mounted(node) as url, connect(url + path):
        assert node.handshakes[0].raw_path == raw_path
        assert node.handshakes[0].query == (b"token=x" if "?" in path else b"")
        assert node.handshakes[0].address == "127.0.0.1"


async def test_subprotocols() -> None:
    node = RecordingNode(admission=Admission(subprotocol="b"))
    offered = [Subprotocol("a"), Subprotocol("b")]
    async with mounted(node) as url, connect(f"{url}/x", subprotocols=offered) as client:
        assert client.subprotocol == "b"
        assert node.handshakes[0].subprotocols == ("a", "b")


async def test_the_node_may_refuse() -> None:
    async with mounted(RecordingNode(admission=Admission(503, "draining"))) as url:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(f"{url}/x"):
                pass
        assert refused.value.response.status_code == 503
        assert refused.value.response.body == b"draining\n"


async def close_of(client: Any) -> tuple[list[bytes], int, str]:
    """All messages, then code and reason of the close frame."""
    messages: list[bytes] = []
    while True:
        try:
            messages.append(await client.recv())
        except ConnectionClosed:
            return messages, client.close_code, client.close_reason


@pytest.mark.parametrize(
    ("message", "code"), [("text", 1003), (bytes(70_001), 1009), (b"raise", 1011), (b"throw me out", 4403)]
)
async def test_close_codes(message: str | bytes, code: int) -> None:
    node = RecordingNode()
    async with mounted(node) as url, connect(f"{url}/x") as client, connect(f"{url}/x") as other:
        await client.send(message)
        await client.send(b"after")
        messages, got, _ = await close_of(client)
        assert (messages, got) == ([], code)
        assert b"after" not in node.connections[0].messages
        await until(lambda: node.connections[0].end is not None)
        assert node.connections[0].end == (code, True)
        await other.send(b"still here")
        assert await other.recv() == b"still here"


async def test_an_error_in_connect() -> None:
    async with mounted(RecordingNode(raise_on="connect")) as url, connect(f"{url}/x") as client:
        assert (await close_of(client))[1] == 1011


async def test_a_peer_that_is_not_read_waits_and_loses_nothing() -> None:
    node = RecordingNode()
    async with mounted(node) as url, connect(f"{url}/x") as client:
        connection = await node.connection()
        connection.link.pause_reading()
        for number in range(20):
            await client.send(bytes((number,)))
        await asyncio.sleep(0.05)
        assert len(connection.messages) <= 1, "what the server had been asked for before"
        connection.link.resume_reading()
        await until(lambda: len(connection.messages) == 20)
        connection.link.pause_reading()
        connection.link.close(1012, "restart")
        connection.link.pause_reading()
        assert (await close_of(client))[1] == 1012
    await until(lambda: node.ends() == [(1012, True)])


async def test_a_delayed_close_after_what_was_sent() -> None:
    node = RecordingNode()
    async with mounted(node) as url, connect(f"{url}/x") as client:
        link = node.connections[0].link
        link.send(frame(b"reason"))
        link.close(4401, "why", delay=0.05)
        link.close(1000, "ignored", delay=1.0)
        link.send(frame(b"ignored"))
        assert await close_of(client) == ([b"reason"], 4401, "why")
    await until(lambda: node.ends() == [(4401, True)])


async def test_a_drain_does_not_wait_for_a_delayed_close() -> None:
    node = RecordingNode()
    async with mounted(node) as url, connect(f"{url}/x") as client:
        link = node.connections[0].link
        link.close(4401, "why", delay=3600.0)
        link.close(1012, "now")
        assert (await close_of(client))[1] == 4401  # the first decides what, the last when


async def test_a_peer_that_vanishes() -> None:
    node = RecordingNode()
    async with mounted(node) as url:
        async with connect(f"{url}/x") as client:
            client.transport.abort()
        await until(lambda: node.ends() == [(1005, False)])
        link = node.connections[0].link
        link.send(frame(b"nobody"))
        link.ping()
        link.close(1000, "")
        link.abort()
        assert link.buffered() == 0


async def test_abort() -> None:
    node = RecordingNode()
    async with mounted(node) as url, connect(f"{url}/x") as client:
        node.connections[0].link.abort()
        with pytest.raises(ConnectionClosed):
            await client.recv()
    await until(lambda: node.ends() != [None])


async def test_a_slow_reader_pauses_and_resumes_and_loses_nothing() -> None:
    node = RecordingNode()
    async with mounted(node) as url, connect(f"{url}/x", max_queue=1) as client:
        connection = node.connections[0]
        count = 0
        while "pause" not in connection.events:
            connection.link.send(frame(count.to_bytes(4, "big") * 2500))
            count += 1
            await asyncio.sleep(0)
        assert node.settings.outbox_high < connection.link.buffered() < node.settings.outbox_high + 20_000
        for number in range(count):
            assert await client.recv() == number.to_bytes(4, "big") * 2500
        await until(lambda: connection.events[-1] == "resume")
        assert connection.events.count("pause") == connection.events.count("resume")


async def test_writing_on_to_a_paused_reader_ends_in_an_abort() -> None:
    """The node should stop at `pause`; if it does not, memory is bounded all the same."""
    node = RecordingNode()
    async with mounted(node) as url, connect(f"{url}/x", max_queue=1) as client:
        connection = node.connections[0]
        while connection.end is None:
            connection.link.send(frame(bytes(100_000)))
            assert connection.link.buffered() < 5_000_000
            await asyncio.sleep(0)
        assert connection.end == (1013, False)
        client.transport.abort()


async def test_a_pause_during_connect_reaches_the_connection() -> None:
    node = RecordingNode(greeting=[bytes(100_000)])
    async with mounted(node) as url, connect(f"{url}/x") as client:
        assert node.connections[0].events[0] == "pause"
        assert await client.recv() == bytes(100_000)
        await until(lambda: node.connections[0].events == ["pause", "resume"])


async def test_a_paused_peer_that_is_closed_does_not_keep_the_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asgi, "CLOSE_DEADLINE", 0.05)
    node = RecordingNode()
    async with mounted(node) as url, connect(f"{url}/x", max_queue=1) as client:
        connection = node.connections[0]
        while "pause" not in connection.events:
            connection.link.send(frame(bytes(10_000)))
            await asyncio.sleep(0)
        connection.link.close(1013, "too slow")
        await until(lambda: connection.end is not None)
        assert connection.end == (1013, False)
        client.transport.abort()


# Paths, as servers and frameworks differ in what they give


@pytest.mark.parametrize(
    ("scope", "expected"),
    [
        ({"root_path": "/collab", "path": "/collab/a/b", "raw_path": b"/collab/a%2Fb"}, b"/a%2Fb"),
        ({"root_path": "/collab", "path": "/collab/a", "raw_path": b"/coll%61b/a"}, b"/a"),
        ({"root_path": "/x/y", "path": "/x/y/a", "raw_path": b"/x%2Fy/a"}, b"/a"),
        ({"root_path": "/ä", "path": "/ä/a", "raw_path": b"/%C3%A4/a"}, b"/a"),
        ({"root_path": "/collab", "path": "/collab/collab/a", "raw_path": b"/collab/collab/a"}, b"/collab/a"),
        ({"root_path": "/proxy", "path": "/a", "raw_path": b"/a"}, b"/a"),
        ({"root_path": "", "path": "/a", "raw_path": b"/a?token=x"}, b"/a"),
        ({"path": "/a b/ä", "raw_path": None}, b"/a%20b/%C3%A4"),
        ({"root_path": "/collab", "path": "/collab/100%", "raw_path": b""}, b"/100%25"),
        ({"root_path": "/collab/", "path": "/collab/a"}, b"/a"),
        ({"root_path": "/collab", "path": "/collaboration/a"}, b"/collaboration/a"),
    ],
)
def test_room_path(scope: Scope, expected: bytes) -> None:
    assert room_path(scope) == expected


# Without a server


async def run_app(app: ASGIApp, scope: Scope, *events: Message) -> list[Message]:
    """What an application sends when it receives these events."""
    sent: list[Message] = []
    pending = list(events)

    async def receive() -> Message:
        if not pending:
            await asyncio.Event().wait()
        return pending.pop(0)

    async def send(message: Message) -> None:
        sent.append(message)

    async with asyncio.timeout(5):
        await app({"type": "websocket", "headers": [], "path": "/x", **scope}, receive, send)
    return sent


async def test_a_plain_request_is_told_to_upgrade() -> None:
    sent = await run_app(websocket_app(RecordingNode()), {"type": "http"})
    assert sent[0]["status"] == 426


async def test_a_server_without_http_answers_gets_a_close_instead() -> None:
    node = RecordingNode(admission=Admission(403, "foreign origin"))
    sent = await run_app(websocket_app(node), {}, {"type": "websocket.connect"})
    assert sent == [{"type": "websocket.close", "code": 1008, "reason": "foreign origin"}]


async def test_another_prefix_of_the_node() -> None:
    node = RecordingNode(settings=MountSettings(prefix="/rooms/"))
    sent = await run_app(websocket_app(node), {}, {"type": "websocket.connect"})
    assert sent[0]["code"] == 1008  # the node of this test knows rooms under /ws/ only
    assert node.handshakes == []


async def test_a_disconnect_without_a_code() -> None:
    node = RecordingNode()
    events: list[Message] = [{"type": "websocket.connect"}, {"type": "websocket.disconnect"}]
    assert (await run_app(websocket_app(node), {}, *events))[0]["type"] == "websocket.accept"
    assert node.ends() == [(1005, False)]


async def test_a_client_that_leaves_before_it_is_accepted() -> None:
    node = RecordingNode()
    assert await run_app(websocket_app(node), {}, {"type": "websocket.disconnect", "code": 1006}) == []
    assert node.handshakes == []


# With a real node


@pytest.mark.parametrize("prefix", ["/ws/", "/"])
async def test_two_clients_of_a_mounted_node(prefix: str) -> None:
    """What one writes, the other reads; a refusal is a message and a final close here, too."""
    node = Node(Settings(store="memory://", prefix=prefix))
    update = bytes.fromhex("0101010004010174016800")
    async with node.running(), serving_app(websocket_app(node), "/collab") as url:
        async with connect(f"{url}/a%2Fb") as one, connect(f"{url}/a%2Fb") as two, connect(f"{url}/a/b") as other:
            for client in (one, two, other):
                await client.send(sync_message(0, b"\x00"))
            await one.send(sync_message(2, update))
            async with asyncio.timeout(10):
                while await two.recv() not in (sync_message(1, update), sync_message(2, update)):
                    pass
            rooms = node.registry.rooms if node.registry is not None else {}
            assert sorted(rooms) == ["a%2Fb", "a/b"]
            assert rooms[RoomId("a/b")].replica.state_vector() == b"\x00"
        async with connect(f"{url}/..%2F") as named, connect(f"{url}/a/%2e%2e") as refused:
            await named.send(sync_message(0, b"\x00"))
            messages, code, _ = await close_of(refused)
            assert messages[0].startswith(b"\x02\x00")
            assert code == 4400
