"""Recorded editing sessions, in process: a single writer's keystrokes through the replica."""

from pathlib import Path

import pytest

from crdt.replica import Outcome
from tests.convergence.server import Server
from tests.convergence.steps import Compact
from tests.convergence.traces import trace_file
from tests.oracle.oracle import Oracle, missing

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

EMPTY_STATE = b"\x00"


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
