"""What a measured server is to the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from signal import SIGTERM, Signals
from types import TracebackType
from typing import Literal, Protocol, Self

WireProtocol = Literal["yjs", "hocuspocus"]


class Unavailable(Exception):
    """A server cannot be had here; the message is the reason, a line that goes into the results."""


class Server(Protocol):
    """One server process and its children; start it, connect to `ws://{address}{path}`, stop it.

    Leaving it as a context manager ends it however the block ended; entering does not start it.
    """

    @property
    def name(self) -> str:
        """Name in the catalogue."""

    @property
    def version(self) -> str:
        """Release of the server, with what else decides about its speed."""

    @property
    def protocol(self) -> WireProtocol:
        """`yjs` is the y-websocket protocol; `hocuspocus` puts the document's name before each message."""

    @property
    def path(self) -> str:
        """Path of a room's websocket; every `{room}` in it stands for the room's name."""

    @property
    def persistent(self) -> bool:
        """Whether documents outlive the process."""

    @property
    def address(self) -> str:
        """`host:port` while it runs, empty otherwise."""

    def start(self, folder: Path) -> None:
        """Start and wait until it accepts connections.

        Its data and `server.log` lie in `folder`, which may hold what it kept there before.

        Raises:
            RuntimeError: when it does not come up, with the end of its log.
        """

    def prepare(self, rooms: Sequence[str]) -> None:
        """Make rooms exist where opening them is not enough; to be called after each start, before clients connect."""

    def stop(self, how: Signals = SIGTERM) -> int:
        """End it with a signal and return its exit code (negative: ended by that signal); 0 when it does not run."""

    def pids(self) -> list[int]:
        """Its process and all children of it."""

    def memory(self) -> int:
        """Bytes of memory of the tree; shared pages count once (PSS)."""

    def cpu(self) -> float:
        """CPU seconds used so far by the processes that live now."""

    def __enter__(self) -> Self:
        """The server itself, not started."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it."""
