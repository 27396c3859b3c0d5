"""The other servers of the Yjs protocols, each started the way its own documentation starts it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, Final
from urllib.request import Request, urlopen

from websockets.sync.client import connect

from bench.servers.api import WireProtocol
from bench.servers.install import SOURCES, folder_of
from bench.servers.process import HOST, ROOT, ServerProcess

RELAY: Final = ROOT / "build/bench/relay"


def npm_version(name: str, package: str) -> str:
    """Version of a package in a server's package-lock.json."""
    lock = json.loads((SOURCES / name / "package-lock.json").read_text())
    version: str = lock["packages"][f"node_modules/{package}"]["version"]
    return version


def python_version(name: str, package: str) -> str:
    """Version of a package in a server's requirements.lock.

    Raises:
        ValueError: when it is not there.
    """
    lock = (SOURCES / name / "requirements.lock").read_text()
    found = re.search(rf"^{re.escape(package)}==(\S+)", lock, re.MULTILINE)
    if found is None:
        raise ValueError(f"{package} is not in the lock file of {name}")
    return found[1]


class NodeServer(ServerProcess):
    """A start script under Node, with the heap and collector settings Node chooses."""

    store: ClassVar[str]

    def command(self, folder: Path, port: int) -> Sequence[str | Path]:
        """Its start script, beside the packages it was installed with."""
        return ["node", folder_of(self.name) / "start.mjs"]

    def environment(self, folder: Path, port: int) -> Mapping[str, str]:
        """Where it listens, and where its documents lie."""
        store = {"STORE": str(folder / self.store)} if self.persistent else {}
        return {"NODE_ENV": "production", "HOST": HOST, "PORT": str(port), **store}


class YWebsocket(NodeServer):
    """@y/websocket-server; persistent with y-leveldb."""

    name = "y-websocket"
    store = "leveldb"

    @property
    def version(self) -> str:
        """Release, and that of Yjs inside."""
        return f"{npm_version(self.name, '@y/websocket-server')} (yjs {npm_version(self.name, 'yjs')})"


class Hocuspocus(NodeServer):
    """@hocuspocus/server; persistent with its SQLite extension."""

    name = "hocuspocus"
    protocol: ClassVar[WireProtocol] = "hocuspocus"
    path = "/"
    store = "hocuspocus.db"

    @property
    def version(self) -> str:
        """Release, and that of Yjs inside."""
        return f"{npm_version(self.name, '@hocuspocus/server')} (yjs {npm_version(self.name, 'yjs')})"


class PycrdtWebsocket(ServerProcess):
    """pycrdt-websocket on uvicorn; persistent with its SQLite store."""

    name = "pycrdt-websocket"

    @property
    def version(self) -> str:
        """Release, and those of what it stands on."""
        pycrdt, uvicorn = (python_version(self.name, package) for package in ("pycrdt", "uvicorn"))
        return f"{python_version(self.name, self.name)} (pycrdt {pycrdt}, uvicorn {uvicorn})"

    def command(self, folder: Path, port: int) -> Sequence[str | Path]:
        """Its start script in its own virtual environment."""
        installed = folder_of(self.name)
        store: list[str | Path] = ["--store", folder / "pycrdt.db"] if self.persistent else []
        return [installed / "venv/bin/python", installed / "start.py", "--host", HOST, "--port", str(port), *store]

    def prepare(self, rooms: Sequence[str]) -> None:
        """Open each room once: two clients that open the same new room at once can block each other for ever."""
        for room in rooms:
            with connect(f"ws://{self.address}/{room}", compression=None) as socket:
                socket.recv(timeout=30)


class YSweet(ServerProcess):
    """y-sweet without access tokens; persistent with a folder as its store."""

    name = "y-sweet"
    path = "/d/{room}/ws/{room}"  # what its token service hands out

    @property
    def version(self) -> str:
        """Release."""
        return (SOURCES / self.name / "VERSION").read_text().strip()

    def command(self, folder: Path, port: int) -> Sequence[str | Path]:
        """Its command line; without a store documents stay in memory."""
        store = [folder / "documents"] if self.persistent else []
        return [folder_of(self.name) / "bin/y-sweet", "serve", "--host", HOST, "--port", str(port), *store]

    def prepare(self, rooms: Sequence[str]) -> None:
        """Create the documents as its clients do: two that open an unknown one at once can get one document each."""
        for room in rooms:
            body = json.dumps({"docId": room}).encode()
            address = f"http://{self.address}/doc/new"
            with urlopen(Request(address, body, {"Content-Type": "application/json"}), timeout=30):
                pass


class Relay(ServerProcess):
    """A bare websocket relay in C, the floor of the cost: no documents, no merging, a write per reader and message."""

    name = "relay"

    @property
    def version(self) -> str:
        """It comes with this repository."""
        return "of this commit"

    def command(self, folder: Path, port: int) -> Sequence[str | Path]:
        """Its command line."""
        return [RELAY, "--port", str(port)]
