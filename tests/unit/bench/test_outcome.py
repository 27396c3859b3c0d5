"""Figures and marks from what the load generator says."""

from typing import Any

import pytest

from bench.outcome import MARKS, figures, marks, presence_figures
from tests.unit.bench.result_rig import LIMITS, generated


def test_cost_is_by_delivery_and_the_generator_by_all_its_time() -> None:
    found = figures(generated())
    assert found["cpu_per_million"] == pytest.approx(20.0)
    assert found["delivered"] == 1.0
    assert found["deliveries_per_second"] == 250.0
    assert found["generator_cpu"] == pytest.approx(0.2)
    assert (found["p50"], found["p99"], found["max"]) == (1.0, 4.0, 6.0)
    assert "saved_p99" not in found


def test_nothing_delivered_costs_nothing_known() -> None:
    found = figures(generated(deliveries=0, latency_ms={"count": 0, "p50": 0.0, "p99": 0.0, "max": 0.0}))
    assert found["delivered"] == 0.0
    assert "cpu_per_million" not in found
    assert "p99" not in found


def test_saves_are_counted_by_the_window() -> None:
    saved = {"p50": 50.0, "p99": 70.0, "max": 90.0, "count": 400}
    found = figures(generated(saved_ms=saved))
    assert (found["saved_p50"], found["saved_p99"], found["saves_per_second"]) == (50.0, 70.0, 100.0)


def test_what_readers_ask_is_a_figure_of_its_own() -> None:
    times = {"p50": 30.0, "p99": 60.0, "max": 70.0, "count": 2000}
    found = figures(generated(saved_ms={**times, "p99": 70.0, "count": 400}, seen_saved_ms=times))
    assert (found["seen_saved_p50"], found["seen_saved_p99"], found["saved_p99"]) == (30.0, 60.0, 70.0)
    assert found["saves_per_second"] == 100.0


def test_a_delivery_of_presence_is_a_state_received() -> None:
    found = presence_figures(generated(deliveries=0, expected=0, config={"clients": 11}))
    assert found["deliveries"] == 90
    assert found["cpu_per_million"] == pytest.approx(0.02 / 90 * 1e6)
    assert found["p99"] == 4.0
    assert found["delivered"] == 0.9


def test_presence_that_reached_everybody_has_no_mark() -> None:
    assert marks(generated(expected=0, config={"clients": 10}), LIMITS) == ()


def test_a_run_in_which_all_went_well_has_no_mark() -> None:
    assert marks(generated(), LIMITS) == ()


@pytest.mark.parametrize(
    ("changed", "letter"),
    [
        ({"late_by_ms": 5.1}, "L"),
        ({"generator_cpu": 4.1}, "C"),
        ({"deliveries": 989}, "D"),
        ({"config": {"late": 2, "clients": 12}}, "D"),
        ({"closed": 1}, "X"),
        ({"gaps": 1}, "G"),
        ({"converged": False}, "N"),
        ({"late_joiners_ok": 1}, "J"),
        ({"barriers_unanswered": 1}, "U"),
        ({"errors": ["connect: refused"]}, "E"),
    ],
)
def test_each_mark(changed: dict[str, Any], letter: str) -> None:
    assert marks(generated(**changed), LIMITS) == (letter,)
    assert letter in MARKS


def test_without_writers_nothing_is_expected_to_arrive() -> None:
    quiet = generated(expected=0, deliveries=0, converged=False, late_joiners_ok=0)
    assert marks(quiet, LIMITS) == ()
