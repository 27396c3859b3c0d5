"""All servers by name: installing them and making them.

from bench.servers import catalogue

reasons = catalogue.install(["syncd", "y-websocket"])  # what could not be had, and why
with catalogue.make("y-websocket", persistent=True) as server:
    server.start(folder)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from bench.servers import install as installer
from bench.servers.api import Server, Unavailable
from bench.servers.others import RELAY, Hocuspocus, PycrdtWebsocket, Relay, YSweet, YWebsocket
from bench.servers.syncd import COMPILED, CompiledSyncd, SyncdServer

NO_YHUB: Final = (
    "@y/hub is not published on npm: its source, and the uWebSockets.js it depends on, are to be had from GitHub only;"
    " it also needs Redis and Postgres or S3 beside it"
)


@dataclass(frozen=True)
class Entry:
    """How a server is made, installed, and known to be there."""

    make: Callable[..., Server]
    install: Callable[[], None]
    is_installed: Callable[[], bool]


def _from_sources(name: str, make: Callable[..., Server], install: Callable[[str], None]) -> Entry:
    return Entry(make, partial(install, name), partial(installer.is_installed, name))


ENTRIES: Final[Mapping[str, Entry]] = {
    "syncd": Entry(SyncdServer, lambda: None, lambda: True),
    "syncd-compiled": Entry(
        CompiledSyncd,
        partial(installer.make, "syncd-compiled", "compile", COMPILED / ".done"),
        (COMPILED / ".done").exists,
    ),
    "y-websocket": _from_sources("y-websocket", YWebsocket, installer.npm),
    "hocuspocus": _from_sources("hocuspocus", Hocuspocus, installer.npm),
    "pycrdt-websocket": _from_sources("pycrdt-websocket", PycrdtWebsocket, installer.python),
    "y-sweet": _from_sources("y-sweet", YSweet, installer.cargo),
    "relay": Entry(Relay, partial(installer.make, "relay", "bench-tools", RELAY), RELAY.exists),
}
NOT_TO_BE_HAD: Final[Mapping[str, str]] = {"yhub": NO_YHUB}
NAMES: Final = (*ENTRIES, *NOT_TO_BE_HAD)


def install(names: Iterable[str] = NAMES) -> dict[str, str]:
    """Install servers that are not installed yet, with progress on stderr.

    Returns:
        The reason for each one that cannot be had.

    Raises:
        ValueError: for a name that is not in the catalogue.
    """
    reasons = {}
    for name in names:
        try:
            entry(name).install()
        except Unavailable as error:
            reasons[name] = str(error)
            installer.say(f"{name} cannot be had: {error}")
    return reasons


def entry(name: str) -> Entry:
    """The entry of a name.

    Raises:
        Unavailable: for one that cannot be had at all.
        ValueError: for one that is not in the catalogue.
    """
    if name in NOT_TO_BE_HAD:
        raise Unavailable(NOT_TO_BE_HAD[name])
    if name not in ENTRIES:
        raise ValueError(f"no server is called {name!r}; there are {', '.join(NAMES)}")
    return ENTRIES[name]


def make(name: str, *, persistent: bool = False, settings: Mapping[str, str] | None = None) -> Server:
    """A server, not started.

    Args:
        name: one of `NAMES`.
        persistent: keep documents on disk, in the way the server brings along; syncd always does.
        settings: environment variables for it.

    Raises:
        Unavailable: when it is not installed.
        ValueError: for a name that is not in the catalogue.
    """
    found = entry(name)
    if not found.is_installed():
        raise Unavailable(f"{name} is not installed: python -m bench.servers {name}")
    return found.make(persistent=persistent, settings=settings)
