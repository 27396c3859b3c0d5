"""The file in which a cluster is written down, so that another command finds its processes again."""

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from deploy.local.errors import LauncherError

VERSION = 1


class StateFile:
    """``state.json`` in a cluster's folder. Only its owner may read it: settings may hold secrets."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "state.json"

    def read(self) -> dict[str, Any] | None:
        """What was written last; None if there is no cluster here.

        Raises:
            LauncherError: the file is damaged, or of another version.
        """
        try:
            found = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise LauncherError(f"{self.path} cannot be read: {error}") from error
        if not isinstance(found, dict) or found.get("version") != VERSION:
            raise LauncherError(f"{self.path} is not from this version of syncd")
        return found

    def write(self, content: Mapping[str, Any]) -> None:
        """Replace the file in one step, so that nobody ever reads half of it."""
        new = self.path.with_suffix(".new")
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            json.dump({"version": VERSION, **content}, file, indent=1)
        new.replace(self.path)

    def remove(self) -> None:
        """Forget the cluster."""
        self.path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other commands out while processes are started or ended.

        Raises:
            LauncherError: another command is at it.
        """
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise LauncherError(f"another command is starting or stopping the cluster in {self.folder}") from None
            yield
