"""A syncd server as a child process, with the figures the kernel keeps of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self

TICKS: Final = os.sysconf("SC_CLK_TCK")
READY: Final = "syncd is ready at http://"


class Syncd:
    """`python -m syncd serve` on a free port; a context manager.

    Args:
        folder: where its database lies and its log is written.
        settings: `SYNCD_*` variables beside the store.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.settings = dict(settings or {})
        self.address = ""
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    def url(self, room: str) -> str:
        """Websocket address of a room."""
        return f"ws://{self.address}/ws/{room}"

    def start(self) -> None:
        """Start and wait for the line that says where it listens.

        Raises:
            RuntimeError: when it ends instead.
        """
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCD_")}
        with (self.folder / "server.log").open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "syncd", "serve", "--port", "0", "--no-web"],
                env={**inherited, "SYNCD_STORE": f"sqlite:///{self.folder / 'syncd.db'}", **self.settings},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.startswith(READY):
                self.address = line.removeprefix(READY).strip()
                return
        raise RuntimeError(f"syncd did not start; see {self.folder / 'server.log'}")

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """End it and return its exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(how)
        code = self._process.wait(60)
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._process = None
        return code

    def cpu(self) -> float:
        """CPU seconds used so far, user and system."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / TICKS

    def memory(self) -> int:
        """Resident memory in bytes."""
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
