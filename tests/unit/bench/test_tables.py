"""Numbers and tables as they are written."""

from pathlib import Path

import pytest

from bench.outcome import Outcome
from bench.results import Spread
from bench.scenarios.settings import Scenario
from bench.tables import best_other, compared, number, percent, scenario_table, table, written
from tests.unit.bench.result_rig import add, results, scenario

OWN = ("syncd", "syncd-compiled")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0123, "0.012"),
        (0.456, "0.46"),
        (7.0, "7.00"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234567.0, "1,234,567"),
    ],
)
def test_numbers(value: float, text: str) -> None:
    assert number(value) == text


@pytest.mark.parametrize(("share", "text"), [(1.0, "100 %"), (0.999999, "99.99 %"), (0.5, "50.00 %")])
def test_not_all_is_never_written_as_all(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_range_is_shown_only_when_there_is_one() -> None:
    assert written(None) == "–"
    assert written(Spread(1.0, 1.0, 1.0, 1)) == "1.00"
    assert written(Spread(1.0, 1.0, 1.001, 3)) == "1.00"
    assert written(Spread(2.0, 1.0, 3.0, 3)) == "2.00 (1.00–3.00)"


def test_a_table_has_its_numbers_to_the_right() -> None:
    assert table([["a", "b"], ["1", "2"]]) == ["| a | b |", "| :--- | ---: |", "| 1 | 2 |"]


def test_the_relay_is_not_the_best_other_and_more_may_be_better(tmp_path: Path) -> None:
    room, ramp = scenario("room"), scenario("ramp", kind="ramp")
    found = results(tmp_path / "r.json", room, ramp)
    assert best_other(found, room, OWN) is None
    for server, value in (("syncd", 1.0), ("relay", 0.5), ("y-websocket", 4.0), ("hocuspocus", 5.0)):
        add(found, "room", server, value)
        add(found, "ramp", server, value, metric="sustained")
    assert best_other(found, room, OWN) == "y-websocket"
    assert best_other(found, ramp, OWN) == "hocuspocus"


def test_who_does_not_deliver_is_not_the_best(tmp_path: Path) -> None:
    room = scenario("room")
    found = results(tmp_path / "r.json", room)
    for server, cost, delivered in (("y-websocket", 1.0, 0.5), ("hocuspocus", 5.0, 0.995)):
        found.add("room", server, 0, Outcome({"cpu_per_million": cost, "delivered": delivered}), "abc", 0.0)
    assert best_other(found, room, OWN) == "hocuspocus"


def test_a_scenario_shows_ratios_and_marks_and_no_empty_columns(tmp_path: Path) -> None:
    room = scenario("room")
    found = results(tmp_path / "r.json", room)
    add(found, "room", "syncd", 1.0, marks=("L",))
    add(found, "room", "y-websocket", 4.0)
    add(found, "room", "relay", 0.5)
    assert scenario_table(found, room, OWN) == [
        "| server | CPU s per million deliveries | × y-websocket | × relay | × best other |",
        "| :--- | ---: | ---: | ---: | ---: |",
        "| syncd **L** | 1.00 | 0.25 | 2.00 | 0.25 |",
        "| y-websocket | 4.00 | – | 8.00 | – |",
        "| relay | 0.50 | 0.12 | – | – |",
    ]


def test_what_must_never_happen_is_shown_even_if_it_happened_once(tmp_path: Path) -> None:
    room = scenario("room")
    found = results(tmp_path / "r.json", room)
    add(found, "room", "syncd", 0.0, 0.0, 7.0, metric="gaps")
    assert scenario_table(found, room, OWN)[-1] == "| syncd | 7.00 |"


def test_connections_that_are_kept_are_compared_by_what_they_keep() -> None:
    assert compared(Scenario("accept", "idle", "?", (), options={"hold": 0.0})) == "connect_cpu"
    assert compared(Scenario("idle", "idle", "?", (), options={"hold": 4.0})) == "memory_per_connection"
