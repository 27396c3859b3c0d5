"""From a store URL to a store: the one module that knows the adapters."""

from collections.abc import Sequence
from pathlib import Path

from persistence.api import Store
from persistence.errors import StoreUrlError

_SQLITE = "sqlite:///"
_MEMORY = "memory://"


async def open_store(url: str, *, read_only: bool = False) -> Store:
    """Open the store that `url` names, creating it (and its schema) where it is embedded.

    With `read_only` nothing is created or written, and a server may have it open at the same time.

    `sqlite:///relative/path`, `sqlite:////absolute/path`, `memory://`. Raises StoreUrlError for any other URL, else
    StoreInUse, SchemaTooNew, SchemaTooOld, StoreUnavailable or StoreBroken.
    """
    if url == _MEMORY:
        from persistence.memory import MemoryStore

        return MemoryStore()
    from persistence.sqlite import SqliteStore

    return await SqliteStore.open(_sqlite_path(url), read_only=read_only)


def database_path(url: str) -> Path | None:
    """The file that `url` names; None for a store that is not one file. Raises StoreUrlError for an unknown URL."""
    return None if url == _MEMORY else _sqlite_path(url)


def migrate(url: str) -> Sequence[str]:
    """Bring the schema of the store at `url` up to date; return the names of the steps applied. Blocks."""
    if url == _MEMORY:
        return []
    from persistence.sqlite_file import migrate_database

    return migrate_database(_sqlite_path(url))


def _sqlite_path(url: str) -> Path:
    path = url.removeprefix(_SQLITE)
    if not url.startswith(_SQLITE) or not path or path.startswith(":") or "?" in path or "\0" in path:
        raise StoreUrlError(f"unknown store URL {url!r}: use sqlite:///path or memory://")
    return Path(path)
