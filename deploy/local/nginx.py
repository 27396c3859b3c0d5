"""Nginx, in front of the nodes. Several of them, so that none is a single point of failure."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from deploy.local.member import Program, Role
from deploy.local.ports import LOOPBACK, http_missing
from deploy.local.programs import ROOT, find
from deploy.local.service import Service
from deploy.local.template import render_file

SERVER = "server {address} max_fails=1 fail_timeout=2s;"
"""One node in deploy/nginx/nginx.conf; the comment there says the same."""


class Nginx(Service):
    """Some nginx that all spread rooms over the same nodes.

    Args:
        nodes: HOST:PORT of each, in any order; which room goes where depends on nothing else.
    """

    role: ClassVar[Role] = "nginx"
    programs: ClassVar[tuple[str, ...]] = ("nginx",)
    ready_seconds: ClassVar[float] = 20.0

    def __init__(self, folder: Path, nodes: Sequence[str], *, size: int = 2, **options: Any) -> None:
        super().__init__(folder, size=size, **options)
        self.nodes = tuple(sorted(nodes))
        self._create_members()

    @property
    def urls(self) -> tuple[str, ...]:
        """Where browsers go; any of them will do."""
        return tuple(self.members[name].program.url for name in self.names)

    def program(self, name: str) -> Program:
        """Nginx with its configuration; its master process is ours, so it stays in the foreground."""
        folder = self.folder / name
        # Started by root it would hand its work to an account that may not enter this folder.
        account = ("-g", "user root;") if os.geteuid() == 0 else ()
        return Program(
            name=name,
            role=self.role,
            url=f"http://{LOOPBACK}:{self.ports[name][0]}",
            folder=folder,
            command=(str(find("nginx")), "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr", *account),
        )

    def prepare(self, name: str) -> None:
        """Its configuration."""
        program = self.members[name].program
        program.data.mkdir(exist_ok=True)
        values = {
            "NGINX_WORKERS": 1,
            "NGINX_FILES": 65536,
            "NGINX_CONNECTIONS": 32768,
            "NGINX_CONNECTIONS_PER_ADDRESS": 30000,
            "NGINX_FOLDER": program.data,
            "NGINX_ACCESS_LOG": program.folder / "access.log",
            "NGINX_LISTEN": f"{LOOPBACK}:{self.ports[name][0]}",
            "NGINX_SERVERS": "\n        ".join(SERVER.format(address=address) for address in self.nodes),
        }
        render_file(ROOT / "deploy" / "nginx" / "nginx.conf", program.folder / "nginx.conf", values)

    def missing(self) -> str | None:
        """Every one answers, itself and through a node."""
        for name in self.names:
            if lacking := self.missing_after_restart(name):
                return lacking
        return None

    def missing_after_restart(self, name: str) -> str | None:
        """It answers, itself and through a node."""
        return http_missing(name, self.ports[name][0], "/healthz") or http_missing(name, self.ports[name][0], "/readyz")
