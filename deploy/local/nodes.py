"""The processes of syncd itself: sync nodes, and workers that compact."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from deploy.local.member import Program, Role
from deploy.local.ports import LOOPBACK, http_missing
from deploy.local.programs import ROOT
from deploy.local.service import Service


class _Syncd(Service):
    """Processes of `python -m syncd`, all with the same settings but their port.

    Args:
        settings: SYNCD_* variables. What of them this process has in its own environment is not passed on.
    """

    command: ClassVar[str]

    def __init__(self, folder: Path, *, size: int, settings: Mapping[str, str], **options: Any) -> None:
        super().__init__(folder, size=size, **options)
        self.settings = dict(settings)
        self._create_members()

    def program(self, name: str) -> Program:
        """One process, in a folder of its own, so that a relative path in a setting is its own, too."""
        folder, port = self.folder / name, self.ports[name][0]
        path = os.pathsep.join(filter(None, (os.environ.get("PYTHONPATH"), str(ROOT))))
        return Program(
            name=name,
            role=self.role,
            url=f"http://{LOOPBACK}:{port}",
            folder=folder,
            command=(sys.executable, "-m", "syncd", self.command),
            environment={
                **self.settings,
                "PYTHONPATH": path,
                "PYTHONUNBUFFERED": "1",
                "SYNCD_HOST": LOOPBACK,
                "SYNCD_PORT": str(port),
                "SYNCD_STORE": f"sqlite:///{folder / 'data' / 'syncd.db'}",
            },
            stop_seconds=20.0,  # more than drain_timeout
        )

    def prepare(self, name: str) -> None:
        """A folder for what it keeps."""
        self.members[name].program.data.mkdir(exist_ok=True)

    def missing(self) -> str | None:
        """Every one is ready."""
        for name in self.names:
            if lacking := self.missing_after_restart(name):
                return lacking
        return None

    def missing_after_restart(self, name: str) -> str | None:
        """It is ready."""
        return http_missing(name, self.ports[name][0], "/readyz")


class Nodes(_Syncd):
    """Sync nodes: `syncd serve`."""

    role: ClassVar[Role] = "node"
    command: ClassVar[str] = "serve"

    @property
    def title(self) -> str:
        """Its name for people."""
        return "Nodes"

    @property
    def addresses(self) -> tuple[str, ...]:
        """HOST:PORT of each, for nginx."""
        return tuple(f"{LOOPBACK}:{self.ports[name][0]}" for name in self.names)

    @property
    def urls(self) -> tuple[str, ...]:
        """Each of them directly, past nginx."""
        return tuple(self.members[name].program.url for name in self.names)


class Workers(_Syncd):
    """Compaction workers: `syncd worker`. Each answers /readyz and /metrics on its port."""

    role: ClassVar[Role] = "worker"
    command: ClassVar[str] = "worker"

    @property
    def title(self) -> str:
        """Its name for people."""
        return "Workers"
