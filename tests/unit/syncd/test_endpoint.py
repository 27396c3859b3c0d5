"""The fast endpoint, byte by byte over a real socket: handshakes, close codes, slow and hostile peers."""

import asyncio
import gc
import logging
import os
import socket
import weakref

import pytest

from syncd import endpoint, frames
from syncd.frames import frame
from syncd.handshake import read_upgrade
from syncd.http_protocol import HttpProtocol
from syncd.sockets import CLOSE_DEADLINE, Deadlines, SocketLimits
from tests.unit.syncd.endpoint_rig import Admission, RecordingNode, serving, until
from tests.websocket_client import (
    ACCEPT,
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    RawClient,
    client_frame,
    close_payload,
    header,
    upgrade_request,
)

SMALL = SocketLimits(max_message=70_000, outbox_high=64 * 1024, outbox_low=16 * 1024)


LOOPS = ("uvloop", "asyncio")
"""uvloop is what the server runs on, asyncio what an application around it may bring."""

# Opening

REFUSED: dict[str, tuple[bytes, int]] = {
    "no key": (upgrade_request("/ws/a", drop="Sec-WebSocket-Key"), 400),
    "short key": (upgrade_request("/ws/a", Sec_WebSocket_Key="c2hvcnQ="), 400),
    "key that is no base64": (upgrade_request("/ws/a", Sec_WebSocket_Key="!" * 24), 400),
    "two keys": (upgrade_request("/ws/a", Sec_WebSocket_KEY="dGhlIHNhbXBsZSBub25jZQ=="), 400),
    "no version": (upgrade_request("/ws/a", drop="Sec-WebSocket-Version"), 426),
    "version 8": (upgrade_request("/ws/a", Sec_WebSocket_Version="8"), 426),
    "post": (upgrade_request("/ws/a").replace(b"GET", b"POST"), 405),
    "http/1.0": (upgrade_request("/ws/a").replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
    "malformed subprotocol": (upgrade_request("/ws/a", Sec_WebSocket_Protocol="a b,,(,)"), 400),
    "no path at all": (upgrade_request("http://node:8000"), 404),
    "no room path": (upgrade_request("/elsewhere"), 404),
    "prefix without its slash": (upgrade_request("/ws"), 404),
}


@pytest.mark.parametrize(("request_head", "status"), REFUSED.values(), ids=REFUSED)
async def test_bad_handshakes_are_refused(request_head: bytes, status: int) -> None:
    async with serving() as rig, await RawClient.connect(rig.port) as client:
        client.send(request_head)
        got, headers, body = await client.response()
        assert got == status
        assert headers["connection"] == "Upgrade" if status == 426 and "upgrade" in headers else "close"
        assert headers["content-type"].startswith("text/plain")
        assert body
        assert await client.ended() == b""
        assert rig.table.stats.handshakes_refused == 1
        assert rig.node.handshakes == []


async def test_a_wrong_version_is_told_the_right_one_and_a_wrong_method_too() -> None:
    async with serving() as rig:
        async with await RawClient.connect(rig.port) as client:
            client.send(upgrade_request("/ws/a", Sec_WebSocket_Version="7"))
            assert (await client.response())[1]["sec-websocket-version"] == "13"
        async with await RawClient.connect(rig.port) as client:
            client.send(upgrade_request("/ws/a").replace(b"GET", b"PUT"))
            assert (await client.response())[1]["allow"] == "GET"


@pytest.mark.parametrize(
    "request_head",
    [upgrade_request("/ws/a", Upgrade="h2c"), upgrade_request("/ws/a", Connection="keep-alive")],
    ids=["another protocol", "no connection header"],
)
async def test_what_asks_for_no_websocket_goes_to_the_application(request_head: bytes) -> None:
    async with serving() as rig, await RawClient.connect(rig.port) as client:
        client.send(request_head)
        status, _, body = await client.response()
        assert (status, body) == (200, b"app")


@pytest.mark.parametrize(("status", "reason"), [(403, "foreign origin"), (503, "draining"), (599, "own status")])
async def test_the_node_may_refuse_before_the_upgrade(status: int, reason: str) -> None:
    node = RecordingNode(admission=Admission(status, reason))
    async with serving(node) as rig, await RawClient.connect(rig.port) as client:
        client.send(upgrade_request("/ws/a", Origin="https://evil.example"))
        got, _, body = await client.response()
        assert (got, body) == (status, reason.encode() + b"\n")
        assert node.handshakes[0].headers["origin"] == "https://evil.example"
        assert node.connections == []


async def test_an_accepted_handshake() -> None:
    """The subprotocol is the admission's choice; compression is never agreed to, whatever is offered."""
    node = RecordingNode(admission=Admission(subprotocol="syncd.token"))
    async with serving(node) as rig, await RawClient.connect(rig.port) as client:
        client.send(
            upgrade_request(
                "/ws/a%2Fb/c%20d?token=x&y=1",
                Sec_WebSocket_Protocol="syncd.token, abc",
                Sec_WebSocket_Extensions="permessage-deflate; client_max_window_bits",
                X_Twice="first",
                x_twice="last",
            )
        )
        status, headers, _ = await client.response()
        assert status == 101
        assert headers["sec-websocket-accept"] == ACCEPT
        assert headers["sec-websocket-protocol"] == "syncd.token"
        assert "sec-websocket-extensions" not in headers
        seen = node.handshakes[0]
        assert (seen.raw_path, seen.query) == (b"/ws/a%2Fb/c%20d", b"token=x&y=1")
        assert seen.subprotocols == ("syncd.token", "abc")
        assert seen.headers["x-twice"] == "last"
        assert seen.address == "127.0.0.1"


@pytest.mark.parametrize(
    ("trusted", "forwarded", "expected"),
    [
        ({"127.0.0.1"}, "203.0.113.9", "203.0.113.9"),
        ({"127.0.0.1"}, "1.1.1.1, 203.0.113.9", "203.0.113.9"),  # the first was written by the client
        ({"127.0.0.1", "10.0.0.1"}, "203.0.113.9, 10.0.0.1", "203.0.113.9"),
        ({"127.0.0.1"}, "127.0.0.1", "127.0.0.1"),
        (set(), "203.0.113.9", "127.0.0.1"),
    ],
)
async def test_the_address_behind_proxies(trusted: set[str], forwarded: str, expected: str) -> None:
    limits = SocketLimits(trusted_proxies=frozenset(trusted))
    async with serving(limits=limits) as rig, await RawClient.connect(rig.port) as client:
        client.send(upgrade_request("/ws/a", X_Forwarded_For=forwarded))
        assert (await client.response())[0] == 101
        assert rig.node.handshakes[0].address == expected


@pytest.mark.parametrize(
    ("target", "raw_path"),
    [("http://node:8000/ws/a%2Fb?x=http://y/", b"/ws/a%2Fb"), ("/ws/http://x/y", b"/ws/http://x/y")],
)
async def test_the_forms_of_a_request_target(target: str, raw_path: bytes) -> None:
    async with serving() as rig, await RawClient.connect(rig.port) as client:
        client.send(upgrade_request(target))
        assert (await client.response())[0] == 101
        assert rig.node.handshakes[0].raw_path == raw_path


@pytest.mark.parametrize("gap", [0, 1])
async def test_bytes_behind_the_request_are_not_lost(gap: int) -> None:
    """A client that does not wait for the 101; `gap` cuts the last byte of the request into a read of its own."""
    head = upgrade_request("/ws/a")
    async with serving() as rig, await RawClient.connect(rig.port) as client:
        if gap:
            client.send(head[:-1])
            await until(lambda: len(rig.table.heads) == 1)
            await asyncio.sleep(0.05)
        client.send(head[len(head) - gap if gap else 0 :] + client_frame(BINARY, b"early") + client_frame(PING, b"p"))
        assert (await client.response())[0] == 101
        assert await client.frame() == (BINARY, b"early")
        assert await client.frame() == (PONG, b"p")


async def test_a_request_in_single_bytes() -> None:
    async with serving() as rig, await RawClient.connect(rig.port) as client:
        for byte in upgrade_request("/ws/a") + client_frame(BINARY, b"x" * 300):
            client.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert (await client.response())[0] == 101
        assert await client.frame() == (BINARY, b"x" * 300)


async def test_works_behind_uvicorns_own_http_protocol() -> None:
    async with serving(stock_http=True) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        client.send(client_frame(BINARY, b"x"))
        assert await client.frame() == (BINARY, b"x")


async def test_an_upgrade_behind_an_unanswered_request_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as rig, await RawClient.connect(rig.port) as client:
        client.send(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n" + upgrade_request("/ws/a"))
        assert (await client.response())[0] == 400
        assert rig.node.handshakes == []
        rig.release.set()
        assert await client.ended() == b""
    assert caplog.records == []


async def test_an_upgrade_behind_an_answered_request_is_accepted() -> None:
    async with serving() as rig, await RawClient.connect(rig.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (await client.response())[2] == b"app"
        client.send(upgrade_request("/ws/a"))
        assert (await client.response())[0] == 101


@pytest.mark.parametrize("where", ["admit", "connect"])
async def test_an_error_while_opening_hits_only_that_client(where: str, caplog: pytest.LogCaptureFixture) -> None:
    async with serving(RecordingNode(raise_on=where)) as rig, await RawClient.connect(rig.port) as client:
        client.send(upgrade_request("/ws/a?token=secret"))
        status, _, _ = await client.response()
        assert status == (500 if where == "admit" else 101)
        if where == "connect":
            assert await client.close_code() == 1011
        assert rig.table.internal_errors == 1
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "secret" not in caplog.text


@pytest.fixture
def http_sides(monkeypatch: pytest.MonkeyPatch) -> list[weakref.ref[HttpProtocol]]:
    """The HTTP protocols that are made from now on."""
    made: list[weakref.ref[HttpProtocol]] = []
    original = HttpProtocol.__init__

    def remember(self: HttpProtocol, *args: object, **kwargs: object) -> None:
        made.append(weakref.ref(self))
        original(self, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(HttpProtocol, "__init__", remember)
    return made


async def test_the_http_side_of_an_upgraded_socket_is_freed_at_once(
    http_sides: list[weakref.ref[HttpProtocol]],
) -> None:
    """It would triple the memory of an idle connection, and wait for the garbage collector in a cycle."""
    head = upgrade_request("/ws/a")
    gc.disable()
    try:
        async with serving() as rig, await RawClient.connect(rig.port) as client:
            client.send(head[:40])
            await until(lambda: bool(http_sides))
            client.send(head[40:])
            assert (await client.response())[0] == 101
            assert [reference() for reference in http_sides] == [None]
    finally:
        gc.enable()


async def test_a_handshake_in_one_read_needs_no_http_protocol(http_sides: list[weakref.ref[HttpProtocol]]) -> None:
    async with serving() as rig, await RawClient.open(rig.port, "/ws/a"):
        await rig.node.connection()
    assert not http_sides


UNUSUAL: dict[str, bytes] = {
    "a body": upgrade_request("/ws/a", Content_Length="3") + b"abc",
    "chunks": upgrade_request("/ws/a", Transfer_Encoding="chunked") + b"0\r\n\r\n",
    "an expectation": upgrade_request("/ws/a", Expect="100-continue"),
    "another protocol": upgrade_request("/ws/a", Upgrade="h2c"),
    "no connection header": upgrade_request("/ws/a", drop="Connection"),
    "a folded header": upgrade_request("/ws/a").replace(b"\r\n\r\n", b"\r\nX-A: b\r\n c\r\n\r\n"),
    "a blank before a colon": upgrade_request("/ws/a").replace(b"Upgrade:", b"Upgrade :"),
    "bare line feeds": upgrade_request("/ws/a").replace(b"\r\n", b"\n"),
    "a control character": upgrade_request("/ws/a", X_A="b\x00c"),
    "a blank in the target": upgrade_request("/ws/a b"),
    "an absolute target": upgrade_request("http://node/ws/a"),
    "another method": upgrade_request("/ws/a").replace(b"GET", b"POST"),
    "HTTP/1.0": upgrade_request("/ws/a").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "half of it": upgrade_request("/ws/a")[:-2],
}


@pytest.mark.parametrize("data", UNUSUAL.values(), ids=UNUSUAL)
async def test_what_is_not_plainly_a_handshake_is_left_to_the_http_parser(
    data: bytes, http_sides: list[weakref.ref[HttpProtocol]]
) -> None:
    async with serving() as rig, await RawClient.connect(rig.port) as client:
        client.send(data)
        await until(lambda: bool(http_sides))
    assert read_upgrade(data) is None


def test_what_follows_a_handshake_is_kept() -> None:
    head = upgrade_request("/ws/a?b=c", X_A="d:  e", Cookie="f=g")
    found = read_upgrade(head + b"more")
    assert found is not None
    request, rest = found
    assert (request.method, request.target, rest) == ("GET", b"/ws/a?b=c", b"more")
    assert {("x-a", "d:  e"), ("cookie", "f=g")} <= set(request.headers)


# Talking


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 70_000])
async def test_messages_of_every_size(size: int) -> None:
    payload = os.urandom(size)
    async with serving(limits=SMALL) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        client.send(client_frame(BINARY, payload))
        assert await client.frame() == (BINARY, payload)


async def test_small_writes_leave_at_once() -> None:
    """Nagle's algorithm would hold a keystroke back for up to 40 ms."""
    async with serving() as rig, await RawClient.open(rig.port, "/ws/a"):
        connection = await rig.node.connection()
        protocol = connection.link
        assert isinstance(protocol, endpoint.WebSocketProtocol)
        raw = protocol._transport.get_extra_info("socket")
        assert raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


async def test_pings_are_answered_and_pongs_reported() -> None:
    async with serving() as rig, await RawClient.open(rig.port, "/ws/a") as client:
        client.send(client_frame(PING) + client_frame(PING, b"p" * 125) + client_frame(PONG, b"unasked"))
        assert await client.frame() == (PONG, b"")
        assert await client.frame() == (PONG, b"p" * 125)
        connection = await rig.node.connection()
        await until(lambda: connection.events == ["pong"])
        connection.link.ping()
        assert await client.frame() == (PING, b"")


async def test_a_peer_that_is_not_read_waits_and_loses_nothing() -> None:
    async with serving(limits=SMALL) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        connection.link.resume_reading()
        connection.link.pause_reading()
        messages = [os.urandom(60_000) for _ in range(20)]
        client.send(b"".join(client_frame(BINARY, message) for message in messages))
        await asyncio.sleep(0.05)
        assert connection.messages == []
        connection.link.resume_reading()
        await until(lambda: len(connection.messages) == 20)
        assert connection.messages == messages


async def test_who_is_closed_while_not_being_read_may_answer() -> None:
    async with serving() as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        connection.link.pause_reading()
        connection.link.close(1012, "restart")
        assert await client.frame() == (CLOSE, close_payload(1012, b"restart"))
        connection.link.pause_reading()
        client.send(client_frame(CLOSE, close_payload(1012)))
        await until(lambda: connection.end == (1012, True))
        connection.link.pause_reading()
        connection.link.resume_reading()


VIOLATIONS: dict[str, tuple[bytes, int]] = {
    "unmasked": (client_frame(BINARY, b"x", masked=False), 1002),
    "rsv1": (header(0xC2, 1) + b"x", 1002),
    "opcode 3": (header(0x83, 0), 1002),
    "continuation of nothing": (client_frame(0, b"x"), 1002),
    "long ping": (header(0x89, 126), 1002),
    "text": (client_frame(TEXT, b"x"), 1003),
    "close code 1005": (client_frame(CLOSE, close_payload(1005)), 1002),
    "close reason": (client_frame(CLOSE, close_payload(1000, b"\xff")), 1007),
    "oversize header": (header(0x82, 70_001), 1009),
    "oversize frame": (client_frame(BINARY, b"x" * 70_001), 1009),
    "oversize when reassembled": (
        client_frame(BINARY, b"x" * 40_000, fin=False) + client_frame(0, b"x" * 30_001),
        1009,
    ),
}


@pytest.mark.parametrize(("data", "code"), VIOLATIONS.values(), ids=VIOLATIONS)
async def test_violations_get_their_close_code_and_nobody_else_notices(data: bytes, code: int) -> None:
    async with (
        serving(limits=SMALL) as rig,
        await RawClient.open(rig.port, "/ws/a") as client,
        await RawClient.open(rig.port, "/ws/a") as other,
    ):
        client.send(client_frame(BINARY, b"before") + data + client_frame(BINARY, b"after"))
        assert await client.messages_until_close() == ([b"before"], code)
        assert await client.ended() == b""
        client.writer.close()
        connection = await rig.node.connection()
        await until(lambda: connection.end is not None)
        assert connection.end == (code, False)
        assert connection.messages == [b"before"]
        assert sum(rig.table.stats.refused.values()) == 1
        other.send(client_frame(BINARY, b"still here"))
        assert await other.frame() == (BINARY, b"still here")


async def test_an_oversize_message_is_not_waited_for() -> None:
    """16 MiB and one byte are announced and never sent; the answer comes all the same."""
    limits = SocketLimits()
    async with serving(limits=limits) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        client.send(header(0x82, limits.max_message + 1))
        assert await client.close_code() == 1009


async def test_an_error_in_a_connection_ends_it_with_1011(caplog: pytest.LogCaptureFixture) -> None:
    async with (
        serving() as rig,
        await RawClient.open(rig.port, "/ws/a") as client,
        await RawClient.open(rig.port, "/ws/b") as other,
    ):
        client.send(client_frame(BINARY, b"raise") * 3)
        assert await client.close_code() == 1011
        other.send(client_frame(BINARY, b"still here"))
        assert await other.frame() == (BINARY, b"still here")
        assert (await rig.node.connection()).messages == [b"raise"]
    assert [record.getMessage() for record in caplog.records] == ["unexpected error in connection under test"]
    assert "planted" in caplog.text


async def test_an_error_in_closed_is_logged_and_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(RecordingNode(raise_on="closed")) as rig:
        async with await RawClient.open(rig.port, "/ws/a") as client:
            client.send(client_frame(CLOSE))
            await client.ended()
        await until(lambda: rig.table.open == 0)
    assert len(caplog.records) == 1


# Closing


@pytest.mark.parametrize(("payload", "code"), [(b"", 1005), (close_payload(1000), 1000), (close_payload(4999), 4999)])
async def test_the_peer_closes(payload: bytes, code: int) -> None:
    async with serving() as rig, await RawClient.open(rig.port, "/ws/a") as client:
        client.send(client_frame(BINARY, b"last words") + client_frame(CLOSE, payload) + client_frame(BINARY, b"late"))
        assert await client.frame() == (BINARY, b"last words")
        assert await client.frame() == (CLOSE, payload[:2])
        assert await client.ended() == b""
        connection = await rig.node.connection()
        await until(lambda: connection.end is not None)
        assert connection.end == (code, True)
        assert connection.messages == [b"last words"]


async def test_the_node_closes_and_the_peer_answers() -> None:
    async with serving() as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        connection.link.send(frame(b"\x02\x00\x02no"))
        connection.link.close(4403, "no")
        connection.link.close(1000, "ignored: the first decides")
        connection.link.send(frame(b"ignored"))
        connection.link.ping()
        assert await client.frame() == (BINARY, b"\x02\x00\x02no")
        assert await client.frame() == (CLOSE, close_payload(4403, b"no"))
        client.send(client_frame(BINARY, b"not delivered") + client_frame(PING) + client_frame(CLOSE, b"\x11\x33"))
        assert await client.ended() == b""
        await until(lambda: connection.end is not None)
        assert connection.end == (4403, True)
        assert connection.messages == []


async def test_messages_behind_the_one_that_got_a_client_thrown_out_are_not_delivered() -> None:
    async with serving() as rig, await RawClient.open(rig.port, "/ws/a") as client:
        client.send(client_frame(BINARY, b"throw me out") + client_frame(BINARY, b"more"))
        assert await client.messages_until_close() == ([], 4403)
        assert (await rig.node.connection()).messages == [b"throw me out"]


async def test_a_peer_that_does_not_answer_a_close_is_dropped() -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        connection.link.close(1012, "")
        assert await client.close_code() == 1012
        rig.advance(CLOSE_DEADLINE - 0.1)
        await asyncio.sleep(0.02)
        assert rig.node.ends() == [None]
        rig.advance(0.2)
        await until(lambda: rig.node.ends() == [(1012, False)])
        await client.ended()


async def test_a_delayed_close() -> None:
    """What was sent before arrives at once, the close after the delay; in between the client is not listened to."""
    async with serving(stopped_clock=True) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        connection.link.send(frame(b"reason"))
        connection.link.close(4401, "later", delay=2.0)
        connection.link.close(4403, "ignored", delay=1.0)
        connection.link.send(frame(b"ignored"))
        assert await client.frame() == (BINARY, b"reason")
        client.send(client_frame(BINARY, b"ignored") + client_frame(PING, b"still there?"))
        assert await client.frame() == (PONG, b"still there?")
        rig.advance(1.9)
        assert connection.messages == []
        rig.advance(0.1)
        assert await client.frame() == (CLOSE, close_payload(4401, b"later"))
        client.send(client_frame(CLOSE, close_payload(4401)))
        assert await client.ended() == b""
        await until(lambda: connection.end == (4401, True))


async def test_a_drain_does_not_wait_for_a_delayed_close() -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        connection.link.close(4401, "", delay=60.0)
        connection.link.close(1012, "now")
        assert await client.close_code() == 1012
        rig.advance(60.0)
        await until(lambda: connection.end is not None)
        assert connection.end == (1012, False)


async def test_the_peer_closes_during_a_delay() -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        connection.link.close(4401, "", delay=60.0)
        client.send(client_frame(CLOSE, close_payload(1000)))
        assert await client.close_code() == 1000
        await until(lambda: connection.end == (1000, True))
        rig.advance(61.0)


async def test_a_socket_that_vanishes() -> None:
    async with serving() as rig:
        async with await RawClient.open(rig.port, "/ws/a"):
            connection = await rig.node.connection()
        await until(lambda: connection.end is not None)
        assert connection.end == (None, False)
        connection.link.send(frame(b"nobody"))
        connection.link.ping()
        connection.link.close(1000, "")
        connection.link.abort()


async def test_abort() -> None:
    async with serving() as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        connection.link.abort()
        assert await client.ended() == b""
        await until(lambda: connection.end == (None, False))


async def test_a_half_closed_peer_is_let_go() -> None:
    async with serving() as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        client.writer.write_eof()
        assert await client.ended() == b""
        await until(lambda: connection.end == (None, False))


async def test_garbage_after_our_close_ends_the_socket() -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        connection.link.close(1012, "")
        client.send(client_frame(TEXT, b"did not see it"))
        assert await client.close_code() == 1012
        assert await client.ended() == b""
        client.writer.close()
        await until(lambda: connection.end == (1012, False))


async def test_uvicorns_shutdown_says_1012() -> None:
    async with serving() as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        protocol = connection.link
        assert isinstance(protocol, endpoint.WebSocketProtocol)
        protocol.shutdown()
        assert await client.close_code() == 1012


# Slow readers


async def stuff(link: object, events: list[str], total: int = 50_000_000) -> int:
    """Write numbered messages until the connection is told to pause; returns how many."""
    assert isinstance(link, endpoint.WebSocketProtocol)
    count = 0
    while not events and count * 10_000 < total:
        link.send(frame(count.to_bytes(4, "big") * 2500))
        count += 1
        await asyncio.sleep(0)
    assert events == ["pause"]
    return count


async def test_a_slow_reader_pauses_and_resumes_and_loses_nothing() -> None:
    async with serving(limits=SMALL) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        client.stop_reading()
        count = await stuff(connection.link, connection.events)
        assert SMALL.outbox_high < connection.link.buffered() < SMALL.outbox_high + 20_000
        client.resume_reading()
        for number in range(count):
            assert await client.frame() == (BINARY, number.to_bytes(4, "big") * 2500)
        assert connection.events == ["pause", "resume"]
        assert connection.link.buffered() == 0


async def test_one_write_that_is_larger_than_every_buffer() -> None:
    message = bytes(range(256)) * 40_000
    whole = frame(message)
    async with (
        serving() as rig,
        await RawClient.open(rig.port, "/ws/a") as one,
        await RawClient.open(rig.port, "/ws/b") as two,
    ):
        for index in range(2):
            link = (await rig.node.connection(index)).link
            link.send(whole)
            link.send(frame(b"after"))
        for client in (one, two):
            assert await client.frame() == (BINARY, message)
            assert await client.frame() == (BINARY, b"after")


async def test_a_flood_of_pings_from_a_reader_of_nothing_is_answered_once() -> None:
    async with serving(limits=SMALL) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        client.stop_reading()
        count = await stuff(connection.link, connection.events)
        before = connection.link.buffered()
        for number in range(2000):
            client.send(client_frame(PING, b"%d" % number))
        client.send(client_frame(BINARY, b"done"))
        rig.node.echo = False
        await until(lambda: connection.messages == [b"done"])
        assert connection.link.buffered() <= before
        client.resume_reading()
        for _ in range(count):
            await client.frame()
        assert await client.frame() == (PONG, b"1999")


async def test_writing_on_to_a_paused_reader_ends_in_an_abort() -> None:
    """The node should stop at `pause`; if it does not, memory is bounded all the same."""
    limits = SocketLimits(outbox_high=64 * 1024, outbox_low=16 * 1024, outbox_excess=200_000)
    async with serving(limits=limits) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        client.stop_reading()
        await stuff(connection.link, connection.events)
        for _ in range(25):
            connection.link.send(frame(bytes(10_000)))
        await until(lambda: connection.end == (1013, False))
        assert rig.table.stats.slow_readers_closed == 1


async def test_a_pause_during_connect_reaches_the_connection() -> None:
    node = RecordingNode(greeting=[bytes(20_000_000)])
    async with serving(node, SMALL) as rig, await RawClient.connect(rig.port) as client:
        client.send(upgrade_request("/ws/a"))
        assert (await client.response())[0] == 101
        connection = await node.connection()
        assert connection.events[0] == "pause"
        assert await client.frame() == (BINARY, bytes(20_000_000))
        await until(lambda: connection.events == ["pause", "resume"])


async def test_a_paused_peer_that_is_closed_does_not_keep_the_socket() -> None:
    async with serving(limits=SMALL, stopped_clock=True) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        connection = await rig.node.connection()
        client.stop_reading()
        await stuff(connection.link, connection.events)
        connection.link.close(1013, "too slow")
        rig.advance(CLOSE_DEADLINE + 0.1)
        await until(lambda: connection.end == (1013, False))


# Limits before the upgrade

HALF_OPEN: dict[str, bytes] = {
    "silence": b"",
    "half a request line": b"GET /ws/",
    "half a head": b"GET /ws/a HTTP/1.1\r\nHost: x\r\n",
    "empty lines": b"\r\n\r\n",
}


@pytest.mark.parametrize("data", HALF_OPEN.values(), ids=HALF_OPEN)
async def test_half_open_sockets_are_dropped(data: bytes) -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.connect(rig.port) as client:
        client.send(data)
        await until(lambda: len(rig.table.heads) == 1)
        await asyncio.sleep(0.02)
        rig.advance(9.9)
        assert rig.table.open == 1
        rig.advance(0.2)
        assert await client.ended() == b""
        assert rig.table.stats.half_open_dropped == 1


async def test_dripping_bytes_do_not_extend_the_deadline() -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.connect(rig.port) as client:
        for byte in b"GET /aaaaa":
            client.send(bytes((byte,)))
            await asyncio.sleep(0.005)
            rig.advance(1.01)
        assert await client.ended() == b""
        assert rig.table.stats.half_open_dropped == 1


@pytest.mark.parametrize("drip", [b"\r\n", b"G"], ids=["empty line", "next request"])
async def test_the_time_between_requests_is_bounded_too(drip: bytes) -> None:
    """Any byte stops uvicorn's keep-alive timer; from then on ours must count."""
    async with serving(stopped_clock=True) as rig, await RawClient.connect(rig.port) as client:
        client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.response()
        assert len(rig.table.heads) == 0
        client.send(drip)
        await until(lambda: len(rig.table.heads) == 1)
        rig.advance(10.1)
        assert await client.ended() == b""


async def test_a_body_that_never_comes_is_not_waited_for() -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.connect(rig.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345")
        await until(lambda: len(rig.table.bodies) == 1)
        rig.advance(119.0)
        assert rig.table.open == 1
        rig.advance(1.1)
        assert await client.ended() == b""


async def test_a_slow_answer_of_ours_is_no_fault_of_the_client() -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.connect(rig.port) as client:
        client.send(b"POST /slow HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc")
        await asyncio.sleep(0.05)
        rig.advance(1000.0)
        rig.release.set()
        assert (await client.response())[2] == b"app"


async def test_a_client_that_takes_nothing_of_a_response_is_dropped() -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.connect(rig.port) as client:
        client.stop_reading()
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await until(lambda: len(rig.table.responses) == 1)
        rig.advance(60.1)
        await until(lambda: rig.table.open == 0)


async def test_a_slow_client_that_reads_on_gets_its_response() -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.connect(rig.port) as client:
        client.send(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await client.reader.readuntil(b"\r\n\r\n")
        for _ in range(8):  # in big steps, since kernels take more from the server only when a good part was read
            await client.reader.readexactly(1_000_000)
            await asyncio.sleep(0.02)
            rig.advance(31.0)
        await until(lambda: len(rig.table.responses) == 0)
        assert rig.table.open == 1


async def test_a_websocket_is_not_subject_to_the_deadlines_of_http() -> None:
    async with serving(stopped_clock=True) as rig, await RawClient.open(rig.port, "/ws/a") as client:
        rig.advance(10_000.0)
        client.send(client_frame(BINARY, b"here"))
        assert await client.frame() == (BINARY, b"here")


async def test_an_endless_head_is_refused() -> None:
    async with serving() as rig, await RawClient.connect(rig.port) as client:
        client.send(b"GET /ws/a HTTP/1.1\r\n")
        for _ in range(70):
            client.send(b"X-Filler: " + b"x" * 1000 + b"\r\n")
            await asyncio.sleep(0.001)
        assert (await client.response())[0] == 431
        await client.ended()


async def test_a_malformed_request_is_refused_quietly(caplog: pytest.LogCaptureFixture) -> None:
    async with serving() as rig, await RawClient.connect(rig.port) as client:
        client.send(b"\x16\x03\x01\x02\x00\x01\x00")
        assert (await client.response())[0] == 400
        assert await client.ended() == b""
    assert caplog.records == []


async def test_the_number_of_sockets_is_bounded() -> None:
    async with serving(limits=SocketLimits(max_sockets=2)) as rig:
        async with await RawClient.open(rig.port, "/ws/a") as client, await RawClient.connect(rig.port):
            await until(lambda: rig.table.open == 2)
            async with await RawClient.connect(rig.port) as third:
                third.send(b"GET / HTTP/1.1\r\n\r\n")
                assert await third.ended() == b""
                assert rig.table.refused == 1
            client.send(client_frame(BINARY, b"here"))
            assert await client.frame() == (BINARY, b"here")
        await until(lambda: rig.table.open == 0)
        async with await RawClient.open(rig.port, "/ws/a"):
            pass


async def test_the_timer_runs_and_sleeps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("syncd.sockets.SWEEP_INTERVAL", 0.01)
    async with serving(limits=SocketLimits(handshake_timeout=0.05)) as rig:
        async with await RawClient.connect(rig.port) as client:
            assert await client.ended() == b""
        await until(lambda: rig.table._timer is None)
        async with await RawClient.connect(rig.port) as client:
            assert await client.ended() == b""


async def test_nothing_is_logged_of_a_normal_life(caplog: pytest.LogCaptureFixture) -> None:
    """uvicorn's access log would hold the query string, and so the token."""
    caplog.set_level(logging.DEBUG)
    async with serving() as rig:
        async with await RawClient.open(rig.port, "/ws/a?token=secret") as client:
            client.send(client_frame(BINARY, b"x"))
            await client.frame()
        async with await RawClient.connect(rig.port) as client:
            client.send(b"GET /?token=secret HTTP/1.1\r\nHost: x\r\n\r\n")
            await client.response()
    assert "secret" not in caplog.text


def test_deadlines_expire_in_order() -> None:
    deadlines: Deadlines[str] = Deadlines(10.0)
    deadlines.start("a", 0.0)
    deadlines.start("b", 1.0)
    deadlines.start("c", 2.0)
    deadlines.start("a", 5.0)
    deadlines.stop("b")
    assert deadlines.expire(9.9) == []
    assert deadlines.expire(11.5) == ["a"]
    assert deadlines.expire(12.0) == ["c"]
    assert len(deadlines) == 0


def test_the_codes_are_those_of_the_rfc() -> None:
    assert (frames.PROTOCOL_ERROR, frames.UNSUPPORTED_DATA, frames.INVALID_DATA, frames.MESSAGE_TOO_BIG) == (
        1002,
        1003,
        1007,
        1009,
    )
