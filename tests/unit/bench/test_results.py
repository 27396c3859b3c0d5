"""Results: what they keep, and how several runs become one figure."""

import json
from pathlib import Path

import pytest

from bench.outcome import Outcome
from bench.results import Results, ResultsError, Spread
from tests.unit.bench.result_rig import add, results, scenario


def test_what_was_saved_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.json"
    kept = results(path, scenario("room"))
    add(kept, "room", "syncd", 3.0, 1.0, 2.0, marks=("L",), notes=("slow",))
    kept.save()
    found = Results.read(path)
    assert found.data == json.loads(json.dumps(kept.data)), "JSON knows no tuples"
    assert found.scenarios() == {"room": scenario("room")}
    assert found.spread("room", "syncd", "cpu_per_million") == Spread(2.0, 1.0, 3.0, 3)
    assert found.runs("room", "syncd")[0]["notes"] == ["slow"]
    assert list(path.parent.iterdir()) == [path]


def test_another_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps({"format": 0}))
    with pytest.raises(ResultsError):
        Results.read(path)


def test_a_run_that_succeeds_at_last_is_no_failure(tmp_path: Path) -> None:
    found = results(tmp_path / "r.json", scenario("room"))
    found.fail("room", "syncd", 0, "fell over")
    found.fail("room", "syncd", 1, "fell over again")
    assert not found.has("room", "syncd", 0)
    found.add("room", "syncd", 0, Outcome({"p99": 1.0}), "abc", 0.0)
    assert found.has("room", "syncd", 0)
    assert found.failures("room") == {"syncd": "fell over again"}
    found.add("room", "syncd", 1, Outcome({"p99": 1.0}), "abc", 0.0)
    assert found.failures("room") == {}


def test_a_ratio_is_of_medians_and_its_range_of_paired_runs(tmp_path: Path) -> None:
    found = results(tmp_path / "r.json", scenario("room"))
    add(found, "room", "syncd", 1.0, 4.0, 3.0)
    add(found, "room", "y-websocket", 2.0, 10.0, 5.0)
    ratio = found.ratio(("room", "syncd"), ("room", "y-websocket"), "cpu_per_million")
    assert ratio == Spread(3.0 / 5.0, 0.4, 0.6, 3)


def test_there_is_no_ratio_to_nothing(tmp_path: Path) -> None:
    found = results(tmp_path / "r.json", scenario("room"))
    add(found, "room", "syncd", 1.0)
    assert found.ratio(("room", "syncd"), ("room", "y-websocket"), "cpu_per_million") is None
    add(found, "room", "y-websocket", 0.0)
    assert found.ratio(("room", "syncd"), ("room", "y-websocket"), "cpu_per_million") is None


def test_servers_stand_in_the_order_of_the_settings(tmp_path: Path) -> None:
    found = results(tmp_path / "r.json", scenario("room"), scenario("other"))
    for server in ("targets", "relay", "syncd"):
        add(found, "room", server, 1.0)
    assert found.servers("room") == ["syncd", "relay", "targets"]
    assert found.unmeasured() == ["other"]
