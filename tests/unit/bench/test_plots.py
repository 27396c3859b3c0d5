"""Plots: the points they show; drawing needs matplotlib, which is not there in most runs."""

from pathlib import Path

import pytest

from bench.outcome import Outcome
from bench.plots import COLOURS, cost_points, draw, ramp_points, unavailable
from bench.results import Results
from bench.servers import catalogue
from tests.unit.bench.result_rig import add, results, scenario


def _results(folder: Path) -> Results:
    found = results(folder / "r.json", scenario("room-10"), scenario("room-50"), scenario("saturation", kind="ramp"))
    add(found, "room-10", "syncd", 3.0, 4.0)
    for run, values in enumerate(((10.0, 1.0), (10.0, 3.0, None))):
        steps = [{"rate": 2.0**n, "offered": 100 * 2.0**n, "p99": value} for n, value in enumerate(values)]
        steps = [step | {"p50": 1.0, "cpu": 0.5, "delivered": 99.0} for step in steps]
        found.add("saturation", "syncd", run, Outcome({"sustained": 200.0}, raw={"steps": steps}), "abc", 0.0)
    return found


def test_points_of_a_ramp_are_medians_of_the_steps_that_were_reached(tmp_path: Path) -> None:
    found = _results(tmp_path)
    assert ramp_points(found, "syncd", "p99") == [(100.0, 10.0), (200.0, 2.0)]
    assert ramp_points(found, "syncd", "p50") == [(100.0, 1.0), (200.0, 1.0), (400.0, 1.0)]
    assert ramp_points(found, "relay", "p99") == []


def test_every_server_has_a_colour() -> None:
    assert set(COLOURS) == set(catalogue.ENTRIES)


@pytest.mark.skipif(unavailable() is not None, reason=str(unavailable()))
def test_what_has_points_is_drawn_as_text_and_the_same_each_time(tmp_path: Path) -> None:
    found = _results(tmp_path)
    drawn = draw(found, tmp_path / "plots")
    assert {path.name for path in drawn.values()} == {"readers.svg", "load.svg"}
    first = {path: path.read_bytes() for path in drawn.values()}
    assert b"syncd</text>" in first[tmp_path / "plots" / "load.svg"]
    draw(found, tmp_path / "plots")
    assert {path: path.read_bytes() for path in drawn.values()} == first


def test_a_point_has_the_range_of_its_runs(tmp_path: Path) -> None:
    assert cost_points(_results(tmp_path), "syncd", ("room-10", "room-50"), "clients") == [(10.0, 3.5, 3.0, 4.0)]
