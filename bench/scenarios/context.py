"""What every kind of scenario is given, and what several of them do."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.scenarios.settings import Marks, Scenario
from bench.servers.api import Server

QUIET: Final = 0.03
"""Share of a core below which a server is taken to have nothing more to do."""


@dataclass(frozen=True, slots=True)
class Context:
    """One run to be made: the server is not started, `folder` is empty.

    Attributes:
        addresses: where to connect, for nodes that run already; empty for a server that is started here.
        room: name of the room, or what the names of several begin with.
    """

    server: Server
    scenario: Scenario
    marks: Marks
    folder: Path
    addresses: tuple[str, ...] = ()
    room: str = "bench"

    def start(self, rooms: tuple[str, ...] = ()) -> None:
        """Start the server and make its rooms exist."""
        self.server.start(self.folder)
        self.server.prepare(rooms)

    def targets(self) -> list[str]:
        """Addresses for the generator."""
        return list(self.addresses) or [self.server.address]

    def option(self, name: str) -> Any:
        """A value of the scenario that only its kind knows.

        Raises:
            KeyError: when the settings lack it.
        """
        return self.scenario.options[name]


def rooms_of(load: Mapping[str, Any], room: str) -> tuple[str, ...]:
    """The rooms a generator with this configuration opens."""
    count = int(load.get("rooms", 1))
    return tuple(f"{room}-{number}" for number in range(count)) if count > 1 else (room,)


def quiet(server: Server, seconds: float = 60.0) -> bool:
    """Wait until the server uses hardly any CPU, half a second long; False when it does not come to rest in time."""
    deadline = time.monotonic() + seconds
    calm, before = 0, server.cpu()
    while calm < 2:
        time.sleep(0.25)
        now = server.cpu()
        calm = calm + 1 if now - before < QUIET * 0.25 else 0
        before = now
        if time.monotonic() > deadline:
            return False
    return True
