"""The order of runs, what is left out, and going on after an interruption."""

from dataclasses import replace
from pathlib import Path

import pytest

from bench import compare
from bench.compare import Comparison, jobs
from bench.outcome import Outcome
from bench.results import Results
from bench.scenarios.context import Context, rooms_of
from bench.scenarios.running import Running
from bench.scenarios.settings import Scenario, Settings
from tests.unit.bench.result_rig import LIMITS, results

AT_THESE = ("127.0.0.1:1", "127.0.0.1:2")


def _settings() -> Settings:
    given = {name: Scenario(name, "load", "?", ("a", "b", "c")) for name in ("one", "two")}
    return Settings(3, 0.0, "a", LIMITS, given, "digest", False)


def test_each_server_begins_once_and_none_is_left_out() -> None:
    order = list(jobs(_settings(), ["one"], [], 3))
    assert [name for _, _, name in order] == ["a", "b", "c", "b", "c", "a", "c", "a", "b"]
    assert [run for run, _, _ in order] == [0] * 3 + [1] * 3 + [2] * 3


def test_a_scenario_may_need_fewer_runs() -> None:
    settings = _settings()
    bounded = replace(settings, scenarios={**settings.scenarios, "one": replace(settings.scenarios["one"], runs=1)})
    assert {(run, scenario.name) for run, scenario, _ in jobs(bounded, [], [], 2)} == {
        (0, "one"),
        (0, "two"),
        (1, "two"),
    }


def test_only_what_was_asked_for() -> None:
    found = {(scenario.name, server) for _, scenario, server in jobs(_settings(), [], ["b", "x", "targets"], 1)}
    assert found == {("one", "b"), ("two", "b"), ("one", "targets"), ("two", "targets")}


def test_what_is_measured_is_not_measured_again_and_failures_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, tuple[str, ...], str]] = []

    def run(context: Context) -> Outcome:
        made.append((context.scenario.name, context.addresses, context.room))
        if context.scenario.name == "two":
            raise RuntimeError("first line\nit fell over")
        return Outcome({"p99": 1.0})

    monkeypatch.setitem(compare.KINDS, "load", run)
    settings = _settings()
    found = results(tmp_path / "r.json", *settings.scenarios.values())
    comparison = Comparison(settings, found, Running(AT_THESE))
    wanted = list(jobs(settings, [], ["targets"], 2))
    comparison.measure(wanted)
    comparison.measure(wanted)
    # The successful runs of `one` once each, the failing ones of `two` whenever they are asked for; no room twice.
    assert [name for name, _, _ in made] == ["one", "two", "one", "two", "two", "two"]
    assert {addresses for _, addresses, _ in made} == {AT_THESE}
    assert len({room for _, _, room in made}) == len(made)
    kept = Results.read(found.path)
    assert kept.values("one", "targets", "p99") == {0: 1.0, 1: 1.0}
    assert kept.failures("two") == {"targets": "it fell over"}


def test_a_part_of_the_comparison_does_not_replace_the_whole() -> None:
    def path(*arguments: str) -> Path:
        return compare._results_path(compare._arguments(arguments))

    assert path() == compare.FULL
    assert path("--continue") == compare.FULL
    assert path("--quick") == compare.QUICK
    assert path("--scenarios", "idle") == path("--servers", "relay") == path("--targets", "h:1") == compare.PARTIAL
    assert path("--scenarios", "idle", "--json", "x.json") == Path("x.json")


def test_rooms_are_named_as_the_generator_names_them() -> None:
    assert rooms_of({}, "bench") == ("bench",)
    assert rooms_of({"rooms": 3}, "bench") == ("bench-0", "bench-1", "bench-2")
