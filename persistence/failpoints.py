"""Named places where a test can make this process die, stall or fail: between every two durable steps.

`SYNCD_FAILPOINT=name:probability:action[,...]` with action `kill` (SIGKILL to ourselves), `sleep` (50 ms) or `raise`;
`SYNCD_FAILPOINT_SEED=n` makes the draws repeatable (default 0). This is the one reader of the environment outside
the configuration: a failpoint must work in child processes and in code that no settings reach. Without the variable a
failpoint is one truth test of an empty dict.

Places: before_commit, after_commit (appends); before_compaction_commit, after_compaction_commit (any other change);
mid_compaction (merged and checked, not yet handed to the store).
"""

import os
import random
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

SLEEP_SECONDS = 0.05


class FailpointError(Exception):
    """Raised by a failpoint whose action is `raise`: stands for any unexpected failure at that place."""


@dataclass(frozen=True, slots=True)
class _Failpoint:
    probability: float
    action: str
    draw: Callable[[], float]


def parse(text: str, seed: int) -> Mapping[str, _Failpoint]:
    """Return the failpoints that `text` switches on. Raises ValueError on bad syntax, probability or action."""
    found: dict[str, _Failpoint] = {}
    for entry in filter(None, text.split(",")):
        name, probability, action = entry.split(":")
        if action not in ("kill", "sleep", "raise") or not 0 <= float(probability) <= 1:
            raise ValueError(f"bad failpoint {entry!r}")
        # One generator per name, seeded by text (not by hash(), which differs per process).
        found[name] = _Failpoint(float(probability), action, random.Random(f"{seed}:{name}").random)
    return found


_active = parse(os.environ.get("SYNCD_FAILPOINT", ""), int(os.environ.get("SYNCD_FAILPOINT_SEED", "0")))


def hit(name: str) -> None:
    """Do what the environment asks for at this place; by default nothing. Raises FailpointError if so told."""
    if _active and name in _active:
        _fire(name, _active[name])


def _fire(name: str, point: _Failpoint) -> None:
    if point.draw() >= point.probability:
        return
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif point.action == "sleep":
        time.sleep(SLEEP_SECONDS)
    else:
        raise FailpointError(name)
