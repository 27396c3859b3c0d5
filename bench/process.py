"""A syncd server with a folder of its own, for measurements of syncd alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from signal import SIGTERM, Signals
from types import TracebackType
from typing import Self

from bench.servers.syncd import SyncdServer


class Syncd:
    """`python -m syncd serve` on a free port; a context manager.

    Args:
        folder: where its database lies and its log is written.
        settings: `SYNCD_*` variables beside the store.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self._server = SyncdServer(settings=settings)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """`host:port`; empty when it does not run."""
        return self._server.address

    @property
    def pid(self) -> int:
        """Process id."""
        return self._server.pid

    def url(self, room: str) -> str:
        """Websocket address of a room."""
        return f"ws://{self.address}/ws/{room}"

    def start(self) -> None:
        """Start and wait until it accepts connections.

        Raises:
            RuntimeError: when it ends instead.
        """
        self._server.start(self.folder)

    def stop(self, how: Signals = SIGTERM) -> int:
        """End it and return its exit code."""
        return self._server.stop(how)

    def cpu(self) -> float:
        """CPU seconds used so far by it and its children."""
        return self._server.cpu()

    def memory(self) -> int:
        """Memory of it and its children in bytes (PSS)."""
        return self._server.memory()
