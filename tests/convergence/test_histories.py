"""Random histories through the server converge to what Yjs says, on every way a reader can take."""

from collections.abc import Iterator

import pytest

from crdt.replica import Outcome
from tests.convergence.histories import check, shorten
from tests.convergence.server import Server
from tests.oracle.oracle import Oracle, missing

pytestmark = [
    pytest.mark.interop,
    pytest.mark.skipif(missing() is not None, reason=str(missing())),
]

HISTORIES = 1500


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    """One Node process for the module."""
    with Oracle() as running:
        yield running


@pytest.mark.parametrize("part", range(5))
def test_every_way_to_the_state_is_the_same(oracle: Oracle, part: int) -> None:
    """Duplicates, reordering, chunks, drops, restarts and compaction change nothing about the result."""
    seeds = [f"pytest-{part}-{index}" for index in range(HISTORIES // 5)]
    updates, failures = check(oracle, seeds)
    assert updates > 5 * len(seeds)
    assert not failures, f"{len(failures)} of {len(seeds)} differ; the first:\n{shorten(oracle, failures[0])}"


def test_the_meta_data_of_a_subdocument_survives_a_flush(oracle: Oracle) -> None:
    """Two updates of one flush, the first with a subdocument that has `meta`: merging by yrs would lose it."""
    server = Server()
    server.receive(bytes.fromhex("010101002901016d016b01677602086175746f4c6f616478046d6574617601016e7d0100"), 0)
    server.receive(bytes.fromhex("010101012801016d016c017d0100"), 0)
    server.flush()
    state = oracle.state([server.sync(b"\x00")])[0]
    assert state["roots"]["m"]["entries"]["k"] == {"$": "doc", "guid": "g", "meta": {"n": 1}, "load": True}


class ForgetsDeletes(Server):
    """Drops what holds no new structs: the classic mistake of a server that looks at state vectors only."""

    def receive(self, data: bytes, source: object) -> Outcome:
        """Take an update unless it only deletes."""
        return Outcome.KNOWN if data[0] == 0 else super().receive(data, source)


class TrustsItsMemory(Server):
    """Stores nothing of what came in the first flush."""

    def flush(self) -> bytes | None:
        """Flush without storing the first update."""
        update = super().flush()
        if len(self.updates) == 1:
            self.updates.clear()
        return update


@pytest.mark.parametrize("broken", [ForgetsDeletes, TrustsItsMemory])
def test_a_broken_server_is_found_out(oracle: Oracle, broken: type[Server]) -> None:
    """The judge is not blind: servers with one known defect fail, and the failure can be run again."""
    _, failures = check(oracle, [f"broken-{index}" for index in range(120)], make=broken)
    assert failures
    short = shorten(oracle, failures[0], make=broken)
    assert len(short.steps) <= len(failures[0].steps)
    assert short.what
