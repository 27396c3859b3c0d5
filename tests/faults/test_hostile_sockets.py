"""A real server process, and clients that break every rule: what each sees, and that nobody else notices.

`SYNCD_HOSTILE_SOCKETS=20000` opens that many half-open sockets instead of 2,000.
"""

import asyncio
import os
import random
import re
import resource
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pycrdt
import pytest

from crdt.varint import uint
from crdt.wire import awareness_message, sync_message
from tests.interop.server import ServerProcess
from tests.websocket_client import (
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

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

MEGABYTE = 1_000_000
HALF_OPEN = int(os.environ.get("SYNCD_HOSTILE_SOCKETS", "2000"))
STEP1_EMPTY = sync_message(0, b"\x00")

# Bytes that crash, hang or poison a document engine; each list is sent by one writer, in order.
POISON = {
    "string whose origin is inside itself": ["01010101000100", "010101008401010300000000"],
    "division by zero": ["01010001000000"],
    "content that its own reader misreads": ["01010000020100000000"],
    "section without structs": ["01010100000000"],
    "structs without clients": ["010200000001000000"],
    "unreachable code": ["01010214000100", "02010200c4000000000300000001023a000000"],
    "deep nesting": ["010101000801017401" + "7501" * 30_000 + "7e00"],
    "a count of 2^29": ["8080808002"],
    "no end": ["ff" * 1000],
}


class SyncClient:
    """A well-behaved client: a document, and a socket that is always read."""

    def __init__(self, socket: RawClient) -> None:
        self.socket = socket
        self.doc: pycrdt.Doc[Any] = pycrdt.Doc()
        self.text = self.doc.get("t", type=pycrdt.Text)
        self.presence: list[bytes] = []
        self.pongs: list[bytes] = []
        self.synced = False
        self.bytes_in = 0
        self._news = asyncio.Event()
        self._ended = False
        self._pump = asyncio.create_task(self._receive())

    async def stop(self) -> None:
        """Stop reading."""
        self._pump.cancel()
        await asyncio.gather(self._pump, return_exceptions=True)

    def send(self, message: bytes) -> None:
        self.socket.send(client_frame(BINARY, message))

    def edit(self, text: str) -> None:
        """Append `text` and send the update."""
        before = self.doc.get_state()
        self.text += text
        self.send(sync_message(2, self.doc.get_update(before)))

    async def until(self, condition: Callable[[], object], seconds: float = 60.0) -> None:
        """Wait until what was received fulfils a condition."""
        async with asyncio.timeout(seconds):
            while not condition():
                assert not self._ended, "the server closed a well-behaved client"
                self._news.clear()
                await self._news.wait()

    async def _receive(self) -> None:
        try:
            while True:
                self._take(*await self.socket.frame())
                self._news.set()
        finally:
            self._ended = True
            self._news.set()

    def _take(self, opcode: int, message: bytes) -> None:
        self.bytes_in += len(message)
        if opcode == PING:
            self.socket.send(client_frame(PONG, message))
        elif opcode == PONG:
            self.pongs.append(message)
        elif message[:1] == b"\x01":
            self.presence.append(message)
        elif message[:2] in (b"\x00\x01", b"\x00\x02"):
            self.doc.apply_update(_payload(message[2:]))
            self.synced = self.synced or message[1] == 1


def _payload(data: bytes) -> bytes:
    """What follows a varint length."""
    index = next(i for i, byte in enumerate(data) if byte < 128) + 1
    return data[index:]


class Door:
    """Opens clients of a server, and closes them all at the end."""

    def __init__(self, server: ServerProcess, stack: AsyncExitStack) -> None:
        self.server = server
        self.stack = stack

    async def socket(self) -> RawClient:
        """A TCP connection."""
        return await self.stack.enter_async_context(await RawClient.connect(self.server.port))

    async def raw(self, room: str) -> RawClient:
        """A websocket."""
        return await self.stack.enter_async_context(await RawClient.open(self.server.port, f"/ws/{room}"))

    async def sync(self, room: str) -> SyncClient:
        """A client that has had its first sync."""
        client = SyncClient(await self.raw(room))
        self.stack.push_async_callback(client.stop)
        client.send(STEP1_EMPTY)
        await client.until(lambda: client.synced)
        return client


class Neighbours:
    """Two people in the attacked room and two in another. `check` fails unless both pairs still sync."""

    def __init__(self, pairs: list[tuple[SyncClient, SyncClient]]) -> None:
        self.pairs = pairs
        self.count = 0

    async def check(self) -> None:
        self.count += 1
        token = f"<{self.count}:{random.getrandbits(32)}>"
        for writer, reader in self.pairs:
            writer.edit(token)
            await reader.until(lambda reader=reader: token in str(reader.text))  # type: ignore[misc]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    settings = {"SYNCD_HANDSHAKE_TIMEOUT": "3", "SYNCD_MESSAGES_PER_SECOND": "100000", "SYNCD_STALLED_TIMEOUT": "8"}
    with ServerProcess(tmp_path_factory.mktemp("server"), settings) as process:
        yield process
        assert process.stop() == 0
        log = process.log.read_text()
    assert "Traceback" not in log
    assert "unexpected error" not in log


_rooms = iter(range(1_000_000))


@pytest.fixture
def room() -> str:
    return f"attacked-{next(_rooms)}"


@pytest.fixture
async def door(server: ServerProcess) -> AsyncIterator[Door]:
    async with AsyncExitStack() as stack:
        yield Door(server, stack)


@pytest.fixture
async def neighbours(door: Door, room: str) -> AsyncIterator[Neighbours]:
    clients = [await door.sync(name) for name in (room, room, f"{room}-other", f"{room}-other")]
    result = Neighbours([(clients[0], clients[1]), (clients[2], clients[3])])
    await result.check()
    yield result
    await result.check()


async def metric(server: ServerProcess, name: str) -> float:
    """The value of one metric, summed over its labels."""
    async with httpx.AsyncClient() as client:
        text = (await client.get(f"http://127.0.0.1:{server.port}/metrics")).text
    return sum(float(value) for value in re.findall(rf"^{name}(?:{{.*}})? (\S+)$", text, re.MULTILINE))


def frame_of(message: bytes) -> bytes:
    return client_frame(BINARY, message)


ATTACKS: dict[str, tuple[bytes, int]] = {
    "a header that announces 16 MiB and one byte": (header(0x82, 16 * 1024 * 1024 + 1), 1009),
    "exabytes": (b"\x82\xff\x7f" + b"\xff" * 7, 1009),
    "fragments beyond the limit": (
        client_frame(BINARY, bytes(1024), fin=False) + header(0x80, 16 * 1024 * 1024),
        1009,
    ),
    "text": (client_frame(TEXT, b"hello"), 1003),
    "no mask": (client_frame(BINARY, STEP1_EMPTY, masked=False), 1002),
    "compressed without agreement": (header(0xC2, 3) + b"abc", 1002),
    "unknown opcode": (header(0x83, 0), 1002),
    "continuation of nothing": (client_frame(0, b"x"), 1002),
    "fragmented ping": (client_frame(PING, b"x", fin=False), 1002),
    "close with a forbidden code": (client_frame(CLOSE, close_payload(1005)), 1002),
    "state vector of 2^29 entries": (frame_of(sync_message(0, bytes.fromhex("8080808002"))), 1007),
    "state vector of a megabyte of ff": (frame_of(sync_message(0, b"\xff" * MEGABYTE)), 1007),
    "an update that ends in the middle": (frame_of(sync_message(2, b"\x01\x01")), 1007),
}


@pytest.mark.parametrize(("data", "code"), ATTACKS.values(), ids=ATTACKS)
async def test_what_breaks_a_rule_gets_its_close_code(
    door: Door, neighbours: Neighbours, room: str, data: bytes, code: int
) -> None:
    client = await door.raw(room)
    client.send(data)
    assert await client.close_code() == code


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://evil.example", "127.0.0.1:{port}", 403),
        ("null", "127.0.0.1:{port}", 403),
        ("http://[evil", "127.0.0.1:{port}", 403),
        ("http://127.0.0.1:1", "127.0.0.1:{port}", 403),
        ("http://rebound.example:{port}", "rebound.example:{port}", 403),
        ("http://127.0.0.1:{port}", "127.0.0.1:{port}", 101),
        ("http://localhost:{port}", "localhost:{port}", 101),
    ],
)
async def test_foreign_pages_are_refused(
    server: ServerProcess, door: Door, neighbours: Neighbours, origin: str, host: str, status: int
) -> None:
    client = await door.socket()
    names = {name: value.format(port=server.port) for name, value in (("Origin", origin), ("Host", host))}
    client.send(upgrade_request("/ws/a", **names))
    assert (await client.response())[0] == status


@pytest.mark.parametrize("path", ["/ws/", "/ws/%ff", "/ws/a/../b", "/ws/%2e%2e", "/ws/a%00b", "/ws/" + "x" * 600])
async def test_names_that_are_none(door: Door, neighbours: Neighbours, path: str) -> None:
    """Refused so that a stock client sees why and stays away: a message, and later a final close."""
    client = await door.socket()
    client.send(upgrade_request(path))
    assert (await client.response())[0] == 101
    messages, code = await client.messages_until_close()
    assert messages[0].startswith(b"\x02\x00")
    assert code == 4400


async def test_what_is_only_ignored_costs_no_time(door: Door, neighbours: Neighbours, room: str) -> None:
    """Presence that cannot be read is dropped; a number of a million bytes must not be computed with."""
    client = await door.sync(room)
    client.send(awareness_message(b"\xff" * MEGABYTE))
    client.send(awareness_message(b"\x01" + b"\xff" * MEGABYTE))
    client.send(b"\xff" * MEGABYTE)
    client.send(b"\x63")
    client.socket.send(client_frame(PING, b"alive"))
    await client.until(lambda: client.pongs == [b"alive"])


@pytest.mark.parametrize("updates", POISON.values(), ids=POISON)
async def test_poison_reaches_nobody(door: Door, neighbours: Neighbours, room: str, updates: list[str]) -> None:
    """The sender is closed, or what it sent is held back for good; whoever joins later gets a sound document."""
    client = await door.raw(room)
    for update in updates:
        client.send(frame_of(sync_message(2, bytes.fromhex(update))))
    client.send(client_frame(CLOSE, close_payload(1000)))
    assert await client.close_code() in (1000, 1007)
    await neighbours.check()
    late = await door.sync(room)
    assert str(late.text) == str(neighbours.pairs[0][0].text)


async def test_legal_fragments_are_put_together(neighbours: Neighbours) -> None:
    writer, reader = neighbours.pairs[0]
    before = writer.doc.get_state()
    writer.text += "<in pieces>"
    message = sync_message(2, writer.doc.get_update(before))
    writer.socket.send(client_frame(BINARY, message[:1], fin=False) + client_frame(PING, b"between"))
    for byte in message[1:-1]:
        writer.socket.send(client_frame(0, bytes((byte,)), fin=False) + client_frame(0, b"", fin=False))
    writer.socket.send(client_frame(0, message[-1:]))
    await reader.until(lambda: "<in pieces>" in str(reader.text))
    await writer.until(lambda: writer.pongs == [b"between"])


def presence(client: int, clock: int, state: bytes) -> bytes:
    entry = uint(client) + uint(clock) + uint(len(state)) + state
    return awareness_message(b"\x01" + entry)


async def test_nobody_speaks_for_somebody_else(door: Door, neighbours: Neighbours, room: str) -> None:
    """A forged name, a forged removal, and JSON that no browser can parse: none of it is passed on."""
    victim, reader = neighbours.pairs[0]
    victim.send(presence(77, 5, b'{"name":"true"}'))
    await reader.until(lambda: any(b'"true"' in message for message in reader.presence))
    reader.presence.clear()
    forger = await door.raw(room)
    forger.send(frame_of(presence(77, 6, b'{"name":"forged"}')))
    forger.send(frame_of(presence(77, 9, b"null")))
    forger.send(frame_of(presence(78, 1, b'{"x":NaN}')))
    forger.send(frame_of(presence(79, 1, b"[" * 10_000)))
    forger.send(frame_of(presence(80, 1, b'"' + b"x" * 100_000 + b'"')))
    victim.send(presence(77, 6, b'{"name":"still true"}'))
    await reader.until(lambda: any(b"still true" in message for message in reader.presence))
    await neighbours.check()
    seen = b"".join(reader.presence)
    for forged in (b"forged", b"null", b"NaN", b"[[[", b"xxx"):
        assert forged not in seen


async def test_noise(door: Door, neighbours: Neighbours, room: str) -> None:
    """Random bytes as frames, and random frames as messages, from a fixed seed."""
    draw = random.Random(20261123)
    for _ in range(60):
        client = await door.raw(room)
        for _ in range(20):
            body = draw.randbytes(draw.choice((1, 2, 7, 60, 400)))
            lead = draw.choice((b"", b"\x00\x00", b"\x00\x01", b"\x00\x02", b"\x01", b"\x02\x00", b"\x66"))
            client.send(body if draw.random() < 0.05 else frame_of(lead + body))
        client.send(client_frame(CLOSE))
        await client.ended()
    await neighbours.check()


async def test_a_handshake_that_never_ends(server: ServerProcess, door: Door, neighbours: Neighbours) -> None:
    """Thousands of sockets that send nothing, or half a request. Others connect and sync; all of them are dropped."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < HALF_OPEN + 500:
        resource.setrlimit(resource.RLIMIT_NOFILE, (HALF_OPEN + 500, max(hard, HALF_OPEN + 500)))
    before = await metric(server, "syncd_half_open_dropped_total")
    sockets = []
    for index in range(HALF_OPEN):
        client = await door.socket()
        client.send((b"", b"GET /ws/x HT", b"GET /ws/x HTTP/1.1\r\nHost: x\r\n", b"\r\n")[index % 4])
        sockets.append(client)
        if index % 500 == 499:
            await neighbours.check()
    await door.sync("healthy")
    async with asyncio.timeout(60):
        for client in sockets:
            assert await client.ended() == b""
    assert await metric(server, "syncd_half_open_dropped_total") == before + HALF_OPEN


async def test_a_flood_of_pings_by_a_client_that_reads_nothing(
    server: ServerProcess, door: Door, neighbours: Neighbours
) -> None:
    """400,000 pings of 125 bytes would be 50 MB of pongs."""
    client = await door.raw("pings")
    client.stop_reading()
    before = await metric(server, "process_resident_memory_bytes")
    burst = client_frame(PING, b"p" * 125) * 4000
    for _ in range(100):
        client.send(burst)
        async with asyncio.timeout(60):
            await client.writer.drain()
    await neighbours.check()
    assert await metric(server, "process_resident_memory_bytes") < before + 15 * MEGABYTE


async def test_a_reader_that_never_reads_while_edits_pass(
    server: ServerProcess, door: Door, neighbours: Neighbours
) -> None:
    """100 MB of edits, each overwriting the one before. The stalled reader is sent only what buffers take, and is let
    go after `stalled_timeout`; a reader beside it gets all of them."""
    stalled = await door.raw("busy")
    stalled.send(frame_of(STEP1_EMPTY))
    stalled.stop_reading()
    closed_before = await metric(server, "syncd_slow_readers_closed_total")
    writer, reader = await door.sync("busy"), await door.sync("busy")
    values = writer.doc.get("m", type=pycrdt.Map)
    letters = random.Random(7).randbytes(MEGABYTE // 2).hex()
    for index in range(100):
        before = writer.doc.get_state()
        values["v"] = f"<{index}>{letters}"
        writer.send(sync_message(2, writer.doc.get_update(before)))
        await reader.until(lambda index=index: reader.bytes_in > (index + 1) * MEGABYTE)  # type: ignore[misc]
        if index % 20 == 0:
            await neighbours.check()
    async with asyncio.timeout(60):
        while await metric(server, "syncd_slow_readers_closed_total") == closed_before:
            await asyncio.sleep(0.5)
    stalled.resume_reading()
    assert len(await stalled.ended()) < 20 * MEGABYTE


async def test_a_reader_that_never_reads_costs_a_bounded_amount(tmp_path: Path) -> None:
    """100 MB of presence pass, of which a server need remember one state: what it has grown by, it holds for readers
    that take nothing. The bound is that of one reader, as all of them share the bytes."""
    with ServerProcess(tmp_path, {"SYNCD_MAX_PRESENCE_BYTES": "2MB", "SYNCD_STALLED_TIMEOUT": "300"}) as server:
        async with AsyncExitStack() as stack:
            door = Door(server, stack)
            writer, reader = await door.sync("crowded"), await door.sync("crowded")
            for _ in range(10):
                stalled = await door.raw("crowded")
                stalled.send(frame_of(STEP1_EMPTY))
                stalled.stop_reading()
            before = 0.0
            for clock in range(1, 111):
                writer.send(presence(5, clock, b'"%06d%s"' % (clock, b"x" * MEGABYTE)))
                await reader.until(lambda clock=clock: _last_is(reader.presence, b'"%06d' % clock))  # type: ignore[misc]
                if clock == 10:  # what every process needs to pass such messages on is there by now
                    before = await metric(server, "process_resident_memory_bytes")
            assert reader.bytes_in > 110 * MEGABYTE
            assert await metric(server, "syncd_connections") == 12
            assert await metric(server, "process_resident_memory_bytes") < before + 30 * MEGABYTE


def _last_is(messages: list[bytes], start: bytes) -> bool:
    """Whether the newest message begins so; those before it are forgotten."""
    del messages[:-1]
    return bool(messages) and start in messages[-1][:40]


def test_this_file_needs_no_network(tmp_path: Path) -> None:
    """The server listens on the loopback address only, unless told otherwise."""
    with ServerProcess(tmp_path) as process:
        listening = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        mine = [
            local for _, local, _, state, *_ in listening if state == "0A" and local.endswith(f":{process.port:04X}")
        ]
        assert mine == [f"0100007F:{process.port:04X}"]
