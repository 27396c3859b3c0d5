"""What happens to one history on its way through a server, as a list of steps decided before anything runs.

All chance is spent here, so a failing list can be run again and shortened.
"""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from tests.oracle.oracle import History

RECEIVERS = 2
"""Readers that get every broadcast of the server, less what their connection drops."""


@dataclass(frozen=True, slots=True)
class Receive:
    """The server gets the updates `which` of the history in one message, merged by `how` if there are several.

    `ask`: when the server says that something is missing, the client is asked at once, by the server's state vector.
    """

    client: int
    which: tuple[int, ...]
    how: str
    ask: bool


@dataclass(frozen=True, slots=True)
class Flush:
    """The server flushes; `lost` are the receivers that do not get this broadcast."""

    lost: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Resync:
    """A client reconnects: it answers the server's state vector."""

    client: int


@dataclass(frozen=True, slots=True)
class CatchUp:
    """A receiver reconnects with its state vector. `broken_by`: a compaction that comes while its diff is sent."""

    receiver: int
    limit: int
    broken_by: Compact | None


@dataclass(frozen=True, slots=True)
class Stall:
    """A receiver's link is full: the server stops sending to it."""

    receiver: int


@dataclass(frozen=True, slots=True)
class Drain:
    """A link that was full has room again: the receiver gets what it missed, on the same connection.

    `broken_by`: a compaction that comes meanwhile.
    """

    receiver: int
    broken_by: Compact | None


@dataclass(frozen=True, slots=True)
class Restart:
    """The server dies and loads what it had stored: what was flushed."""


@dataclass(frozen=True, slots=True)
class Compact:
    """The oldest `share` of the stored updates becomes a block: a new snapshot, or a segment behind the others."""

    kind: str
    share: float
    chunk_bytes: int


Step = Receive | Flush | Resync | CatchUp | Stall | Drain | Restart | Compact


@dataclass(frozen=True, slots=True)
class Weather:
    """How rough a history's way is."""

    shuffle: float
    duplicate: float
    drop: float
    chunk: float
    ask: float
    lose: float
    trouble: float


def plan(history: History, random: Random) -> list[Step]:
    """Decide everything that happens to a history; the closing syncs are not part of it."""
    weather = Weather(
        shuffle=random.choice((0.0, 0.2, 1.0)),
        duplicate=random.choice((0.0, 0.1, 0.4)),
        drop=random.choice((0.0, 0.05, 0.3)),
        chunk=random.choice((0.0, 0.3, 0.8)),
        ask=random.choice((0.0, 0.5, 1.0)),
        lose=random.choice((0.0, 0.1, 0.5)),
        trouble=random.choice((0.0, 0.1, 0.3)),
    )
    steps: list[Step] = []
    for step in _deliveries(history, random, weather):
        steps.append(step)
        while random.random() < 0.5:
            steps.append(Flush(tuple(r for r in range(RECEIVERS) if random.random() < weather.lose)))
            if random.random() < weather.trouble:
                steps.append(_trouble(history, random))
    return steps


def _deliveries(history: History, random: Random, weather: Weather) -> list[Receive]:
    order = _order(len(history.updates), random, weather)
    steps: list[Receive] = []
    at = 0
    while at < len(order):
        count = random.randint(2, 6) if random.random() < weather.chunk else 1
        which = tuple(order[at : at + count])
        at += count
        steps.append(_receive(history, which, random, weather))
        if random.random() < weather.duplicate:
            back = random.randrange(at)
            again = tuple(order[back : back + random.randint(1, 4)])
            steps.append(_receive(history, again, random, weather))
    return steps


def _order(count: int, random: Random, weather: Weather) -> list[int]:
    """Which updates arrive, in which order; also within one client, which no honest TCP connection would do."""
    order = [index for index in range(count) if random.random() >= weather.drop]
    if weather.shuffle == 1.0:
        random.shuffle(order)
        return order
    for index in range(len(order)):
        if random.random() < weather.shuffle:
            other = min(len(order) - 1, index + random.randint(1, 5))
            order[index], order[other] = order[other], order[index]
    return order


def _receive(history: History, which: tuple[int, ...], random: Random, weather: Weather) -> Receive:
    client = history.updates[which[0]].client if which else 0
    return Receive(client, which, random.choice(("yjs", "pycrdt")), random.random() < weather.ask)


def _trouble(history: History, random: Random) -> Step:
    kind = random.randrange(7)
    if kind == 0:
        return Restart()
    if kind == 1:
        return Resync(random.randrange(len(history.clients)))
    if kind == 2:
        return CatchUp(random.randrange(RECEIVERS), _limit(random), _compact(random) if random.random() < 0.4 else None)
    if kind == 3:
        return Stall(random.randrange(RECEIVERS))
    if kind == 4:
        return Drain(random.randrange(RECEIVERS), _compact(random) if random.random() < 0.4 else None)
    return _compact(random)


def _compact(random: Random) -> Compact:
    return Compact(random.choice(("segment", "snapshot")), random.choice((0.5, 1.0, 1.0)), _limit(random))


def _limit(random: Random) -> int:
    """Sizes at which a chunk or a diff is cut: tiny ones, so that small histories meet the cuts at all."""
    return random.choice((1, 40, 300, 256 * 1024))
