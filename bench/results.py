"""The results of a comparison as a file: written after every single run, so that an interrupted one can go on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any, Final, Self

from bench.outcome import Outcome
from bench.scenarios.settings import Prediction, Scenario, Settings

FORMAT: Final = 1


class ResultsError(ValueError):
    """The file is of another format or was measured with other settings."""


@dataclass(frozen=True, slots=True)
class Spread:
    """Median, least and greatest of several runs."""

    median: float
    low: float
    high: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """The spread of at least one value."""
        return cls(median(values), min(values), max(values), len(values))


class Results:
    """What was measured so far. `data` is what stands in the file."""

    def __init__(self, path: Path, data: dict[str, Any]) -> None:
        self.path = path
        self.data = data

    @classmethod
    def new(cls, path: Path, settings: Settings, machine: Mapping[str, str]) -> Self:
        """Empty results, with everything the report needs to know about the settings."""
        return cls(
            path,
            {
                "format": FORMAT,
                "started": _now(),
                "quick": settings.quick,
                "settings": settings.digest,
                "subject": settings.subject,
                "marks": asdict(settings.marks),
                "machine": dict(machine),
                "versions": {},
                "missing": {},
                "scenarios": {name: asdict(scenario) for name, scenario in settings.scenarios.items()},
                "runs": [],
                "failures": [],
            },
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        """Results from a file.

        Raises:
            ResultsError: when it is no results file of this format.
        """
        data = json.loads(path.read_text())
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ResultsError(f"{path} is not of format {FORMAT}")
        return cls(path, data)

    def save(self) -> None:
        """Write the file, whole or not at all."""
        self.data["updated"] = _now()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.data, indent=1) + "\n")
        os.replace(partial, self.path)

    def add(self, scenario: str, server: str, run: int, outcome: Outcome, commit: str, load: float) -> None:
        """One more run; `load` is the machine's load average before it."""
        self._forget_failure(scenario, server, run)
        self.data["runs"].append(
            {"scenario": scenario, "server": server, "run": run, "at": _now(), "commit": commit, "load": round(load, 2)}
            | asdict(outcome)
        )

    def fail(self, scenario: str, server: str, run: int, reason: str) -> None:
        """A run that brought no figures, and why."""
        self._forget_failure(scenario, server, run)
        self.data["failures"].append({"scenario": scenario, "server": server, "run": run, "reason": reason})

    def has(self, scenario: str, server: str, run: int) -> bool:
        """Whether that run brought figures."""
        return any((r["scenario"], r["server"], r["run"]) == (scenario, server, run) for r in self.data["runs"])

    def _forget_failure(self, *run: object) -> None:
        kept = [f for f in self.data["failures"] if (f["scenario"], f["server"], f["run"]) != run]
        self.data["failures"] = kept

    def scenarios(self) -> dict[str, Scenario]:
        """The scenarios as they were when this was measured, those without a run left out."""
        measured = {run["scenario"] for run in self.data["runs"]}
        return {name: _scenario(given) for name, given in self.data["scenarios"].items() if name in measured}

    def unmeasured(self) -> list[str]:
        """Scenarios without a run."""
        return [name for name in self.data["scenarios"] if name not in self.scenarios()]

    def runs(self, scenario: str, server: str) -> list[dict[str, Any]]:
        """The runs of one server in one scenario, in their order."""
        found = [run for run in self.data["runs"] if run["scenario"] == scenario and run["server"] == server]
        return sorted(found, key=lambda run: int(run["run"]))

    def servers(self, scenario: str) -> list[str]:
        """Servers that have a run in the scenario, in the order of the settings; others behind."""
        wanted = list(self.data["scenarios"][scenario]["servers"])
        measured = {run["server"] for run in self.data["runs"] if run["scenario"] == scenario}
        return [name for name in wanted if name in measured] + sorted(measured - set(wanted))

    def failures(self, scenario: str) -> dict[str, str]:
        """Server -> why its last failed run in the scenario brought nothing."""
        return {f["server"]: f["reason"] for f in self.data["failures"] if f["scenario"] == scenario}

    def values(self, scenario: str, server: str, metric: str) -> dict[int, float]:
        """Run -> value of a figure, for the runs that have it."""
        runs = self.runs(scenario, server)
        return {run["run"]: float(run["metrics"][metric]) for run in runs if metric in run["metrics"]}

    def spread(self, scenario: str, server: str, metric: str) -> Spread | None:
        """Median and range of a figure, None when no run has it."""
        values = self.values(scenario, server, metric)
        return Spread.of(list(values.values())) if values else None

    def ratio(self, numerator: tuple[str, str], denominator: tuple[str, str], metric: str) -> Spread | None:
        """A figure of one (scenario, server) over that of another: of the medians, with the range over paired runs.

        The runs with the same number were made one after the other, so what the machine did meanwhile cancels out.
        """
        above, below = self.values(*numerator, metric), self.values(*denominator, metric)
        pairs = [above[run] / below[run] for run in above.keys() & below.keys() if below[run]]
        if not above or not below or not median(below.values()):
            return None
        ratio = median(above.values()) / median(below.values())
        return Spread(ratio, min(pairs, default=ratio), max(pairs, default=ratio), len(pairs))


def _scenario(given: Mapping[str, Any]) -> Scenario:
    predictions = tuple(Prediction(**entry) for entry in given["predictions"])
    return Scenario(**{**given, "servers": tuple(given["servers"]), "predictions": predictions})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
