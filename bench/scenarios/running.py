"""Nodes that run already, measured as if they were one server."""

from __future__ import annotations

import signal
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from bench.servers.api import WireProtocol
from bench.servers.process import cpu_of, memory_of, tree

NAME: Final = "targets"


class Running:
    """Several nodes at `addresses`; connections are spread over them in turn.

    Starting and stopping do nothing: whoever started them ends them.

    Args:
        addresses: host:port of each node.
        path: of a room's websocket.
        pids: their process ids on this machine; without them CPU and memory are 0.
    """

    name = NAME
    protocol: WireProtocol = "yjs"
    persistent = False

    def __init__(self, addresses: Sequence[str], path: str = "/ws/{room}", pids: Sequence[str] = ()) -> None:
        self.addresses = tuple(addresses)
        self.path = path
        self._pids = [int(pid) for pid in pids]

    @property
    def address(self) -> str:
        """The first node's, for clients that know only one."""
        return self.addresses[0]

    @property
    def version(self) -> str:
        """How many there are; what they are, only their owner knows."""
        return f"{len(self.addresses)} nodes"

    def start(self, folder: Path) -> None:
        """They run."""

    def prepare(self, rooms: Sequence[str]) -> None:
        """Rooms come into being when they are opened."""

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """They go on."""
        return 0

    def pids(self) -> list[int]:
        """The given processes and their children."""
        return [child for pid in self._pids for child in tree(pid)]

    def memory(self) -> int:
        """Bytes (PSS) of these processes."""
        return sum(map(memory_of, self.pids()))

    def cpu(self) -> float:
        """CPU seconds used so far by these processes."""
        return sum(map(cpu_of, self.pids()))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass
