"""One process of a cluster: how it is started, who it is now, and what a test can do to it."""

import os
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from deploy.local import process
from deploy.local.errors import Cancelled, LauncherError, NotReady
from deploy.local.process import Identity

Role = Literal["node", "worker", "nginx", "redis", "kafka", "postgres"]


@dataclass(frozen=True, slots=True)
class Program:
    """How a member is started.

    Attributes:
        name: unique in the cluster, e.g. ``redis-1``.
        url: where it is reached.
        folder: all of its files; ``data`` in it is what it keeps, its log file lies beside.
        user: the account it runs as, None for that of this process.
        stop_signal: what makes it end in order, and `stop_seconds` how long that may take.
    """

    name: str
    role: Role
    url: str
    folder: Path
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 10.0

    @property
    def data(self) -> Path:
        """What it keeps."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """What it says."""
        return self.folder / f"{self.name}.log"


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One row of `syncd cluster status`."""

    name: str
    role: Role
    pid: int | None
    url: str
    data: str
    log: str
    state: process.State


def inherited_environment() -> dict[str, str]:
    """The variables every member gets: those of this process without its own settings of syncd."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SYNCD_")}


class Member:
    """A program and the process it runs as, if it does.

    Args:
        changed: called whenever the process is another one, so that somebody can write it down.
        cancel: set when the cluster is given up; nothing is started from then on.
    """

    def __init__(
        self,
        program: Program,
        *,
        changed: Callable[[], None] = lambda: None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.program = program
        self.identity: Identity | None = None
        self._changed = changed
        self._cancel = cancel or threading.Event()

    @property
    def name(self) -> str:
        """Its name in the cluster."""
        return self.program.name

    @property
    def state(self) -> process.State:
        """Whether it lives."""
        return process.state(self.identity) if self.identity else "dead"

    @property
    def info(self) -> ProcessInfo:
        """What `syncd cluster status` says of it; its pid is None when it is dead, because then it is nobody's."""
        state = self.state
        return ProcessInfo(
            self.name,
            self.program.role,
            self.identity.pid if self.identity and state != "dead" else None,
            self.program.url,
            str(self.program.data),
            str(self.program.log),
            state,
        )

    def start(self) -> None:
        """Start it, unless it lives. It need not be ready when this returns.

        Raises:
            LauncherError: the operating system refused; `Cancelled`: the cluster was given up.
        """
        if self.state != "dead":
            return
        if self._cancel.is_set():
            raise Cancelled("given up")
        program = self.program
        try:
            self.identity = process.spawn(
                program.command,
                folder=program.folder,
                log=program.log,
                environment={**inherited_environment(), **program.environment},
                user=program.user,
            )
        except OSError as error:
            raise LauncherError(f"{self.name} cannot be started: {error}") from error
        self._changed()

    def must_live(self) -> None:
        """Raises `NotReady` with the end of its log if it has ended."""
        if self.state == "dead":
            raise NotReady(f"{self.name} has ended{self._how()}; the end of {self.program.log}:\n{self.tail()}")

    def terminate(self) -> None:
        """Ask it to end, and end it if it does not within its time."""
        if self.identity:
            process.terminate(self.identity, self.program.stop_signal, self.program.stop_seconds)
            self._changed()

    def kill(self) -> None:
        """End it with everything it started, as a crash would (SIGKILL)."""
        if self.identity:
            process.kill(self.identity)
            self._changed()

    def freeze(self) -> None:
        """Stop it with everything it started, as a machine that hangs would (SIGSTOP)."""
        if self.identity:
            process.freeze(self.identity)

    def thaw(self) -> None:
        """Let it go on after `freeze`."""
        if self.identity:
            process.thaw(self.identity)

    def tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        try:
            text = self.program.log.read_text(errors="replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def _how(self) -> str:
        code = process.exit_code(self.identity) if self.identity else None
        if code is None:
            return ""
        return f" by signal {-code}" if code < 0 else f" with exit code {code}"
