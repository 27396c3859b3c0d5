"""The node: who is let in, who is told why not, what happens with time, and how it ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest

from auth.tokens import mint, secret_key
from crdt.ids import RoomId
from crdt.wire import saved_message
from persistence.errors import StoreBroken
from syncd.close_codes import CloseCode
from syncd.config import Settings
from syncd.connection import REFUSAL_DELAY, Connection
from syncd.link import Handshake
from syncd.node import Node, Refused
from tests.unit.syncd.room_rig import Client, FakeLink, FakeStore, until

SECRET = "a shared secret that is long enough for it"


def handshake(
    path: str = "/ws/r",
    query: str = "",
    address: str = "10.0.0.1",
    headers: Mapping[str, str] | None = None,
    subprotocols: tuple[str, ...] = (),
) -> Handshake:
    """A request for a websocket."""
    return Handshake(path.encode(), query.encode(), dict(headers or {"host": "localhost"}), address, subprotocols)


class Bench:
    """A node on a store that can be held up, and clients that come in through the front door."""

    def __init__(self, node: Node, store: FakeStore) -> None:
        self.node = node
        self.store = store
        self.numbers = iter(range(100, 10_000))

    def knock(self, shake: Handshake) -> int:
        """Status of a handshake."""
        return self.node.admit(shake).status

    def enter(self, shake: Handshake | None = None) -> Client:
        """Connect; `connection` is None when the node only said why not."""
        shake = shake or handshake()
        admission = self.node.admit(shake)
        assert admission.status == 101
        client = Client(FakeLink(), next(self.numbers))
        connection = self.node.connect(client.link, shake, admission)
        if isinstance(connection, Connection):
            client.connection = client.link.connection = connection
        return client

    async def synced(self, shake: Handshake | None = None) -> Client:
        """Connect and wait for the document."""
        client = self.enter(shake)
        assert client.connection is not None
        room = client.connection.room
        await until(lambda: room.loaded)
        client.ask()
        await until(lambda: "step2" in client.kinds())
        return client


@asynccontextmanager
async def running(monkeypatch: pytest.MonkeyPatch, **settings: Any) -> AsyncIterator[Bench]:
    """A node that runs."""
    store = FakeStore()

    async def open_store(_: str) -> FakeStore:
        return store

    monkeypatch.setattr("syncd.node.open_store", open_store)
    node = Node(Settings(store="memory://", log_flush_ms=0, log_flush_max_ms=0, **settings))
    await node.start()
    node._durable = True
    try:
        yield Bench(node, store)
    finally:
        store.gate.set()
        await node.stop()


def token(seconds: float = 600, role: str = "write", room: str = "r", age: float = 0) -> str:
    """A signed token that was issued `age` seconds ago."""
    return mint(secret_key(SECRET), subject="ann", rooms=room, role=role, ttl=seconds, now=time.time() - age)


async def test_people_in_a_room_see_one_another_and_what_they_write_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as bench:
        one, two = await bench.synced(), await bench.synced()
        one.type("hello")
        one.barrier(1)
        await until(lambda: two.read() == "hello")
        await until(lambda: "saved 1" in one.kinds())
        assert (await bench.store.load(RoomId("r"))).updates
        other = await bench.synced(handshake("/ws/r/2"))
        assert other.read() == ""


@pytest.mark.parametrize(
    ("path", "code"),
    [("/ws/", CloseCode.BAD_ROOM), ("/ws/..", CloseCode.BAD_ROOM), ("/ws/a%00", CloseCode.BAD_ROOM)],
)
async def test_a_bad_room_is_named_and_closed_for_good(
    monkeypatch: pytest.MonkeyPatch, path: str, code: CloseCode
) -> None:
    async with running(monkeypatch) as bench:
        client = bench.enter(handshake(path))
        assert client.kinds() == ["denied"]
        assert [(close[0], close[2]) for close in client.link.closes] == [(code, REFUSAL_DELAY)]
        assert bench.node.stats.connections == 0


def shakes(value: str) -> dict[str, Handshake]:
    """All the ways to bring a token."""
    return {
        "query": handshake(query=f"token={value}"),
        "subprotocol": handshake(subprotocols=(f"bearer.{value}",)),
        "cookie": handshake(headers={"host": "localhost", "cookie": f"a=b; syncd_token={value}"}),
    }


@pytest.mark.parametrize("way", ["query", "subprotocol", "cookie"])
async def test_a_token_may_come_three_ways(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    async with running(monkeypatch, auth="external", jwt_secret=SECRET) as bench:
        client = await bench.synced(shakes(token())[way])
        assert client.connection is not None
        assert client.connection.author == "ann"
        assert client.connection.may_write
        refused = bench.enter(shakes("nonsense")[way])
        assert refused.link.closes[0][0] == CloseCode.UNAUTHENTICATED


async def test_tokens_that_do_not_open_the_room(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, auth="external", jwt_secret=SECRET) as bench:
        wrong = [
            handshake(),
            handshake(query=f"token={token(room='other')}"),
            handshake(query=f"token={token(seconds=60, age=600)}"),
            handshake(query="&".join(f"x{n}=1" for n in range(200)) + f"&token={token()}"),
        ]
        assert [bench.enter(shake).link.closes[0][0] for shake in wrong] == [
            CloseCode.UNAUTHENTICATED,
            CloseCode.FORBIDDEN,
            CloseCode.TOKEN_EXPIRED,
            CloseCode.UNAUTHENTICATED,
        ]
        assert bench.node.registry is not None
        assert bench.node.registry.rooms == {}


async def test_a_reader_may_not_write(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, auth="external", jwt_secret=SECRET) as bench:
        client = await bench.synced(handshake(query=f"token={token(role='read')}"))
        client.type("a")
        assert client.kinds()[-1] == "denied"


async def test_an_expired_token_ends_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, auth="external", jwt_secret=SECRET, jwt_leeway=0) as bench:
        client = await bench.synced(handshake(query=f"token={token(60)}"))
        bench.node._expire_tokens(time.time() + 59)
        assert client.link.closes == []
        bench.node._expire_tokens(time.time() + 61)
        assert [close[0] for close in client.link.closes] == [CloseCode.TOKEN_EXPIRED]


async def test_connections_that_are_gone_are_not_kept_until_their_tokens_end(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, auth="external", jwt_secret=SECRET) as bench:
        stays = await bench.synced(handshake(query=f"token={token(600)}"))
        for _ in range(300):
            client = bench.enter(handshake(query=f"token={token(3600)}"))
            assert client.connection is not None
            client.connection.closed(1000, clean=True)
        for _ in range(60):
            bench.node._sweep_connections(time.monotonic())
        bench.node._expire_tokens(time.time())
        assert len(bench.node._expiries) == 1
        bench.node._expire_tokens(time.time() + 700)
        assert stays.link.closes[0][0] == CloseCode.TOKEN_EXPIRED


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        ((), None),
        (("bearer.x",), "bearer.x"),
        (("bearer.x", "yjs"), "yjs"),
        (("a", "b"), "a"),
    ],
)
async def test_one_of_the_offered_subprotocols_is_selected(
    monkeypatch: pytest.MonkeyPatch, offered: tuple[str, ...], selected: str | None
) -> None:
    async with running(monkeypatch) as bench:
        assert bench.node.admit(handshake(subprotocols=offered)).subprotocol == selected


async def test_who_is_turned_away_at_the_door(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, max_connections=3, max_connections_per_address=2) as bench:
        evil = {"host": "localhost", "origin": "http://evil.example"}
        assert bench.knock(handshake(headers=evil)) == 403
        assert bench.knock(handshake(headers={"host": "localhost", "origin": "http://["})) == 403
        first = bench.enter()
        bench.enter()
        assert bench.knock(handshake()) == 429
        bench.enter(handshake(address="10.0.0.2"))
        assert bench.knock(handshake(address="10.0.0.3")) == 503
        assert first.connection is not None
        first.connection.closed(1000, clean=True)
        assert bench.knock(handshake()) == 101
        bench.node.draining = True
        assert bench.knock(handshake()) == 503


async def test_caps_on_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, max_rooms=1, max_room_connections=2) as bench:
        bench.enter()
        bench.enter()
        for path in ("/ws/r", "/ws/other"):
            assert bench.enter(handshake(path)).link.closes[0][0] == CloseCode.TRY_LATER


async def test_a_reader_that_takes_nothing_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, stalled_timeout=30) as bench:
        client = await bench.synced()
        connection = client.connection
        assert connection is not None
        connection.pause()
        bench.node._sweep_connections(connection.paused_at + 29)
        before = client.link.aborted
        bench.node._sweep_connections(connection.paused_at + 31)
        assert (before, client.link.aborted) == (False, True)
        assert connection.gone
        assert bench.node.stats.closes == {CloseCode.TRY_LATER: 1}
        assert bench.node.stats.slow_readers == 0


async def test_the_sweep_sees_everybody_within_ten_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, keepalive=20) as bench:
        clients = [await bench.synced() for _ in range(25)]
        assert clients[0].connection is not None
        clients[0].connection.closed(1000, clean=True)
        for _ in range(10):
            bench.node._sweep_connections(time.monotonic() + 21)
        assert [client.link.pings > 0 for client in clients] == [False] + [True] * 24
        assert len(bench.node.connections) == 24


async def test_draining_saves_closes_everybody_and_lets_nobody_in(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, drain_timeout=2, drain_slices=20) as bench:
        clients = [await bench.synced() for _ in range(120)]
        for client in clients[:5]:
            client.type("x")
            client.barrier(1)
        await bench.node.drain()
        assert {client.link.closes[0][0] for client in clients} == {CloseCode.RESTART}
        assert all(len(client.link.closes) == 1 for client in clients)
        for client in clients[:5]:
            assert "saved 1" in client.kinds()
        assert bench.knock(handshake()) == 503
        assert sum(len(batch) for batch in bench.store.batches) >= 1
        assert bench.node.stats.unsaved_updates == 0


async def test_draining_ends_in_time_when_the_store_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, drain_timeout=0.5) as bench:
        client = await bench.synced()
        bench.store.gate.clear()
        client.type("x")
        client.send(saved_message(b"\x01"))
        async with asyncio.timeout(10):
            await bench.node.drain()
        assert "saved 1" not in client.kinds()
        assert [close[0] for close in client.link.closes] == [CloseCode.RESTART]


async def test_a_broken_store_ends_every_connection_and_the_node(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch) as bench:
        one, two = await bench.synced(), await bench.synced(handshake("/ws/other"))
        bench.store.fail(StoreBroken("fsync"))
        one.type("a")
        one.barrier(1)
        await until(bench.node.failed.is_set)
        for client in (one, two):
            assert [close[0] for close in client.link.closes] == [CloseCode.TRY_LATER]
            assert "saved 1" not in client.kinds()
        assert bench.knock(handshake()) == 503
        await bench.node.drain()


async def test_an_empty_room_is_unloaded_and_comes_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, unload_after=30) as bench:
        client = await bench.synced()
        client.type("kept")
        client.barrier(1)
        await until(lambda: "saved 1" in client.kinds())
        connection = client.connection
        assert connection is not None
        connection.closed(1001, clean=True)
        bench.node._sweep_rooms(connection.room.idle_since + 31)
        assert bench.node.stats.rooms == 0
        assert (await bench.synced()).read() == "kept"


async def test_a_refused_connection_takes_everything_an_endpoint_may_say() -> None:
    link = FakeLink()
    refused = Refused(link, CloseCode.FORBIDDEN, "é" * 200)
    refused.message_received(b"x")
    refused.pause()
    refused.resume()
    refused.pong_received()
    refused.closed(None, clean=False)
    ((code, reason, _),) = link.closes
    assert code == CloseCode.FORBIDDEN
    assert len(reason) <= 120


async def test_a_room_is_compacted_and_served_from_its_block(monkeypatch: pytest.MonkeyPatch) -> None:
    async with running(monkeypatch, compact_updates=5) as bench:
        client = await bench.synced()
        for number in range(6):
            client.type(str(number))
            client.barrier(number)
            await until(partial(lambda name: name in client.kinds(), f"saved {number}"))
        connection = client.connection
        assert connection is not None
        await until(lambda: bench.node.stats.compactions > 0, 60)
        assert connection.room.replica.blocks
        assert (await bench.synced()).read() == "012345"
