"""Predictions against figures."""

from pathlib import Path

import pytest

from bench.results import Spread
from bench.scenarios.settings import Prediction
from bench.verdicts import judged
from tests.unit.bench.result_rig import add, results, scenario


def _prediction(**bound: float | str) -> Prediction:
    return Prediction("because", "cpu_per_million", **bound)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prediction", "verdict"),
    [
        (_prediction(at_most=2.0), "confirmed"),
        (_prediction(at_most=1.9), "refuted"),
        (_prediction(at_least=2.0), "confirmed"),
        (_prediction(at_least=2.1), "refuted"),
        (_prediction(at_most=0.5, of="y-websocket"), "confirmed"),
        (_prediction(at_most=0.4, of="y-websocket"), "refuted"),
        (_prediction(at_most=0.4, of="hocuspocus"), "not measured"),
    ],
)
def test_verdicts_by_the_median(tmp_path: Path, prediction: Prediction, verdict: str) -> None:
    found = results(tmp_path / "r.json", scenario("room", prediction))
    add(found, "room", "syncd", 1.0, 2.0, 9.0)
    add(found, "room", "y-websocket", 4.0, 4.0, 4.0)
    (one,) = judged(found, "syncd")
    assert one.verdict == verdict


def test_close_is_when_single_runs_disagree(tmp_path: Path) -> None:
    found = results(tmp_path / "r.json", scenario("room", _prediction(at_most=3.0)))
    add(found, "room", "syncd", 1.0, 2.0, 9.0)
    add(found, "room", "syncd-compiled", 1.0, 1.5, 2.0)
    assert [one.close for one in judged(found, "syncd")] == [True]
    assert [one.close for one in judged(found, "syncd-compiled")] == [False]


def test_our_own_server_is_set_beside_the_same_build_of_it(tmp_path: Path) -> None:
    saved = scenario("saved", _prediction(at_most=1.0, of="syncd", scenario="room"))
    found = results(tmp_path / "r.json", scenario("room"), saved)
    add(found, "room", "syncd", 1.0)
    add(found, "saved", "syncd", 2.0)
    add(found, "room", "syncd-compiled", 8.0)
    add(found, "saved", "syncd-compiled", 4.0)
    assert [one.measured for one in judged(found, "syncd")] == [Spread(2.0, 2.0, 2.0, 1)]
    assert [one.measured for one in judged(found, "syncd-compiled")] == [Spread(0.5, 0.5, 0.5, 1)]
