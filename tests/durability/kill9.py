"""`python -m tests.durability.kill9 --rounds 50 --seed 1`: kill -9 under load; what was reported saved must be there.

Each round several Yjs clients write and delete tokens through a real server with an SQLite store, send barriers, and
note which were answered. At a random moment the server is killed, and the clients are thrown away with everything they
know. The server starts again on the same file, and a fresh client says what is there.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any

from tests.durability.ledger import Ledger, Tally
from tests.interop.server import ServerProcess

SCRIPT = Path(__file__).with_name("load.mjs")

SETTINGS = {
    # Small enough that compaction and unloading happen in every round, beside the writing and the dying.
    "SYNCD_COMPACT_UPDATES": "60",
    "SYNCD_UNLOAD_AFTER": "1",
    "SYNCD_WEB": "false",
    "SYNCD_LOG_LEVEL": "warning",
}


ROUNDS_PER_ROOM = 5
"""Then the clients move on: they read the whole text for each token, and would write ever more slowly."""


class LoadError(Exception):
    """The Node process failed, or a client met something that must not be."""


class Load:
    """The Node process with the clients; use it as a context manager."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            ["node", "--max-old-space-size=2048", str(SCRIPT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )

    def call(self, command: str, **arguments: object) -> Any:
        """Send one command and return its answer.

        Raises:
            LoadError: the command failed.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"command": command, **arguments}).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise LoadError("the clients' process ended")
        answer = json.loads(line)
        if "error" in answer:
            raise LoadError(answer["error"])
        return answer["ok"]

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()


class Experiment:
    """One store that is crashed again and again.

    Args:
        folder: where the store lies.
        seed: decides what the clients do and how long they have; the operating system decides the rest.
        rooms, clients: how many rooms, and clients in each.
    """

    def __init__(self, folder: Path, seed: str, rooms: int = 2, clients: int = 5) -> None:
        self.seed = seed
        self.random = Random(seed)
        self.clients = clients
        self.server = ServerProcess(folder, SETTINGS)
        self.rooms = rooms
        self.ledgers: dict[str, Ledger] = {}

    def round(self, load: Load, number: int) -> Tally:
        """Write, kill, start again, look at the rooms written to and at all before them."""
        rooms = [f"durability {number // ROUNDS_PER_ROOM}.{index}/ä" for index in range(self.rooms)]
        for room in rooms:
            self.ledgers.setdefault(room, Ledger())
        load.call("load", url=self.server.url, rooms=rooms, clients=self.clients, round=number, seed=self.seed)
        time.sleep(self.random.uniform(0.1, 1.5))
        self.server.kill()
        tally = Tally()
        for note in load.call("stop"):
            tally.add(self.ledgers[note["room"]].note(note["inserted"], note["deleted"]))
        self.server.start()
        for found in load.call("read", url=self.server.url, rooms=list(self.ledgers)):
            tally.add(self.ledgers[found["room"]].check(found["text"], found["keys"], found["pending"]))
        return tally

    def __enter__(self) -> Experiment:
        self.server.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.server.kill()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _row(name: str, tally: Tally) -> str:
    return (
        f"{name}: saved {tally.saved_inserts} inserts and {tally.saved_deletes} deletes, "
        f"unreported {tally.unacked} of which {tally.unacked_survived} survived; missing {tally.missing}, "
        f"undone {tally.undone}, doubled {tally.doubled}, unknown {tally.unknown}, torn {tally.torn}, "
        f"incomplete {tally.incomplete}"
    )


def _table(total: Tally, rounds: int) -> str:
    share = 100 * total.unacked_survived / total.unacked if total.unacked else 0.0
    rows = {
        "rounds (kill -9)": rounds,
        "updates reported saved": total.saved_inserts + total.saved_deletes,
        "  missing after restart": total.missing,
        "  deletes undone": total.undone,
        "tokens doubled": total.doubled,
        "tokens nobody wrote": total.unknown,
        "torn transactions": total.torn,
        "documents that wait for something": total.incomplete,
        "updates not reported saved": total.unacked,
        "  survived anyway, %": f"{share:.1f}",
    }
    return "\n".join(f"{name:<36}{value:>10}" for name, value in rows.items())


def main(arguments: list[str] | None = None) -> int:
    """Run the rounds and print the table; returns the exit code: 1 when anything that must not happen did."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", default="1")
    parser.add_argument("--rooms", type=int, default=2)
    parser.add_argument("--clients", type=int, default=5, help="per room")
    options = parser.parse_args(arguments)
    total = Tally()
    _say(f"seed {options.seed}")
    with (
        tempfile.TemporaryDirectory(prefix="syncd-kill9-") as folder,
        Load() as load,
        Experiment(Path(folder), options.seed, options.rooms, options.clients) as experiment,
    ):
        for number in range(1, options.rounds + 1):
            tally = experiment.round(load, number)
            total.add(tally)
            _say(_row(f"round {number}", tally))
        if total.faults:
            _say("\n".join([*total.examples, "server:", experiment.server.tail()]))
    _say(_table(total, options.rounds))
    return 1 if total.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
