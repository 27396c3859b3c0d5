"""Results made by hand."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.outcome import Outcome
from bench.results import Results
from bench.scenarios.settings import Marks, Prediction, Scenario, Settings

LIMITS = Marks(late_ms=5.0, generator_cpu=0.8, delivered=0.99)


def scenario(name: str, *predictions: Prediction, kind: str = "load") -> Scenario:
    """A scenario with our own server and two others."""
    servers = ("syncd", "syncd-compiled", "y-websocket", "hocuspocus", "relay")
    return Scenario(name, kind, f"What about {name}?", servers, {"clients": 10}, predictions=predictions)


def results(path: Path, *scenarios: Scenario, quick: bool = False) -> Results:
    """Empty results."""
    given = {one.name: one for one in scenarios}
    settings = Settings(3, 0.0, "syncd", LIMITS, given, "digest", quick)
    return Results.new(path, settings, {"cpu": "a calculator"})


def add(found: Results, name: str, server: str, *values: float, metric: str = "cpu_per_million", **more: Any) -> None:
    """One run for each value."""
    for run, value in enumerate(values):
        found.add(name, server, run, Outcome({metric: value}, **more), "abc", 0.5)


def generated(**changed: Any) -> Mapping[str, Any]:
    """A result of the load generator in which everything went well."""
    times = {"p50": 1.0, "p90": 2.0, "p99": 4.0, "p999": 5.0, "max": 6.0, "mean": 1.5, "count": 1000}
    return {
        "config": {"late": 2},
        "sent": 100,
        "expected": 1000,
        "deliveries": 1000,
        "echoes": 0,
        "duplicates": 0,
        "gaps": 0,
        "frames_in": 900,
        "closed": 0,
        "errors": [],
        "latency_ms": times,
        "saved_ms": None,
        "seen_saved_ms": None,
        "barriers_unanswered": 0,
        "presence": {"sent": 10, "received_states": 90, "latency_ms": times},
        "window_seconds": 4.0,
        "drain_seconds": 1.0,
        "server_cpu": 0.02,
        "generator_cpu": 1.0,
        "late_by_ms": 0.1,
        "converged": True,
        "late_joiners_ok": 2,
    } | changed
