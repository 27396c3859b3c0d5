"""What one run of one server in one scenario brought, and when its figures deserve a mark."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from bench.scenarios.settings import Marks

MARKS: Final = {
    "L": "the generator itself sent late (p99 above the limit): latency is that of both",
    "C": "the generator used more of its core than the limit",
    "D": "not all expected deliveries arrived before the run ended",
    "X": "connections were closed or refused by the server",
    "G": "edits were missing in between (gaps)",
    "N": "clients did not end with the same document",
    "J": "late joiners did not get the whole document",
    "U": "not everybody who asked whether all is saved was answered",
    "E": "errors, see the notes",
}
"""Letters that stand behind a server's name in a table."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run.

    Attributes:
        metrics: figure -> value; see `bench.figures` for names and units.
        marks: letters of `MARKS`.
        notes: sentences for the report.
        raw: what the generator said, without what the figures repeat.
    """

    metrics: Mapping[str, float]
    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)


def per_million(seconds: float, count: float) -> float | None:
    """CPU seconds per million; None when there was nothing."""
    return seconds / count * 1e6 if count else None


def figures(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a result of the generator under load."""
    window = result.get("window_seconds") or 0.0
    found: dict[str, float | None] = {
        "deliveries": result["deliveries"],
        "deliveries_per_second": result["deliveries"] / window if window else None,
        "delivered": result["deliveries"] / result["expected"] if result.get("expected") else None,
        "cpu": result["server_cpu"],
        "cpu_per_million": per_million(result["server_cpu"], result["deliveries"]),
        "closed": result["closed"],
        "gaps": result["gaps"],
        "duplicates": result["duplicates"],
        "echoes": result["echoes"],
        "frames_in": result["frames_in"],
        "generator_cpu": _generator_cpu(result),
        "late_ms": result["late_by_ms"],
    }
    found |= _times(result.get("latency_ms"))
    saved = result.get("saved_ms")
    if saved and saved.get("count"):
        found |= {"saved_p50": saved["p50"], "saved_p99": saved["p99"]}
        found["saves_per_second"] = saved["count"] / window if window else None
    seen = result.get("seen_saved_ms")
    if seen and seen.get("count"):
        found |= {"seen_saved_p50": seen["p50"], "seen_saved_p99": seen["p99"]}
    return {name: float(value) for name, value in found.items() if value is not None}


def presence_figures(result: Mapping[str, Any]) -> dict[str, float]:
    """The figures of a result with presence only: a delivery is a state that reached a connection."""
    presence = result["presence"]
    found = figures(result)
    for name in ("deliveries", "deliveries_per_second", "delivered", "cpu_per_million", "p50", "p99", "max"):
        found.pop(name, None)
    states = presence["received_states"]
    cost = per_million(result["server_cpu"], states)
    if cost is not None:
        found["cpu_per_million"] = cost
    share = _presence_share(result)
    if share is not None:
        found["delivered"] = share
    return found | {"deliveries": states} | {k: v for k, v in _times(presence["latency_ms"]).items() if v is not None}


def marks(result: Mapping[str, Any], limits: Marks) -> tuple[str, ...]:
    """The letters that a result of the generator deserves."""
    late_joiners = result["config"].get("late", 0)
    writes, shared = result.get("expected", 0) > 0, _presence_share(result)
    deserved = {
        "L": result["late_by_ms"] > limits.late_ms,
        "C": _generator_cpu(result) > limits.generator_cpu,
        "D": (writes and result["deliveries"] < limits.delivered * result["expected"])
        or (shared is not None and shared < limits.delivered),
        "X": result["closed"] > 0,
        "G": result["gaps"] > 0,
        "N": writes and not result["converged"],
        "J": writes and result["late_joiners_ok"] < late_joiners,
        "U": result["barriers_unanswered"] > 0,
        "E": bool(result.get("errors")),
    }
    return tuple(letter for letter, is_so in deserved.items() if is_so)


def _presence_share(result: Mapping[str, Any]) -> float | None:
    """Share of the presence states that reached the other connections of a room; None when none was sent."""
    expected = result["presence"]["sent"] * (result["config"].get("clients", 1) - 1)
    return result["presence"]["received_states"] / expected if expected else None


def _generator_cpu(result: Mapping[str, Any]) -> float:
    """Share of one core, over the time in which something could arrive."""
    seconds: float = result["window_seconds"] + result.get("drain_seconds", 0.0)
    return result["generator_cpu"] / seconds if seconds else 0.0


def _times(latency: Mapping[str, Any] | None) -> dict[str, float | None]:
    if not latency or not latency.get("count"):
        return {}
    return {name: latency.get(name) for name in ("p50", "p99", "max")}
