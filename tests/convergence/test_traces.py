"""Recorded editing sessions: one writer's keystrokes through the replica, several people's through the real server."""

import subprocess
from pathlib import Path

import pytest

from crdt.replica import Outcome
from tests.convergence.server import Server
from tests.convergence.steps import Compact
from tests.convergence.traces import trace_file
from tests.interop.server import ServerProcess
from tests.oracle.oracle import Oracle, missing

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

EMPTY_STATE = b"\x00"
LIVE = Path(__file__).with_name("live.mjs")


def _type(server: Server, updates: list[bytes]) -> None:
    """Feed keystrokes, several to a flush, with a compaction now and then."""
    for number, update in enumerate(updates, 1):
        assert server.receive(update, 0) is Outcome.ACCEPTED
        if number % 5 == 0:
            server.flush()
        if number % 20_000 == 0:
            server.flush()
            server.compact(Compact("snapshot" if number % 40_000 == 0 else "segment", 1.0, 256 * 1024))
    server.flush()


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", ["automerge-paper", "rustcode"])
def test_a_recorded_session_ends_with_its_content(name: str) -> None:
    """Every keystroke of one writer, then a restart: a reader has the recorded final text."""
    path = trace_file(name)
    if path is None:
        pytest.skip("the recorded sessions are not here; tests/convergence/test_histories.py covers generated ones")
    _replay(path, 0)


def test_the_beginning_of_a_recorded_session() -> None:
    """The first 5,000 keystrokes of the long session, so that every run sees real typing."""
    path = trace_file("automerge-paper")
    if path is None:
        pytest.skip("the recorded sessions are not here; tests/convergence/test_histories.py covers generated ones")
    _replay(path, 5000)


def _replay(path: Path, limit: int) -> None:
    with Oracle() as oracle:
        updates, text = oracle.trace(path, limit)
        server = Server()
        _type(server, updates)
        live = server.sync(EMPTY_STATE)
        server.restart()
        states = oracle.state([live, server.sync(EMPTY_STATE)])
    for state in states:
        assert not state["pending"]
        assert "".join(op["insert"] for op in state["roots"]["t"]["delta"]) == text


def _live(folder: Path, name: str | None) -> str:
    """Replay a session of several people through a real server; returns what the script says of it."""
    path = trace_file(name) if name is not None else None
    # Far faster than people type: the limit on messages per second is not what is tested here.
    with ServerProcess(folder, {"SYNCD_MESSAGES_PER_SECOND": "100000", "SYNCD_WEB": "false"}) as server:
        command = ["node", str(LIVE), server.url, *([str(path)] if path is not None else [])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}\nserver:\n{server.tail()}"
    return done.stdout


@pytest.mark.timeout(300)
def test_several_people_type_at_once(tmp_path: Path) -> None:
    """A generated session of three people, over websockets: everybody ends with the content it must lead to."""
    assert "of 3 people" in _live(tmp_path, None)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("name", "people"), [("friendsforever", 2), ("clownschool", 3)])
def test_a_recorded_session_of_several_people(tmp_path: Path, name: str, people: int) -> None:
    """A recorded one; where the recordings are missing, a generated one again."""
    said = _live(tmp_path, name)
    assert "the same everywhere" in said
    if trace_file(name) is not None:
        assert f"of {people} people" in said
