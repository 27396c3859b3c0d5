"""What validating costs: `python -m bench.validator [--json] [--seconds 0.5]`.

Prints the cost of one keystroke (parsing alone, and the whole of `Replica.receive`) in microseconds and that of
large updates in milliseconds per megabyte, for the interpreted `crdt` and, when `make compile` has been run, for the
compiled one. Each is measured in a process of its own; the best of several rounds counts, since everything else only
adds to it.

The rows: `keystroke` is one character typed behind another, `keystrokes of 100 writers` the same by many, `paste` one
string of a megabyte, `small structs` the worst case: a megabyte of the smallest structs there are (one character each),
which bounds how long one message can hold up a node.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import crdt.update
from crdt.awareness import Presence, encode_awareness
from crdt.merge import merge
from crdt.replica import Replica
from crdt.session import Session
from crdt.structs import Section, write_update
from crdt.update import parse_update
from crdt.varint import uint
from syncd.metrics import Stats

COMPILED = Path("build", "compiled")
MIB = 1 << 20
KEYSTROKES = 2_000


def keystroke(client: int, clock: int) -> bytes:
    """One character behind the client's last one, as Yjs sends it."""
    section = Section(client, clock)
    section.count = 1
    origin = b"\x04\x01\x01t" if clock == 0 else b"\x84" + uint(client) + uint(clock - 1)
    section.pieces.append(origin + b"\x01a")
    return write_update([section], b"\x00")


def paste(size: int) -> bytes:
    """One string."""
    section = Section(1 << 31, 0)
    section.count = 1
    section.pieces.append(b"\x04\x01\x01t" + uint(size) + b"a" * size)
    return write_update([section], b"\x00")


def small_structs(size: int) -> bytes:
    """The smallest structs: garbage-collected clocks, two bytes each."""
    section = Section(1, 0)
    section.count = size // 2
    section.pieces.append(b"\x00\x01" * section.count)
    return write_update([section], b"\x00")


def typing(size: int) -> bytes:
    """Characters typed one by one, merged: what a client that was offline sends."""
    count = size // 11
    return merge([keystroke(1 << 31, clock) for clock in range(count)])


def best(work: Callable[[], int], seconds: float) -> float:
    """Seconds per unit of work, the best of the rounds that fit into `seconds` (two at least)."""
    found: list[float] = []
    deadline = time.perf_counter() + seconds
    while len(found) < 2 or time.perf_counter() < deadline:
        started = time.perf_counter()
        units = work()
        found.append((time.perf_counter() - started) / units)
    return min(found)


def presence(seconds: float) -> tuple[float, float]:
    """Microseconds of a new state, and of an echo of sixteen, as stock clients send them for all that they hear."""
    state = b'{"user":{"name":"Somebody","color":"#30bced"},"cursor":{"anchor":{"item":{"client":1,"clock":%d}}}}'
    table = Presence(1 << 14, 1)
    owners = [Session(Replica(), table, Stats(), "") for _ in range(100)]
    clock = 0

    def say() -> None:
        nonlocal clock
        clock += 1
        for number, update in enumerate(updates):
            table.receive(update, owners[number], 0.0)

    def hear() -> int:
        for owner in owners[16:]:
            # As a session does it; the bytes are new objects, whose hash nobody knows yet.
            if not table.echoed(bytes(bytearray(echo)), owner):
                table.receive(echo, owner, 0.0)
        return len(owners) - 16

    found: list[float] = []
    for _ in range(max(int(seconds * 100), 2)):
        updates = [encode_awareness([(100 + number, clock + 1, state % clock)]) for number in range(len(owners))]
        started = time.perf_counter()
        say()
        found.append((time.perf_counter() - started) / len(owners))
    table.take()
    for number in range(16):
        table.receive(encode_awareness([(100 + number, clock + 1, state % clock)]), owners[number], 0.0)
    (echo,) = table.take()
    return min(found) * 1e6, best(hear, seconds) * 1e6


def measure(seconds: float) -> dict[str, float]:
    """Costs with the `crdt` that this process has imported. Microseconds per keystroke, milliseconds per MiB."""
    one = [keystroke(1 << 31, clock) for clock in range(KEYSTROKES)]
    many = [keystroke((1 << 31) + clock % 100, clock // 100) for clock in range(KEYSTROKES)]

    def parse(updates: Sequence[bytes]) -> int:
        for data in updates:
            parse_update(data)
        return len(updates)

    def receive(updates: Sequence[bytes]) -> int:
        replica = Replica()
        for data in updates:
            replica.receive(data, None)
        return len(updates)

    def receive_and_flush(updates: Sequence[bytes]) -> int:
        replica = Replica()
        for at in range(0, len(updates), 10):
            for data in updates[at : at + 10]:
                replica.receive(data, None)
            replica.flush()
        return len(updates)

    costs = {
        "keystroke: parse, us": best(lambda: parse(one), seconds) * 1e6,
        "keystroke: receive, us": best(lambda: receive(one), seconds) * 1e6,
        "keystroke: receive and flush by tens, us": best(lambda: receive_and_flush(one), seconds) * 1e6,
        "keystrokes of 100 writers: receive, us": best(lambda: receive(many), seconds) * 1e6,
    }
    costs["presence: update, us"], costs["presence: echo of 16 states, us"] = presence(seconds)
    large = {"paste": paste(MIB), "typing": typing(MIB), "small structs": small_structs(MIB)}
    for name, data in large.items():
        scale = MIB / len(data) * 1e3
        costs[f"{name}: parse, ms/MiB"] = best(partial(parse, [data]), seconds) * scale
        costs[f"{name}: receive, ms/MiB"] = best(partial(receive, [data]), seconds) * scale
    return costs


def child(path: Path | None, seconds: float) -> dict[str, float] | None:
    """Measure in a process that finds `crdt` under `path` first; None when it is not the one that was wanted."""
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, "-P", "-c", "from bench.validator import report; report()", str(seconds)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    answer = json.loads(done.stdout)
    return answer["costs"] if answer["compiled"] is (path is not None) else None


def report() -> None:
    """The child's side: measure and print."""
    compiled = not (crdt.update.__file__ or "").endswith(".py")
    sys.stdout.write(json.dumps({"compiled": compiled, "costs": measure(float(sys.argv[1]))}))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table or, with `--json`, an object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--seconds", type=float, default=0.5, help="how long each row is repeated")
    options = parser.parse_args(arguments)
    results = {"python": child(None, options.seconds)}
    if (COMPILED / "crdt").is_dir():
        results["compiled"] = child(COMPILED.resolve(), options.seconds)
    found = {name: costs for name, costs in results.items() if costs is not None}
    if options.json:
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return 0
    sys.stdout.write(f"{'':45}" + "".join(f"{name:>12}" for name in found) + "\n")
    for row in found["python"]:
        sys.stdout.write(f"{row:45}" + "".join(f"{costs[row]:12.2f}" for costs in found.values()) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
