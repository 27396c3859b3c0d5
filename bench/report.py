"""The report: `RESULTS.md`, and plots, from a results file and nothing else."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from bench.outcome import MARKS
from bench.plots import draw, unavailable
from bench.results import Results
from bench.scenarios.settings import COMPILED, OTHERS, Prediction, Scenario, settings_of
from bench.tables import (
    COMPARED,
    DASH,
    MORE_IS_BETTER,
    best_other,
    compared,
    number,
    scenario_table,
    table,
    title_of,
    written,
)
from bench.verdicts import Judged, judged

SUMMARIZED: Final = ("load", "presence")
NOT_MEASURED: Final = (
    "Networks: everything runs on one machine over loopback. A real link adds its own delay to every server alike, and "
    "makes fewer, larger frames count for more.",
    "More than one node: there is nothing to compare it with here; `--targets` points the generator at running nodes.",
    "TLS and compression: off everywhere.",
    "Memory of the kernel's socket buffers: figures are those of the processes.",
    "The price of storage for the others: syncd saves every edit durably in every scenario, as it does by default; the "
    "others keep documents in memory only, except where a document is opened after a restart.",
    "A machine with more cores: on two, a server that uses several threads cannot show what it might do.",
)
METHOD: Final = (
    "An *edit* is one character typed by one writer; a *delivery* is one edit that arrived at one other connection for "
    "the first time, found by decoding what came into (client, clock) ranges, however it was batched. *CPU s per "
    "million deliveries* is what the server's processes used from the first measured edit until all of them had "
    "arrived, divided by the deliveries. Edits are typed by a schedule that waits for nobody; latency counts from the "
    "scheduled time.",
    "Each run is a fresh server in an empty folder; servers take turns and a different one begins each time. A value "
    "is the median of the runs, with the least and the greatest in brackets; *×* is the ratio to another server's "
    "median, with the range of the ratios of runs made one after the other. Wall times say something about this "
    "machine only. **–** means that there is no figure: the server took no part, nothing arrived, or there is nothing "
    "to set it in proportion to; *not measured* is a prediction about a server that took no part.",
    "The *relay* is no Yjs server: it forwards each message to everybody else, in C. It is what the kernel takes if "
    "every edit is written to every reader, not a bound for a server that writes less often.",
)


def write_report(results: Results) -> list[Path]:
    """Write the report beside the results file, and the plots unless the results are quick ones.

    Returns:
        What was written.
    """
    folder = results.path.parent
    plots: dict[str, Path] = {}
    if not results.data["quick"]:
        if (reason := unavailable()) is None:
            plots = draw(results, folder / "plots")
        else:
            sys.stderr.write(f"no plots: {reason}\n")
    path = folder / "RESULTS.md"
    path.write_text("\n".join(report(results, plots, folder)) + "\n")
    return [path, *plots.values()]


def own_servers(results: Results) -> list[str]:
    """Our own server, from source and compiled; those that have a run, the one with more scenarios first."""
    subject = results.data["subject"]
    scenarios = {
        name: {run["scenario"] for run in results.data["runs"] if run["server"] == name}
        for name in (subject, subject + COMPILED)
    }
    return sorted((name for name in scenarios if scenarios[name]), key=lambda name: -len(scenarios[name]))


def report(results: Results, plots: Mapping[str, Path], folder: Path) -> list[str]:
    """The lines of the report; `plots` are titles and files, linked relative to `folder`."""
    own = own_servers(results)
    lines = ["# syncd beside other Yjs servers", "", *_opening(results), "", "## Measured on", "", *_machine(results)]
    lines += ["", "## In short", "", *_summary(results, own), "", "## Predictions", "", *_predictions(results, own)]
    if plots:
        lines += [
            "",
            "In the plots a point is the median of the runs; the bar behind it goes from the least to the greatest.",
        ]
    for title, path in plots.items():
        lines += ["", f"![{title}]({path.relative_to(folder).as_posix()})"]
    lines += ["", "## Scenarios", "", "Letters behind a name:", ""]
    lines += [f"- **{letter}**: {meaning}" for letter, meaning in MARKS.items()]
    for scenario in results.scenarios().values():
        lines += ["", *_scenario(results, scenario, own)]
    lines += ["", "## What was not measured, and why", "", *_not_measured(results)]
    lines += ["", "## How to read this", ""]
    return lines + "\n\n".join(METHOD).split("\n")


def _opening(results: Results) -> list[str]:
    command = "python -m bench.compare --quick" if results.data["quick"] else "make compare"
    lines = [f"Generated by `{command}` from [results.json](results.json); do not edit. See [README.md](README.md)."]
    if results.data["quick"]:
        lines += ["", "**A quick run: short and single. It shows that everything works, not how fast it is.**"]
    return lines


def _machine(results: Results) -> list[str]:
    data = results.data
    runs = data["runs"]
    commits = list(dict.fromkeys(run["commit"] for run in runs if run["commit"]))
    lateness = [run["metrics"]["late_ms"] for run in runs if "late_ms" in run["metrics"]]
    shares = [run["metrics"]["generator_cpu"] for run in runs if "generator_cpu" in run["metrics"]]
    rows = [
        ["", ""],
        ["date", f"{data['started']} to {data.get('updated', data['started'])}"],
        ["commit", f"{', '.join(commits)}{' (+: with changes)' if any('+' in commit for commit in commits) else ''}"],
        ["settings", f"{data['settings']} (bench/settings.toml)"],
        *([name, value] for name, value in data["machine"].items() if value),
    ]
    if runs:
        rows.append(["load average before a run", f"up to {max(run['load'] for run in runs):.1f}"])
    if lateness and shares:
        said = f"late by at most {number(max(lateness))} ms (p99 of a run), at most {max(shares):.0%} of a core"
        rows.append(["load generator", said])
    rows += [[f"{name}", version] for name, version in sorted(data["versions"].items())]
    lines = table(rows, text=2)
    return [*lines, *(["", *_missing(data["missing"])] if data["missing"] else [])]


def _missing(missing: Mapping[str, str]) -> list[str]:
    return [f"- {name} could not be installed here: {reason}" for name, reason in sorted(missing.items())]


def _summary(results: Results, own: Sequence[str]) -> list[str]:
    """Our own server beside the best other one, then the CPU per million deliveries of all."""
    return [*_beside_best(results, own), "", *_all_costs(results)]


def _beside_best(results: Results, own: Sequence[str]) -> list[str]:
    if not own:
        return []
    rows = [["scenario", "figure", own[0], "best other", "its", "×", "p99 ms", "its"]]
    for one in results.scenarios().values():
        other, metric = best_other(results, one, own), compared(one)
        mine = results.spread(one.name, own[0], metric)
        if other is None or mine is None:
            continue
        theirs = results.spread(one.name, other, metric)
        ratio = results.ratio((one.name, own[0]), (one.name, other), metric)
        late = [results.spread(one.name, name, "p99") for name in (own[0], other)]
        worse = ratio is not None and (ratio.median < 1 if metric in MORE_IS_BETTER else ratio.median > 1)
        proportion = f"**{written(ratio)}**" if worse else written(ratio)
        cells = [written(mine), other, written(theirs), proportion, *map(written, late)]
        rows.append([one.name, _title(one, metric), *cells])
    if len(rows) == 1:
        return []
    note = (
        f"`{own[0]}` and, scenario by scenario, whichever of the others was best at the figure by which they are set in"
    )
    return [
        f"{note} proportion. *×*: its part of the other's, **bold** where ours is the worse; ↑: more is better.",
        "",
        *table(rows, 2),
    ]


def _title(scenario: Scenario, metric: str) -> str:
    return f"{title_of(scenario.kind, metric)}{' ↑' if metric in MORE_IS_BETTER else ''}"


def _all_costs(results: Results) -> list[str]:
    scenarios = [one for one in results.scenarios().values() if one.kind in SUMMARIZED]
    names = list(dict.fromkeys(name for one in scenarios for name in results.servers(one.name)))
    if not names:
        return ["Nothing was measured under load."]
    rows = [["CPU s per million deliveries, or states", *names]]
    for one in scenarios:
        spreads = [results.spread(one.name, name, COMPARED[one.kind]) for name in names]
        rows.append([one.name, *(DASH if spread is None else number(spread.median) for spread in spreads)])
    return table(rows)


def _predictions(results: Results, own: Sequence[str]) -> list[str]:
    by_server = {name: list(judged(results, name)) for name in own}
    if not by_server:
        return ["Our own server was not measured."]
    lines: list[str] = []
    first, *_ = by_server.values()
    count = {verdict: sum(one.verdict == verdict for one in first) for verdict in ("confirmed", "refuted")}
    lines.append(
        f"Written before measuring, judged by medians of `{own[0]}`: {count['confirmed']} confirmed, "
        f"{count['refuted']} refuted. *(close)*: single runs say otherwise."
    )
    if refuted := [one.scenario for one in first if one.verdict == "refuted"]:
        lines += ["", f"Refuted: {', '.join(f'{name}' for name in dict.fromkeys(refuted))}."]
    rows = [["scenario", "predicted", "because", *(f"{name}" for name in own)]]
    for position, one in enumerate(first):
        verdicts = [_verdict(by_server[name][position]) for name in own]
        kind = results.data["scenarios"][one.scenario]["kind"]
        rows.append([one.scenario, bound(one.prediction, kind), one.prediction.text, *verdicts])
    return [*lines, "", *table(rows, text=len(rows[0]))]


def bound(prediction: Prediction, kind: str = "load") -> str:
    """A prediction in symbols, with the figure called as in the tables of the scenario's kind."""
    sign, value = ("≤", prediction.at_most) if prediction.at_most is not None else ("≥", prediction.at_least)
    assert value is not None
    title = title_of(kind, prediction.metric)
    if prediction.of is None:
        return f"{title} {sign} {number(value)}"
    place = f" in {prediction.scenario}" if prediction.scenario else ""
    return f"{title} {sign} {value:g} × {prediction.of}{place}"


def _verdict(one: Judged) -> str:
    if one.measured is None:
        return "not measured"
    word = f"**{one.verdict}**" if one.verdict == "refuted" else one.verdict
    return f"{word}: {written(one.measured)}{' *(close)*' if one.close else ''}"


def _scenario(results: Results, scenario: Scenario, own: Sequence[str]) -> list[str]:
    lines = [f"### {scenario.name}", "", scenario.question, "", f"`{_parameters(results, scenario)}`", ""]
    lines += scenario_table(results, scenario, own)
    notes = [*_proportion(results, scenario, own), *_predicted(results, scenario, own), *_notes(results, scenario)]
    return [*lines, "", *notes] if notes else lines


def _proportion(results: Results, scenario: Scenario, own: Sequence[str]) -> list[str]:
    """Of which figure the ratios are."""
    if len(results.servers(scenario.name)) < 2:
        return []
    other, metric = best_other(results, scenario, own), compared(scenario)
    better = "more" if metric in MORE_IS_BETTER else "less"
    best = f"; best other: {other}" if other else ""
    return [f"- × is the ratio of *{title_of(scenario.kind, metric)}*, {better} is better{best}"]


def _predicted(results: Results, scenario: Scenario, own: Sequence[str]) -> list[str]:
    return [
        f"- predicted of {name}: {bound(one.prediction, scenario.kind)}: {_verdict(one)}"
        for name in own[:1]
        for one in judged(results, name)
        if one.scenario == scenario.name
    ]


def _parameters(results: Results, scenario: Scenario) -> str:
    values: dict[str, Any] = dict(scenario.options)
    if scenario.kind in ("load", "presence", "ramp"):
        values = {**scenario.load, **values}
    values["runs"] = max(len(results.runs(scenario.name, server)) for server in results.servers(scenario.name))
    return ", ".join(f"{name} = {value}" for name, value in values.items())


def _notes(results: Results, scenario: Scenario) -> list[str]:
    found: dict[str, list[str]] = {}
    for server in results.servers(scenario.name):
        for run in results.runs(scenario.name, server):
            found.setdefault(server, []).extend(run["notes"])
    lines = [f"- {server}: {note}" for server, notes in found.items() for note in dict.fromkeys(notes)]
    lines += [f"- {server}: no figures: {reason}" for server, reason in results.failures(scenario.name).items()]
    lines += [f"- {_absent(server)}: {reason}" for server, reason in scenario.without.items()]
    lines += [
        f"- {server} ran with {', '.join(f'{name}={value}' for name, value in values.items())}"
        for server in results.servers(scenario.name)
        if (values := settings_of(scenario, server))
    ]
    return lines


def _absent(server: str) -> str:
    return "no others take part" if server == OTHERS else f"{server} takes no part"


def _not_measured(results: Results) -> list[str]:
    lines = [f"- {text}" for text in NOT_MEASURED]
    if unmeasured := results.unmeasured():
        lines.append(f"- Scenarios without a run in this file: {', '.join(unmeasured)}.")
    for name, scenario in results.scenarios().items():
        absent = [s for s in scenario.servers if s not in results.servers(name) and s not in results.data["missing"]]
        absent = [server for server in absent if server not in results.failures(name)]
        if absent:
            lines.append(f"- {name}: {', '.join(absent)} not run.")
    everybody = dict.fromkeys(server for one in results.data["scenarios"].values() for server in one["servers"])
    for name, scenario in results.scenarios().items():
        known = {*scenario.servers, *scenario.without, *own_servers(results), *results.data["missing"]}
        spared = [server for server in everybody if server not in known]
        if spared and OTHERS not in scenario.without:
            lines.append(f"- {name}: without {', '.join(spared)}, to save time.")
    return [*lines, *_missing(results.data["missing"])]
