"""nginx sends a room to the same node from everywhere, and to another one when that node is gone."""

import asyncio
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack
from http.client import HTTPConnection
from pathlib import Path

import pytest
from pycrdt import Doc, Text

from crdt.wire import STEP1, STEP2, SYNC, UPDATE, read_messages, sync_message
from deploy.local.nginx import Nginx
from deploy.local.nodes import Nodes
from deploy.local.ports import LOOPBACK
from deploy.local.waiting import until
from tests.cluster.fixtures import cluster_folder, needing_programs
from tests.websocket_client import BINARY, RawClient, client_frame, upgrade_request

pytestmark = pytest.mark.cluster

ROOMS = [f"room-{number}" for number in range(24)]
EMPTY_STATE = b"\x00"


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with cluster_folder() as found:
        yield found


@pytest.fixture(scope="module")
def all_nodes(folder: Path) -> Iterator[Nodes]:
    nodes = Nodes(folder, size=3, settings={})
    nodes.start()
    yield nodes
    nodes.stop()


@pytest.fixture
def nodes(all_nodes: Nodes) -> Iterator[Nodes]:
    """Three embedded nodes, all running before and after."""
    yield all_nodes
    all_nodes.start()


@pytest.fixture(scope="module")
def nginx(folder: Path, all_nodes: Nodes) -> Iterator[Nginx]:
    service = Nginx(folder, all_nodes.addresses)
    with needing_programs():
        service.start()
    yield service
    service.stop()


def _port(nginx: Nginx, name: str = "nginx-1") -> int:
    return nginx.ports[name][0]


def _get(port: int, path: str, **headers: str) -> tuple[int, bytes]:
    connection = HTTPConnection(LOOPBACK, port, timeout=10)
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def _answered(nginx: Nginx, mark: str, count: int) -> list[dict[str, object]]:
    """What the access logs say of the `count` requests whose path ends in `mark`; a line is written when one ends."""
    found: list[dict[str, object]] = []

    def probe() -> str | None:
        lines = [
            json.loads(line)
            for name in nginx.names
            for line in (nginx.folder / name / "access.log").read_text().splitlines()
        ]
        found[:] = [line for line in lines if line["path"].endswith(mark)]
        return None if len(found) >= count else f"{len(found)} of {count} lines"

    until(probe, 10, threading.Event())
    return found


async def _visit(nginx: Nginx, mark: str) -> None:
    """Open a websocket to every room through every nginx, all at once."""
    async with AsyncExitStack() as stack:
        for name in nginx.names:
            for room in ROOMS:
                path = f"/ws/{room}{mark}?token=secret-of-somebody"
                await stack.enter_async_context(await RawClient.open(_port(nginx, name), path))


def _nodes_of(lines: list[dict[str, object]], mark: str) -> dict[str, set[str]]:
    """Who served each room in the end: the last of those that were tried."""
    served = defaultdict(set)
    for line in lines:
        room = str(line["path"]).removeprefix("/ws/").removesuffix(mark)
        served[room].add(str(line["upstream"]).split(", ")[-1])
    return dict(served)


async def test_a_room_is_always_on_the_same_node_and_rooms_are_spread(nodes: Nodes, nginx: Nginx) -> None:
    await _visit(nginx, "")
    served = _nodes_of(_answered(nginx, "", 2 * len(ROOMS)), "")
    served = {room: found for room, found in served.items() if room in ROOMS}
    assert served.keys() == set(ROOMS)
    assert {len(found) for found in served.values()} == {1}
    assert set.union(*served.values()) == set(nodes.addresses)


async def test_no_token_is_written_down(nodes: Nodes, nginx: Nginx) -> None:
    nodes.kill("node-2")  # its errors would be the place
    await _visit(nginx, "-token")
    _answered(nginx, "-token", 2 * len(ROOMS))
    for name in nginx.names:
        for file in (nginx.folder / name).glob("*.log"):
            assert "secret-of-somebody" not in file.read_text()


async def test_rooms_of_a_dead_node_are_taken_over_and_others_stay(nodes: Nodes, nginx: Nginx) -> None:
    await _visit(nginx, "-x")
    before = _nodes_of(_answered(nginx, "-x", 2 * len(ROOMS)), "-x")
    nodes.kill("node-1")
    dead = f"{LOOPBACK}:{nodes.ports['node-1'][0]}"
    await _visit(nginx, "-x")
    lines = _answered(nginx, "-x", 4 * len(ROOMS))
    assert {line["status"] for line in lines} == {101}
    moved = {room for room, found in before.items() if found == {dead}}
    assert moved
    for room, found in _nodes_of(lines, "-x").items():
        assert (found > before[room]) if room in moved else (found == before[room])
    nodes.restart("node-1")
    status, _ = _get(_port(nginx), "/readyz")
    assert status == 200


class Editor:
    """One document on one websocket."""

    def __init__(self, socket: RawClient) -> None:
        self.socket = socket
        self.doc: Doc[Text] = Doc()
        self.text = self.doc.get("text", type=Text)

    async def synced(self) -> None:
        """Ask for everything, and wait for the answer."""
        self.socket.send(client_frame(BINARY, sync_message(STEP1, EMPTY_STATE)))
        while await self.receive() != STEP2:
            pass

    async def receive(self) -> int:
        """Apply the next sync message that has an update; returns its kind."""
        while True:
            opcode, payload = await asyncio.wait_for(self.socket.frame(), 10)
            for kind, sub, data in read_messages(payload) if opcode == BINARY else []:
                if kind == SYNC and sub in (STEP2, UPDATE):
                    self.doc.apply_update(data)
                    return sub

    def write(self, text: str) -> None:
        """Insert at the start, and send it."""
        before = self.doc.get_state()
        self.text.insert(0, text)
        self.socket.send(client_frame(BINARY, sync_message(UPDATE, self.doc.get_update(before))))


async def test_an_edit_passes_from_one_nginx_to_the_other(nodes: Nodes, nginx: Nginx) -> None:
    async with (
        await RawClient.open(_port(nginx, "nginx-1"), "/ws/shared") as one,
        await RawClient.open(_port(nginx, "nginx-2"), "/ws/%73hared") as other,  # the same name, spelt differently
    ):
        writer, reader = Editor(one), Editor(other)
        await writer.synced()
        await reader.synced()
        writer.write("through both")
        while str(reader.text) != "through both":
            await reader.receive()


async def test_a_slash_and_an_escaped_slash_stay_two_rooms(nodes: Nodes, nginx: Nginx) -> None:
    async with (
        await RawClient.open(_port(nginx), "/ws/a/b") as one,
        await RawClient.open(_port(nginx), "/ws/a/b") as same,
        await RawClient.open(_port(nginx), "/ws/a%2Fb") as different,
    ):
        writer, reader, stranger = Editor(one), Editor(same), Editor(different)
        for editor in (writer, reader, stranger):
            await editor.synced()
        writer.write("slash")
        while str(reader.text) != "slash":
            await reader.receive()
        await stranger.synced()
        assert str(stranger.text) == ""


async def _upgrade_status(port: int, **headers: str) -> int:
    async with await RawClient.connect(port) as client:
        client.send(upgrade_request("/ws/origin", **headers))
        status, _, _ = await client.response()
        return status


async def test_a_page_of_the_same_address_may_connect_and_a_foreign_one_not(nodes: Nodes, nginx: Nginx) -> None:
    host = f"{LOOPBACK}:{_port(nginx)}"
    assert await _upgrade_status(_port(nginx), Host=host, Origin=f"http://{host}") == 101
    assert await _upgrade_status(_port(nginx), Host=host, Origin="http://elsewhere.example") == 403


def test_health_is_its_own_and_metrics_are_nobodys(nodes: Nodes, nginx: Nginx) -> None:
    assert _get(_port(nginx), "/readyz")[0] == 200
    assert _get(_port(nginx), "/metrics")[0] == 404
    for name in nodes.names:
        nodes.kill(name)
    assert _get(_port(nginx), "/healthz") == (200, b"ok\n")
    assert _get(_port(nginx), "/readyz")[0] == 502


def test_a_request_that_is_too_large_is_refused(nodes: Nodes, nginx: Nginx) -> None:
    assert _get(_port(nginx), "/", Authorization="x" * 20_000)[0] == 400


def test_one_nginx_is_ended_and_comes_back_while_the_other_serves(nodes: Nodes, nginx: Nginx) -> None:
    nginx.kill("nginx-1")
    with pytest.raises(ConnectionRefusedError):
        _get(_port(nginx, "nginx-1"), "/healthz")
    assert _get(_port(nginx, "nginx-2"), "/readyz")[0] == 200
    nginx.restart("nginx-1")
    assert _get(_port(nginx, "nginx-1"), "/readyz")[0] == 200
