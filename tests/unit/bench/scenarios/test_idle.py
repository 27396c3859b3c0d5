"""What a room and a connection cost, by a server whose memory is known."""

import re
import shutil
from pathlib import Path
from urllib.request import urlopen

import pytest

from bench import documents
from bench.scenarios import generator
from bench.scenarios.context import Context
from bench.scenarios.idle import run_rooms
from bench.scenarios.settings import Scenario
from bench.servers.syncd import SyncdServer
from tests.unit.bench.programs import build
from tests.unit.bench.result_rig import LIMITS

pytestmark = [pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler"), pytest.mark.slow]


class Weighed(SyncdServer):
    """A server in which everything that is open weighs what it should."""

    def memory(self) -> int:
        with urlopen(f"http://{self.address}/metrics", timeout=10) as answer:
            said = answer.read().decode()
        rooms, connections = (
            re.search(rf"^syncd_{name} (\d+)", said, re.MULTILINE) for name in ("rooms", "connections")
        )
        assert rooms is not None
        assert connections is not None
        return 5_000_000 + 1000 * int(rooms[1]) + 100 * int(connections[1])


def test_a_room_costs_what_is_left_when_its_connection_is_taken_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "CACHE", tmp_path / "documents")
    monkeypatch.setattr(generator, "PROGRAM", build(tmp_path / "programs") / "load")
    (tmp_path / "run").mkdir()
    options = {"rooms": 30, "rooms_before": 7, "document": "note", "hold": 0.1}
    scenario = Scenario("idle-rooms", "rooms", "?", ("syncd",), options=options)
    with Weighed() as server:
        outcome = run_rooms(Context(server, scenario, LIMITS, tmp_path / "run"))
    assert outcome.marks == ()
    found = outcome.metrics
    assert found["connected"] == 60
    assert (found["memory_per_room"], found["memory_per_connection"]) == (1000, 100)
    assert found["memory_per_room_with_one"] == 1100
