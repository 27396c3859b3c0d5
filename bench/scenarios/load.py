"""Scenarios in which people type or move their cursor at a given rate, and the ramp that raises it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from bench.outcome import Outcome, figures, marks, per_million, presence_figures
from bench.scenarios import generator
from bench.scenarios.context import Context, quiet, rooms_of

RELAY: Final = "relay"
BUSY: Final = 0.9
"""Share of a core above which a server, not the generator, is what could do no more."""
LEFT_OUT: Final = frozenset({"config", "server_cpu_by_pid", "errors"})


def run_load(context: Context) -> Outcome:
    """Typing."""
    result = _measure(context)
    return _outcome(context, result, figures(result))


def run_presence(context: Context) -> Outcome:
    """Cursors only."""
    result = _measure(context)
    return _outcome(context, result, presence_figures(result))


def _measure(context: Context) -> dict[str, Any]:
    context.start(rooms_of(context.scenario.load, context.room))
    load = {**context.scenario.load, "room": context.room}
    if context.server.name == RELAY:
        load["late"] = 0  # it keeps nothing for those who come later
    return generator.run(generator.configuration(context.server, context.targets(), load), context.folder)


def _outcome(context: Context, result: Mapping[str, Any], found: dict[str, float]) -> Outcome:
    return Outcome(
        metrics=found | {"memory": context.server.memory()},
        marks=marks(result, context.marks),
        notes=tuple(result.get("errors", ()))[:3],
        raw={name: value for name, value in result.items() if name not in LEFT_OUT},
    )


def run_ramp(context: Context) -> Outcome:
    """The same room, each time with a higher rate, until the server does not keep up; a little further than that.

    Each step is a room of its own on the same server, after it has come to rest: a step does not inherit the queue of
    the one before.
    """
    rooms = [f"{context.room}-{step}" for step in range(int(context.option("steps")))]
    context.start(tuple(rooms))
    steps: list[dict[str, Any]] = []
    letters: set[str] = set()
    beyond = int(context.option("beyond"))
    for number, room in enumerate(rooms):
        rate = float(context.option("rate")) * float(context.option("step")) ** number
        load = {**context.scenario.load, "room": room, "rate": rate}
        result = generator.run(generator.configuration(context.server, context.targets(), load), context.folder)
        steps.append(_step(context, rate, result))
        letters.update(steps[-1]["marks"] if steps[-1]["sustained"] else ())
        if sum(not step["sustained"] for step in steps) > beyond:
            break
        quiet(context.server, 15.0)
    return _ramp_outcome(context, steps, letters)


def _step(context: Context, rate: float, result: Mapping[str, Any]) -> dict[str, Any]:
    found = figures(result)
    window = float(result["window_seconds"])
    return {
        "rate": rate,
        "offered": result["expected"] / window,
        "delivered": found.get("deliveries_per_second", 0.0),
        "p50": found.get("p50"),
        "p99": found.get("p99"),
        "cpu": float(result["server_cpu"]) / (window + float(result["drain_seconds"])),
        "cpu_per_million": per_million(result["server_cpu"], result["deliveries"]),
        "closed": result["closed"],
        "marks": list(marks(result, context.marks)),
        "sustained": found.get("delivered", 0.0) >= context.marks.delivered
        and found.get("p99", float("inf")) < float(context.option("sustained_p99_ms")),
    }


def _ramp_outcome(context: Context, steps: list[dict[str, Any]], letters: set[str]) -> Outcome:
    sustained = [step for step in steps if step["sustained"]]
    beyond = [step for step in steps if not step["sustained"]]
    found = {
        "sustained": 0.0,
        "closed": float(sum(step["closed"] for step in steps)),
        "memory": context.server.memory(),
    }
    notes = []
    if sustained:
        best = max(sustained, key=lambda step: float(step["delivered"]))
        found |= {"sustained": best["delivered"], "cpu_per_million": best["cpu_per_million"], "p99": best["p99"]}
    if beyond:
        if beyond[-1]["p99"] is not None:
            found["beyond_p99"] = beyond[-1]["p99"]
        if {"C", "L"} & set(beyond[0]["marks"]) and beyond[0]["cpu"] < BUSY:
            letters.add("C")
            notes.append("the generator was at its own limit where this ended: the server may sustain more")
    else:
        notes.append("sustained to the last step: the server may sustain more")
    return Outcome(found, tuple(sorted(letters)), tuple(notes), {"steps": steps})
