"""This repository's server, from its source or with its hot modules compiled."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final

import syncd
from bench.servers.process import HOST, ROOT, ServerProcess

COMPILED: Final = ROOT / "build/compiled"


class SyncdServer(ServerProcess):
    """`python -m syncd serve` with its real defaults; documents always lie in an SQLite database in the folder.

    Args:
        compiled: load `crdt` from build/compiled, as `make run-compiled` does.
        settings: `SYNCD_*` variables; SYNCD_STORE=memory:// turns the database off.
    """

    name = "syncd"
    path: ClassVar[str] = "/ws/{room}"

    def __init__(
        self, *, persistent: bool = True, settings: Mapping[str, str] | None = None, compiled: bool = False
    ) -> None:
        super().__init__(persistent=True, settings=settings)
        self.compiled = compiled

    @property
    def version(self) -> str:
        """Release, and what it runs from."""
        return f"{syncd.__version__} ({'compiled' if self.compiled else 'pure Python'})"

    def command(self, folder: Path, port: int) -> Sequence[str | Path]:
        """The command line; `-P` keeps the working directory out of the module path."""
        return [sys.executable, "-P", "-m", "syncd", "serve", "--host", HOST, "--port", str(port), "--no-web"]

    def environment(self, folder: Path, port: int) -> Mapping[str, str]:
        """Its store, and where Python finds it."""
        path = f"{COMPILED}:{ROOT}" if self.compiled else str(ROOT)
        return {"SYNCD_STORE": f"sqlite:///{folder / 'syncd.db'}", "PYTHONPATH": path}


class CompiledSyncd(SyncdServer):
    """syncd with its hot modules compiled, under a name of its own."""

    name = "syncd-compiled"

    def __init__(self, *, persistent: bool = True, settings: Mapping[str, str] | None = None) -> None:
        super().__init__(persistent=persistent, settings=settings, compiled=True)
