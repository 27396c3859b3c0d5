"""The load generator (bench/load, build/bench/load) as a child process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.servers.api import Server

PROGRAM: Final = Path(__file__).parents[2] / "build" / "bench" / "load"
PATIENCE: Final = 90.0
"""Seconds beyond its own plan after which a generator is taken for stuck: connecting may take long."""


class GeneratorError(RuntimeError):
    """The generator failed; the message has the end of what it said."""


def configuration(server: Server, addresses: Sequence[str], load: Mapping[str, Any]) -> dict[str, Any]:
    """The generator's configuration for a running server."""
    return {
        "target": list(addresses),
        "path": server.path,
        "protocol": server.protocol,
        "pids": server.pids(),
        **load,
    }


def run(config: Mapping[str, Any], folder: Path, niceness: int = 0) -> dict[str, Any]:
    """Run to the end, with a lower priority if `niceness` is above 0, and return the result.

    Raises:
        GeneratorError: when it fails, says no result or does not come to an end.
    """
    plan = sum(float(config.get(name, 0)) for name in ("warmup", "duration", "drain"))
    with _started(config, folder, niceness) as (process, log):
        try:
            out, _ = process.communicate(timeout=plan + PATIENCE)
        except subprocess.TimeoutExpired:
            raise GeneratorError(f"the generator was not done after {plan + PATIENCE:.0f} s") from None
        return _result(process, out, log)


@dataclass(frozen=True, slots=True)
class Held:
    """Connections that stay open: what the generator said once they were there."""

    connected: int
    seconds: float
    cpu: float


@contextmanager
def held(config: Mapping[str, Any], folder: Path) -> Iterator[Held]:
    """Open idle connections, and close them on leaving.

    Raises:
        GeneratorError: when it fails before they are open.
    """
    with _started({**config, "idle_only": True}, folder) as (process, log):
        assert process.stdout is not None
        line = process.stdout.readline()
        try:
            first = json.loads(line)
        except ValueError:
            raise GeneratorError(_tail(log)) from None
        yield Held(int(first["connected"]), float(first["connect_seconds"]), float(first["connect_cpu"] or 0.0))
        process.communicate(timeout=PATIENCE)


@contextmanager
def _started(
    config: Mapping[str, Any], folder: Path, niceness: int = 0
) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    if not PROGRAM.is_file():
        raise GeneratorError("build/bench/load is missing: make bench-tools")
    file, log = folder / "load.json", folder / "load.log"
    file.write_text(json.dumps(config))
    with log.open("w") as errors:
        process = subprocess.Popen(
            ["nice", "-n", str(niceness), PROGRAM, file],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        )
    try:
        yield process, log
    finally:
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _result(process: subprocess.Popen[str], out: str, log: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(out)
    except ValueError:
        raise GeneratorError(f"the generator ended with {process.returncode}: {_tail(log)}") from None
    return found


def _tail(log: Path) -> str:
    return " | ".join(log.read_text(errors="replace").splitlines()[-4:])
