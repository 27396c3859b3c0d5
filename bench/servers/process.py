"""A server as a child process: a port of its own, a log, a process group, and the figures the kernel keeps of it."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from bench.servers.api import WireProtocol

ROOT: Final = Path(__file__).parents[2]
HOST: Final = "127.0.0.1"
INHERITED: Final = ("PATH", "HOME", "LANG", "TMPDIR")
CPU_CLOCK: Final = 2  # CPUCLOCK_SCHED of the kernel's clock ids: time used by all threads of a process


def free_port() -> int:
    """A loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def tree(pid: int) -> list[int]:
    """A process and all its descendants; empty when it has ended."""
    found: list[int] = []
    waiting = [pid]
    while waiting:
        current = waiting.pop()
        try:
            for task in Path(f"/proc/{current}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append(current)
    return found


def memory_of(pid: int) -> int:
    """Proportional set size of a process in bytes; 0 when it has ended."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0


def cpu_of(pid: int) -> float:
    """CPU seconds of all threads of a process, to the nanosecond; 0 when it has ended."""
    try:
        return time.clock_gettime((~pid << 3) | CPU_CLOCK)
    except OSError:
        return 0.0


class ServerProcess:
    """What all servers have in common; a subclass says how its command reads.

    Args:
        persistent: keep documents on disk, in the way the server brings along.
        settings: environment variables for the server beside those it needs.
    """

    name: ClassVar[str]
    path: ClassVar[str] = "/{room}"
    protocol: ClassVar[WireProtocol] = "yjs"

    def __init__(self, *, persistent: bool = False, settings: Mapping[str, str] | None = None) -> None:
        self.persistent = persistent
        self.settings = dict(settings or {})
        self.address = ""
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, folder: Path, port: int) -> Sequence[str | Path]:
        """The command line; it runs in `folder`."""
        raise NotImplementedError

    def environment(self, folder: Path, port: int) -> Mapping[str, str]:
        """Variables the command needs."""
        return {}

    def prepare(self, rooms: Sequence[str]) -> None:
        """Rooms come into being when they are opened."""

    @property
    def pid(self) -> int:
        """Process id of the server itself.

        Raises:
            RuntimeError: when it does not run.
        """
        if self._process is None:
            raise RuntimeError(f"{self.name} does not run")
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self, folder: Path, seconds: float = 60.0) -> None:
        """Start and wait until it accepts connections.

        Raises:
            RuntimeError: when it ends or the seconds are over before it does.
        """
        if self._process is not None:
            raise RuntimeError(f"{self.name} runs already")
        folder = folder.absolute()
        port = free_port()
        environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
        with (folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(word) for word in self.command(folder, port)],
                cwd=folder,
                env={**environment, **self.environment(folder, port), **self.settings},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self._process.pid, resource.RLIMIT_NOFILE, (most, most))  # thousands of connections
        self._await(port, folder / "server.log", seconds)
        self.address = f"{HOST}:{port}"

    def _await(self, port: int, log: Path, seconds: float) -> None:
        assert self._process is not None
        deadline = time.monotonic() + seconds
        while True:
            try:
                socket.create_connection((HOST, port), timeout=1).close()
            except OSError:
                time.sleep(0.02)
            else:
                if not _has_ended(self._process.pid):  # else it was somebody else who answered at this port
                    return
            if _has_ended(self._process.pid) or time.monotonic() > deadline:
                self.stop(signal.SIGKILL)
                raise RuntimeError(f"{self.name} did not start:\n{_tail(log)}")

    def stop(self, how: signal.Signals = signal.SIGTERM, seconds: float = 20.0) -> int:
        """End it and what is left of its process group; after the seconds by SIGKILL. Returns its exit code."""
        process, self._process, self.address = self._process, None, ""
        if process is None:
            return 0
        # It is reaped last: until then its id, which is that of the group as well, cannot be given to anybody else.
        try:
            os.kill(process.pid, how)
            deadline = time.monotonic() + seconds
            while not _has_ended(process.pid) and time.monotonic() < deadline:
                time.sleep(0.01)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            code = process.wait()
        return code

    def pids(self) -> list[int]:
        """The server's process and all its children."""
        return tree(self.pid)

    def memory(self) -> int:
        """Bytes of memory of the tree (PSS)."""
        return sum(map(memory_of, self.pids()))

    def cpu(self) -> float:
        """CPU seconds used so far by the processes that live now."""
        return sum(map(cpu_of, self.pids()))


def _has_ended(pid: int) -> bool:
    """Whether a child has ended, without reaping it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is not None


def _tail(log: Path, lines: int = 20) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
