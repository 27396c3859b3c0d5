"""Checks the load generator against real clients: the same workload, the same server, what each of them counts.

    python -m bench.verify [SERVER ...] [--clients 20] [--writers 10] [--rate 10] [--seconds 10] [--runs 3]

bench/load speaks the protocol itself, which makes it fast and leaves room for doubt. Here the clients of y-websocket
and Hocuspocus type by the same schedule. Both must see every edit arrive everywhere, and a delivery must cost the
server the same CPU time whoever asked for it. Exits 1 when the counts differ, or when one of them did not converge;
a difference in cost is only told, because other work on the machine makes one as well.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from bench.servers import catalogue, install
from bench.servers.api import Server, Unavailable
from bench.servers.process import ROOT

GENERATOR: Final = ROOT / "build/bench/load"
CLIENTS: Final = "real-clients"
TOLERANCE: Final = 0.15  # of CPU per delivery


@dataclass(frozen=True)
class Outcome:
    """What a generator counted in the measured window; times in milliseconds, CPU in seconds."""

    sent: int
    expected: int
    deliveries: int
    converged: bool
    presence: int
    p50: float
    p99: float
    server_cpu: float
    generator_cpu: float
    late: float

    @classmethod
    def of(cls, result: Mapping[str, Any], server_cpu: float) -> Outcome:
        """Read the JSON of either generator."""
        latency = result["latency_ms"]
        counts = (result["sent"], result["expected"], result["deliveries"], result["converged"])
        presence = (result.get("presence") or {}).get("received_states", 0)
        spent = (server_cpu, result["generator_cpu"], result["late_by_ms"])
        return cls(*counts, presence, latency["p50"], latency["p99"], *spent)

    @property
    def cost(self) -> float:
        """Server CPU in microseconds per edit or presence state delivered."""
        return 1e6 * self.server_cpu / max(self.deliveries + self.presence, 1)


def differences(load: Outcome, real: Outcome) -> list[str]:
    """What the two do not agree on, as sentences; empty when the generator can be believed."""
    found = [
        f"{what}: {of_load} by the load generator, {of_real} by real clients"
        for what, of_load, of_real in (("sent", load.sent, real.sent), ("deliveries", load.deliveries, real.deliveries))
        if of_load != of_real
    ]
    for who, outcome in (("the load generator", load), ("real clients", real)):
        if outcome.deliveries != outcome.expected or outcome.sent == 0:
            found.append(f"{who}: {outcome.deliveries} deliveries of {outcome.expected} expected")
        if not outcome.converged:
            found.append(f"{who}: the clients did not converge")
    return found


def costs(pairs: Sequence[tuple[Outcome, Outcome]]) -> str:
    """One sentence about what a delivery cost the server in either, medians of the runs compared."""
    of_load, of_real = (median(outcome.cost for outcome in outcomes) for outcomes in zip(*pairs, strict=True))
    apart = f", more than {TOLERANCE:.0%} apart" if abs(of_load - of_real) > TOLERANCE * max(of_load, of_real) else ""
    return f"CPU per delivery: {of_load:.1f} µs, with real clients {of_real:.1f} µs{apart}"


def _config(server: Server, workload: Mapping[str, object], folder: Path) -> Path:
    file = folder / "config.json"
    of_server = {"target": [server.address], "path": server.path, "protocol": server.protocol}
    file.write_text(json.dumps({**of_server, **workload}))
    return file


def run_load(server: Server, workload: Mapping[str, object], folder: Path) -> Outcome:
    """Run the load generator against a server that has just been started.

    Raises:
        RuntimeError: when it fails.
    """
    config = _config(server, {**workload, "pids": server.pids(), "late": 0}, folder)
    with (folder / "load.log").open("wb") as log:
        done = subprocess.run([GENERATOR, config], stdout=subprocess.PIPE, stderr=log, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the load generator failed:\n{(folder / 'load.log').read_text(errors='replace')}")
    result = json.loads(done.stdout)
    return Outcome.of(result, result["server_cpu"])


def run_real(server: Server, workload: Mapping[str, object], folder: Path) -> Outcome:
    """Run real clients against a server that has just been started.

    Raises:
        RuntimeError: when they fail.
    """
    script = install.folder_of(CLIENTS) / "real_clients.mjs"
    command: list[str | Path] = ["node", script, _config(server, workload, folder)]
    before = 0.0
    with (
        (folder / "clients.log").open("wb") as log,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            now = server.cpu()
            message = json.loads(line)
            if message["event"] == "result":
                return Outcome.of(message, now - before)
            before = now
    raise RuntimeError(f"the real clients failed:\n{(folder / 'clients.log').read_text(errors='replace')}")


def measure(name: str, workload: Mapping[str, object], persistent: bool) -> tuple[Outcome, Outcome]:
    """Both generators, each against a fresh server of that name.

    Raises:
        Unavailable: when the server is not installed.
        RuntimeError: when the server or a generator fails.
    """
    outcomes = []
    for run in (run_load, run_real):
        with tempfile.TemporaryDirectory() as folder, catalogue.make(name, persistent=persistent) as server:
            server.start(Path(folder))
            server.prepare([str(workload["room"])])
            outcomes.append(run(server, workload, Path(folder)))
    return outcomes[0], outcomes[1]


def table(load: Outcome, real: Outcome) -> str:
    """The two side by side."""
    rows: Sequence[tuple[str, float, float, str]] = (
        ("edits sent", load.sent, real.sent, "d"),
        ("deliveries expected", load.expected, real.expected, "d"),
        ("deliveries", load.deliveries, real.deliveries, "d"),
        ("presence states", load.presence, real.presence, "d"),
        ("latency p50, ms", load.p50, real.p50, ".2f"),
        ("latency p99, ms", load.p99, real.p99, ".2f"),
        ("server CPU, s", load.server_cpu, real.server_cpu, ".3f"),
        ("CPU per delivery, µs", load.cost, real.cost, ".2f"),
        ("generator CPU, s", load.generator_cpu, real.generator_cpu, ".3f"),
        ("sent late p99, ms", load.late, real.late, ".2f"),
    )
    lines = [f"{'':24}{'load':>12}{'real':>12}"]
    lines += [f"{name:24}{of_load:>12{form}}{of_real:>12{form}}" for name, of_load, of_real, form in rows]
    return "\n".join(lines)


def check(name: str, workload: Mapping[str, object], persistent: bool, runs: int) -> bool:
    """Measure one server, run by run, and print it; whether the counts agree in all runs."""
    pairs = []
    agree = True
    for number in range(1, runs + 1):
        load, real = measure(name, workload, persistent)
        found = differences(load, real)
        sys.stdout.write(f"{name}, run {number}\n{table(load, real)}\n")
        sys.stdout.writelines(f"DIFFERENT: {sentence}\n" for sentence in found)
        sys.stdout.flush()
        pairs.append((load, real))
        agree = agree and not found
    sys.stdout.write(f"{name}: {'the counts agree' if agree else 'the counts DIFFER'}. {costs(pairs)}\n\n")
    sys.stdout.flush()
    return agree


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("servers", nargs="*", default=["syncd"], metavar="SERVER", help=", ".join(catalogue.ENTRIES))
    parser.add_argument("--clients", type=int, default=20)
    parser.add_argument("--writers", type=int, default=10)
    parser.add_argument("--rate", type=float, default=10.0, help="edits a second of each writer")
    parser.add_argument("--presence-rate", type=float, default=0.0, help="presence states a second of each client")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--persistent", action="store_true")
    return parser.parse_args()


def main() -> int:
    """Check the servers named on the command line; the exit code."""
    arguments = _arguments()
    workload = {
        "room": "bench",
        "clients": arguments.clients,
        "writers": arguments.writers,
        "rate": arguments.rate,
        "presence_rate": arguments.presence_rate,
        "warmup": 2.0,
        "duration": arguments.seconds,
        "drain": 5.0,
    }
    try:
        install.npm(CLIENTS)
        install.make("load", "bench-tools", GENERATOR)
        agree = [check(name, workload, arguments.persistent, arguments.runs) for name in arguments.servers]
    except (Unavailable, RuntimeError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0 if all(agree) else 1


if __name__ == "__main__":
    sys.exit(main())
