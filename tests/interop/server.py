"""A real syncd process for tests: started on a free port with its own store, killed, started again."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from pathlib import Path
from types import TracebackType

ROOT = Path(__file__).parents[2]


class ServerError(Exception):
    """The server did not start, or did not end as it should."""


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class ServerProcess:
    """`python -m syncd serve`; use it as a context manager.

    Args:
        folder: where its database and its log go; keep it to start again with the same data.
        settings: SYNCD_* variables.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = free_port()
        self.log = folder / "server.log"
        self.store = f"sqlite:///{folder / 'syncd.db'}"
        self.settings = {"SYNCD_STORE": self.store, **(settings or {})}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where websockets connect to; a room's name follows after a slash."""
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def environment(self) -> dict[str, str]:
        """The variables the process runs with; this process's own settings of syncd are left out."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SYNCD_")}
        return {**inherited, **self.settings}

    def start(self, seconds: float = 30.0) -> None:
        """Start and wait until it answers.

        Raises:
            ServerError: when it does not.
        """
        arguments = ["serve", "--host", "127.0.0.1", "--port", str(self.port), "--store", self.store]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "syncd", *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        deadline = time.monotonic() + seconds
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise ServerError(f"syncd did not start:\n{self.tail()}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=1)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except OSError:
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """SIGKILL, as a crash; nothing happens if it is not running."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def stop(self, seconds: float = 30.0) -> int:
        """SIGTERM, and wait; returns the exit code.

        Raises:
            ServerError: when it does not end in time.
        """
        if self._process is None:
            return 0
        self._process.terminate()
        try:
            code = self._process.wait(seconds)
        except subprocess.TimeoutExpired as error:
            self.kill()
            raise ServerError(f"syncd did not end within {seconds} s of SIGTERM:\n{self.tail()}") from error
        self._process = None
        return code

    def run(self, *arguments: str) -> str:
        """Another command of the CLI with the same settings; returns what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", "syncd", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise ServerError(f"syncd {' '.join(arguments)} ended with {done.returncode}:\n{done.stderr}")
        return done.stdout.strip()

    def tail(self, lines: int = 40) -> str:
        """The end of the log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""

    def __enter__(self) -> ServerProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()
