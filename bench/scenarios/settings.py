"""bench/settings.toml as values."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

DEFAULT: Final = Path(__file__).parents[1] / "settings.toml"
KINDS: Final = ("load", "presence", "idle", "rooms", "open", "join", "ramp")
COMPILED: Final = "-compiled"
"""What the name of our own server ends in when it runs as machine code."""
OTHERS: Final = "others"
"""In `without`: every server that is not named."""
KNOWN: Final = frozenset({"kind", "question", "servers", "without", "runs", "load", "settings", "predict", "quick"})


class SettingsError(ValueError):
    """The file cannot be used; the message says where and why."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What is expected of our own server in one scenario, before measuring.

    Attributes:
        text: the reason for it.
        metric: name of the figure (see `bench.figures`).
        at_most, at_least: the bound; one of them is None. A factor if `of` is set, else in the figure's unit.
        of: server whose figure is multiplied by the bound; None for an absolute bound.
        scenario: scenario of that figure; None for the prediction's own.
    """

    text: str
    metric: str
    at_most: float | None = None
    at_least: float | None = None
    of: str | None = None
    scenario: str | None = None


@dataclass(frozen=True, slots=True)
class Scenario:
    """One row of the comparison.

    Attributes:
        kind: which module runs it.
        load: the generator's configuration, defaults included.
        options: the values that only this kind knows.
        settings: server -> environment variables for it.
        without: server, or `OTHERS` -> why it takes no part.
        runs: so many are enough; None for as many as are asked for.
    """

    name: str
    kind: str
    question: str
    servers: tuple[str, ...]
    load: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    predictions: tuple[Prediction, ...] = ()
    without: Mapping[str, str] = field(default_factory=dict)
    runs: int | None = None


def settings_of(scenario: Scenario, server: str) -> Mapping[str, str]:
    """The variables a server runs with in a scenario: its own, or those of the uncompiled one."""
    return scenario.settings.get(server, scenario.settings.get(server.removesuffix(COMPILED), {}))


@dataclass(frozen=True, slots=True)
class Marks:
    """Beyond which a run is marked: see settings.toml."""

    late_ms: float
    generator_cpu: float
    delivered: float


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file. `digest` identifies its content and whether `quick` was applied."""

    runs: int
    pause: float
    subject: str
    marks: Marks
    scenarios: Mapping[str, Scenario]
    digest: str
    quick: bool


def load_settings(path: Path = DEFAULT, *, quick: bool = False) -> Settings:
    """Read the file.

    Args:
        quick: apply what `[quick]` and the scenarios' own `quick` say.

    Raises:
        SettingsError: when it is not TOML, lacks something, or a scenario has an unknown kind.
    """
    content = path.read_bytes()
    try:
        data = tomllib.loads(content.decode())
        run = data["run"]
        scenarios = {name: _scenario(name, given, data, quick) for name, given in data["scenario"].items()}
        return Settings(
            runs=data["quick"]["runs"] if quick else run["runs"],
            pause=float(run["pause"]),
            subject=run["subject"],
            marks=Marks(**data["marks"]),
            scenarios=scenarios,
            digest=hashlib.sha256(content + (b"quick" if quick else b"")).hexdigest()[:12],
            quick=quick,
        )
    except tomllib.TOMLDecodeError as error:
        raise SettingsError(f"{path}: {error}") from error
    except KeyError as error:
        raise SettingsError(f"{path}: {error} is missing") from error
    except TypeError as error:
        raise SettingsError(f"{path}: {error}") from error


def _scenario(name: str, given: Mapping[str, Any], data: Mapping[str, Any], quick: bool) -> Scenario:
    if given["kind"] not in KINDS:
        raise SettingsError(f"scenario {name}: there is no kind {given['kind']!r}")
    load = {**data["load"], **given.get("load", {})}
    options = {key: value for key, value in given.items() if key not in KNOWN}
    if quick:
        own = given.get("quick", {})
        load |= {key: min(load[key], data["quick"][key]) for key in ("duration", "warmup")} | own.get("load", {})
        options |= {key: value for key, value in own.items() if key != "load"}
    return Scenario(
        name=name,
        kind=given["kind"],
        question=given["question"],
        servers=tuple(given.get("servers", data["run"]["servers"])),
        load=load,
        options=options,
        settings=given.get("settings", {}),
        predictions=tuple(_prediction(name, entry) for entry in given.get("predict", ())),
        without=given.get("without", {}),
        runs=given.get("runs"),
    )


def _prediction(scenario: str, given: Mapping[str, Any]) -> Prediction:
    values = dict(given)
    if ("at_most" in values) == ("at_least" in values):
        raise SettingsError(f"scenario {scenario}: a prediction has either at_most or at_least")
    if "in" in values:
        values["scenario"] = values.pop("in")
    return Prediction(**values)
