"""A server process from its first line to its exit code."""

import asyncio
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from syncd.server import StartError, listen, raise_file_limit, url_of
from tests.websocket_client import BINARY, CLOSE, RawClient, client_frame, close_payload

ROOT = Path(__file__).parents[3]


class Process:
    """One server process; `lines` are read from its output as they come."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.port = 0

    async def line(self) -> str:
        assert self.process.stdout is not None
        async with asyncio.timeout(30):
            return (await self.process.stdout.readline()).decode().rstrip("\n")

    async def ready(self) -> None:
        assert await self.line() == "start"
        words = (await self.line()).rsplit(":", 1)
        assert words[0] == "syncd is ready at http://127.0.0.1"
        self.port = int(words[1])

    async def end(self) -> tuple[int, list[str], str]:
        """Exit code, the remaining lines of output, and what was logged."""
        async with asyncio.timeout(30):
            out, err = await self.process.communicate()
        assert self.process.returncode is not None
        return self.process.returncode, out.decode().splitlines(), err.decode()


@asynccontextmanager
async def running(behaviour: str = "", *, port: int = 0, patient: bool = False) -> AsyncIterator[Process]:
    arguments = [str(port), behaviour, *(["patient"] if patient else [])]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.unit.syncd.served_node",
        *arguments,
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        yield Process(process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_stops_in_stages(how: signal.Signals) -> None:
    async with running() as server_process:
        await server_process.ready()
        async with await RawClient.open(server_process.port, "/ws/a") as client:
            client.send(client_frame(BINARY, b"x"))
            assert await client.frame() == (BINARY, b"x")
            server_process.process.send_signal(how)
            assert await client.close_code() == 1012
            client.send(client_frame(CLOSE, close_payload(1012)))
            assert await client.ended() == b""
        assert await server_process.end() == (0, ["drain", "stop"], "")


async def test_a_peer_that_does_not_answer_the_close_does_not_hold_up_the_stop() -> None:
    async with running() as server_process:
        await server_process.ready()
        async with await RawClient.open(server_process.port, "/ws/a") as client:
            server_process.process.terminate()
            code, lines, _ = await server_process.end()
            assert (code, lines) == (0, ["drain", "stop"])
            assert await client.close_code() == 1012


async def test_a_running_request_is_answered_and_nobody_new_comes_in() -> None:
    async with running() as server_process:
        await server_process.ready()
        async with await RawClient.connect(server_process.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.sleep(0.1)
            server_process.process.terminate()
            assert await server_process.line() == "drain"
            with pytest.raises(ConnectionError):
                await RawClient.connect(server_process.port)
            status, headers, body = await client.response()
            assert (status, body) == (200, b"late")
            assert headers.get("server") is None
        assert (await server_process.end())[0] == 0


async def test_a_second_signal_stops_at_once() -> None:
    async with running("stuck", patient=True) as server_process:
        await server_process.ready()
        server_process.process.terminate()
        assert await server_process.line() == "drain"
        server_process.process.terminate()
        code, lines, log = await server_process.end()
        assert (code, lines) == (1, ["stop"])
        assert "second signal" in log


async def test_a_drain_that_takes_too_long_is_abandoned() -> None:
    async with running("stuck") as server_process:
        await server_process.ready()
        server_process.process.terminate()
        code, lines, log = await server_process.end()
        assert (code, lines) == (1, ["drain", "stop"])
        assert "abandoned" in log


async def test_an_error_in_the_drain_does_not_skip_the_rest() -> None:
    async with running("broken drain") as server_process:
        await server_process.ready()
        server_process.process.terminate()
        code, lines, log = await server_process.end()
        assert (code, lines) == (1, ["drain", "stop"])
        assert "planted" in log


async def test_a_node_that_cannot_go_on_stops_the_server() -> None:
    async with running("fails") as server_process:
        await server_process.ready()
        async with await RawClient.open(server_process.port, "/ws/a") as client:
            assert await client.close_code() == 1013
        code, lines, log = await server_process.end()
        assert (code, lines) == (1, ["drain", "stop"])
        assert "cannot go on" in log


async def test_a_node_that_cannot_start() -> None:
    async with running("cannot start") as server_process:
        code, lines, _ = await server_process.end()
        assert code != 0
        assert lines == ["start", "stop"]


async def test_a_port_that_is_taken_is_said_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with running(port=port) as server_process:
            code, lines, log = await server_process.end()
    assert (code, lines) == (3, [])
    assert log.splitlines() == [f"syncd cannot start: cannot listen on 127.0.0.1:{port}: Address already in use"]


def test_listening() -> None:
    sockets = listen("localhost", 0)
    assert {bound.getsockname()[1] for bound in sockets} == {sockets[0].getsockname()[1]}
    for bound in sockets:
        assert bound.getsockname()[0] in ("127.0.0.1", "::1")
        bound.close()
    with pytest.raises(StartError, match="cannot listen on no such host"):
        listen("no such host", 0)


def test_addresses_as_they_are_shown() -> None:
    assert url_of("127.0.0.1", 80) == "http://127.0.0.1:80"
    assert url_of("::1", 80) == "http://[::1]:80"


@pytest.mark.parametrize(
    ("limits", "may_raise_hard", "wanted", "expected"),
    [
        ((1024, 4096), True, 2000, 2000),
        ((1024, 4096), True, 100_000, 100_000),
        ((1024, 4096), False, 100_000, 4096),
        ((9000, 10_000), False, 2000, 9000),
        ((1024, resource.RLIM_INFINITY), False, 100_000, 100_000),
        ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), False, 2000, 2000),
    ],
)
def test_the_limit_of_open_files(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], may_raise_hard: bool, wanted: int, expected: int
) -> None:
    current = [limits]

    def setrlimit(what: int, new: tuple[int, int]) -> None:
        hard = current[0][1]
        if hard != resource.RLIM_INFINITY and new[1] > hard and not may_raise_hard:
            raise ValueError("not allowed to raise maximum limit")
        current[0] = new

    def getrlimit(what: int) -> tuple[int, int]:
        return current[0]

    monkeypatch.setattr(resource, "getrlimit", getrlimit)
    monkeypatch.setattr(resource, "setrlimit", setrlimit)
    assert raise_file_limit(wanted) == expected
    if current[0] != limits:
        assert current[0][0] == expected
