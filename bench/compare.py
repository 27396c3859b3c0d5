"""syncd beside other Yjs servers: `python -m bench.compare [--quick] [--servers a,b] [--scenarios x,y] [--runs 3]`.

Every run is a fresh server in a fresh folder. The servers take turns: within a run they follow one another in each
scenario, and who begins moves on from run to run. What has been measured is saved after each run; `--continue` goes on
where an interrupted comparison stopped. The report is written at the end, or alone with `--report`.

`--targets host:port,host:port` measures nodes that run already, as a server called `targets`, with the scenarios that
need no restart; their CPU is known only if they run on this machine and `--pids` says which they are.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from bench.machine import commit, load_average, machine
from bench.outcome import Outcome
from bench.report import write_report
from bench.results import Results, ResultsError
from bench.scenarios import idle, load, opening
from bench.scenarios.context import Context
from bench.scenarios.running import NAME as TARGETS
from bench.scenarios.running import Running
from bench.scenarios.settings import Scenario, Settings, load_settings, settings_of
from bench.servers import catalogue
from bench.servers.api import Server, Unavailable

ROOT: Final = Path(__file__).parents[1]
FULL: Final = ROOT / "bench" / "results.json"
QUICK: Final = ROOT / "build" / "bench" / "quick" / "results.json"
PARTIAL: Final = ROOT / "build" / "bench" / "partial" / "results.json"
KINDS: Final[Mapping[str, Callable[[Context], Outcome]]] = {
    "load": load.run_load,
    "presence": load.run_presence,
    "ramp": load.run_ramp,
    "idle": idle.run_idle,
    "rooms": idle.run_rooms,
    "open": opening.run_open,
    "join": opening.run_join,
}
SHOWN: Final = (
    *("delivered", "cpu_per_million", "p50", "p99", "saved_p99", "sustained", "connect_cpu", "memory_per_connection"),
    "memory_per_room",
    *("warm_cpu", "pending_cpu", "catchup_cpu", "cold_cpu", "join_cpu", "probe_max"),
)
"""Figures of a line of progress."""


class Comparison:
    """One comparison in progress."""

    def __init__(self, settings: Settings, results: Results, running: Running | None) -> None:
        self._settings = settings
        self._results = results
        self._running = running

    def install(self, servers: Sequence[str]) -> None:
        """Install servers; those that cannot be had go into the results with the reason."""
        names = [name for name in servers if name != TARGETS]
        self._results.data["missing"] = catalogue.install(names)

    def measure(self, jobs: Sequence[tuple[int, Scenario, str]]) -> None:
        """Make the runs that the results do not have yet."""
        missing = self._results.data["missing"]
        for number, (run, scenario, name) in enumerate(jobs, 1):
            if name in missing or self._results.has(scenario.name, name, run):
                continue
            began = time.monotonic()
            _say(f"[{number}/{len(jobs)}] run {run + 1}  {scenario.name}  {name}", end="")
            said = self._measure_one(run, scenario, name)
            self._results.save()
            _say(f"  {said}  ({time.monotonic() - began:.1f} s)")
            time.sleep(self._settings.pause)

    def _measure_one(self, run: int, scenario: Scenario, name: str) -> str:
        before = load_average()
        try:
            server = self._make(scenario, name)
            outcome = self._run(scenario, server)
        except (RuntimeError, OSError, Unavailable, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            self._results.fail(scenario.name, name, run, reason.strip().splitlines()[-1][:300])
            return f"failed: {reason}"
        self._results.data["versions"][name] = server.version
        self._results.add(scenario.name, name, run, outcome, commit(), before)
        return _summary(outcome)

    def _make(self, scenario: Scenario, name: str) -> Server:
        if name == TARGETS and self._running is not None:
            return self._running
        return catalogue.make(name, persistent=scenario.kind == "open", settings=settings_of(scenario, name))

    def _run(self, scenario: Scenario, server: Server) -> Outcome:
        addresses = self._running.addresses if self._running is not None and server is self._running else ()
        (ROOT / "build" / "bench").mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="run-", dir=ROOT / "build" / "bench") as folder, server:
            # Nodes that run already remember the rooms of the runs before.
            room = f"bench-{time.time_ns():x}" if addresses else "bench"
            context = Context(server, scenario, self._settings.marks, Path(folder), addresses, room)
            outcome = KINDS[scenario.kind](context)
            server.stop(signal.SIGKILL)  # nothing of it is needed any more, and some take seconds to end in order
            return outcome


def jobs(
    settings: Settings, scenarios: Sequence[str], servers: Sequence[str], runs: int
) -> Iterator[tuple[int, Scenario, str]]:
    """All (run, scenario, server) in the order in which they are made: the server that begins moves on.

    Args:
        scenarios: names; all if empty.
        servers: names; those of each scenario if empty. A server that a scenario does not name is left out of it,
            except for running nodes, which were asked for explicitly.
    """
    for run in range(runs):
        for position, scenario in enumerate(settings.scenarios.values()):
            if (scenarios and scenario.name not in scenarios) or (scenario.runs is not None and run >= scenario.runs):
                continue
            names = [name for name in servers if name in (*scenario.servers, TARGETS)] if servers else scenario.servers
            for turn in range(len(names)):
                yield run, scenario, names[(turn + run + position) % len(names)]


def _summary(outcome: Outcome) -> str:
    figures = [f"{name}={outcome.metrics[name]:.4g}" for name in SHOWN if name in outcome.metrics]
    return " ".join([*figures, *(["marks=" + "".join(outcome.marks)] if outcome.marks else []), *outcome.notes])


def _say(text: str, end: str = "\n") -> None:
    sys.stderr.write(text + end)
    sys.stderr.flush()


def _names(text: str) -> list[str]:
    return [name for name in text.split(",") if name]


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--servers", type=_names, default=[], help="names, comma separated; default: all")
    parser.add_argument("--scenarios", type=_names, default=[], help="names, comma separated; default: all")
    parser.add_argument("--runs", type=int, help="default: as settings.toml says")
    parser.add_argument("--quick", action="store_true", help="short, one run, no plots; into build/bench/quick")
    parser.add_argument("--json", type=Path, metavar="FILE", help="results file; the report is written beside it")
    parser.add_argument("--continue", action="store_true", dest="resume", help="go on where the results file ends")
    parser.add_argument("--report", action="store_true", help="write the report of the results file, measure nothing")
    parser.add_argument("--targets", type=_names, default=[], help="host:port of nodes that run already")
    parser.add_argument("--pids", type=_names, default=[], help="process ids of those nodes, for their CPU")
    parser.add_argument("--path", default="/ws/{room}", help="websocket path on those nodes")
    return parser.parse_args(arguments)


def _results_path(options: argparse.Namespace) -> Path:
    if options.json is not None:
        path: Path = options.json
        return path
    if options.quick:
        return QUICK
    # A part of the comparison does not take the place of the whole.
    return PARTIAL if options.servers or options.scenarios or options.targets else FULL


def _check_names(options: argparse.Namespace, settings: Settings) -> None:
    unknown = [name for name in options.scenarios if name not in settings.scenarios]
    unknown += [name for name in options.servers if name not in catalogue.NAMES]
    if unknown:
        raise SystemExit(f"there is no {', '.join(unknown)}; scenarios: {', '.join(settings.scenarios)}")


def _open_results(options: argparse.Namespace, settings: Settings, path: Path) -> Results:
    if not options.resume or not path.exists():
        return Results.new(path, settings, machine())
    results = Results.read(path)
    if results.data["settings"] != settings.digest:
        raise ResultsError(f"{path} was measured with other settings; begin anew")
    return results


def main(arguments: Sequence[str] | None = None) -> int:
    """Command line."""
    options = _arguments(arguments)
    path = _results_path(options)
    if options.report:
        write_report(Results.read(path))
        return 0
    settings = load_settings(quick=options.quick)
    _check_names(options, settings)
    running = Running(options.targets, options.path, options.pids) if options.targets else None
    servers = [TARGETS, *options.servers] if running else options.servers
    results = _open_results(options, settings, path)
    wanted = list(jobs(settings, options.scenarios, servers, options.runs or settings.runs))
    comparison = Comparison(settings, results, running)
    comparison.install(list(dict.fromkeys(name for _, _, name in wanted)))
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server in progress is ended, too
    interrupted = False
    try:
        comparison.measure(wanted)
    except KeyboardInterrupt:
        interrupted = True
        _say("\ninterrupted; --continue goes on here")
    results.save()
    for file in write_report(results):
        _say(f"written: {file}")
    return 1 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
