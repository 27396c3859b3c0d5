"""Opening a SQLite database as a syncd store: who may, with which settings, at which schema."""

import fcntl
import logging
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from persistence.errors import SchemaTooNew, SchemaTooOld, StoreBroken, StoreInUse, StoreUnavailable, StoreUrlError

BUSY_TIMEOUT_MS = 5000
_TEMPORARY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)

_log = logging.getLogger(__name__)

# FULL: WAL is synced at every commit. wal_autocheckpoint 0: SQLite drops the error of an automatic checkpoint, so the
# writer runs its own. cell_size_check and trusted_schema: a damaged or foreign file fails early.
_SETTINGS = (
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",
    "PRAGMA fullfsync = ON",
    "PRAGMA checkpoint_fullfsync = ON",
    "PRAGMA wal_autocheckpoint = 0",
    "PRAGMA journal_size_limit = 67108864",
    "PRAGMA foreign_keys = ON",
    "PRAGMA cell_size_check = ON",
    "PRAGMA trusted_schema = OFF",
)


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Raise StoreUnavailable for a locked database and StoreBroken for every other error of SQLite."""
    try:
        yield
    except sqlite3.Error as error:
        name = getattr(error, "sqlite_errorname", "SQLITE_MISUSE")
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in _TEMPORARY:
            raise StoreUnavailable(f"{action}: {error} ({name})") from error
        raise StoreBroken(f"{action}: {error} ({name})") from error


@dataclass(slots=True)
class Database:
    """An open database and the lock that makes it ours. Belongs to the thread that opened it."""

    connection: sqlite3.Connection
    path: Path
    schema: int
    _lock: int | None

    def close(self) -> None:
        """Close the connection, then give up the lock. Never raises: there is nobody left to tell."""
        try:
            self.connection.close()
        except sqlite3.Error:
            _log.exception("closing %s", self.path)
        if self._lock is not None:
            os.close(self._lock)


def open_database(path: Path) -> Database:
    """Open or create the database at `path`, bring its schema up to date, and keep others out.

    Raises StoreInUse, SchemaTooNew, StoreUrlError (no such folder), StoreUnavailable, StoreBroken.
    """
    path = path.resolve()
    lock = _lock(path)
    try:
        with translated(f"opening {path}"):
            connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
            try:
                schema = _prepare(connection, path)
            except BaseException:
                connection.close()
                raise
    except BaseException:
        os.close(lock)
        raise
    return Database(connection, path, schema, lock)


def open_for_reading(path: Path) -> Database:
    """Open the database at `path` to read it, whether or not a server has it open; nothing is written, not even a
    schema.

    Raises StoreUrlError (no such file), SchemaTooNew, SchemaTooOld, StoreUnavailable, StoreBroken.
    """
    path = path.resolve()
    if not path.is_file():
        raise StoreUrlError(f"there is no database {path}")
    with translated(f"opening {path}"):
        connection = sqlite3.connect(
            f"{path.as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000
        )
        try:
            connection.execute("PRAGMA query_only = ON")
            connection.execute("PRAGMA trusted_schema = OFF")
            schema, newest = schema_version(connection), _steps()[-1][0]
        except BaseException:
            connection.close()
            raise
    if schema != newest:
        connection.close()
        if schema > newest:
            raise SchemaTooNew(_too_new(schema, newest))
        raise SchemaTooOld(f"the database has schema {schema}, this syncd reads {newest}: run `syncd migrate` first")
    return Database(connection, path, schema, None)


def _too_new(schema: int, newest: int) -> str:
    return f"the database has schema {schema}, this syncd knows up to {newest}: install a newer syncd"


def migrate_database(path: Path) -> Sequence[str]:
    """Bring the schema at `path` up to date and return the names of the steps applied. Raises as `open_database`."""
    path = path.resolve()
    lock = _lock(path)
    try:
        with translated(f"migrating {path}"):
            connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT_MS / 1000)
            try:
                _configure(connection, path)
                return _migrate(connection)
            finally:
                connection.close()
    finally:
        os.close(lock)


def _lock(path: Path) -> int:
    """Take the lock beside the database, which the kernel drops with the process, however it ends.

    Not SQLite's own exclusive mode: operators may read and back up a running store. Not a lock on the database file
    itself: closing any descriptor of that file would drop the POSIX locks that SQLite holds in this process.
    """
    name = path.with_name(path.name + "-lock")
    try:
        lock = os.open(name, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreUrlError(f"cannot create {name}: {error.strerror}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
        os.close(lock)
        raise StoreInUse(f"another syncd (pid {holder}) has {path} open") from error
    try:
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    except OSError as error:
        # Only the pid for people is missing; a full disk is reported where it matters.
        _log.warning("cannot write %s: %s", name, error)
    # Created here so that documents are not readable by others; SQLite gives -wal and -shm the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    return lock


def _prepare(connection: sqlite3.Connection, path: Path) -> int:
    _configure(connection, path)
    applied = _migrate(connection)
    if applied:
        _log.info("schema of %s: applied %s", path, ", ".join(applied))
    # Frames left by a process that died of a failed fsync may be in the page cache only. Appending behind them would
    # make new acknowledged frames depend on them, so everything goes into the database file first.
    busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    if busy:
        raise StoreUnavailable(f"opening {path}: somebody reads the database and keeps its log from being emptied")
    _sync_folder(path)
    return schema_version(connection)


def _configure(connection: sqlite3.Connection, path: Path) -> None:
    for setting in _SETTINGS:
        connection.execute(setting)
    mode = connection.execute("PRAGMA journal_mode").fetchone()[0]
    if mode != "wal":
        raise StoreBroken(f"{path} cannot use a write-ahead log (journal mode {mode})")


def _sync_folder(path: Path) -> None:
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    except OSError as error:
        raise StoreBroken(f"syncing {path.parent}: {error.strerror}") from error
    finally:
        os.close(folder)


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the newest step applied, 0 for a database without our schema."""
    known = connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_version'").fetchone()
    return connection.execute("SELECT max(version) FROM schema_version").fetchone()[0] if known else 0


def _steps() -> Sequence[tuple[int, str, str]]:
    """Return (version, file name, SQL) of each step, ascending."""
    folder = files("persistence") / "sql" / "sqlite"
    found = (
        (int(file.name[:4]), file.name, file.read_text()) for file in folder.iterdir() if file.name.endswith(".sql")
    )
    return sorted(found)


def _migrate(connection: sqlite3.Connection) -> Sequence[str]:
    steps = _steps()
    newest = steps[-1][0]
    current = schema_version(connection)
    if current > newest:
        raise SchemaTooNew(_too_new(current, newest))
    applied = []
    for version, name, sql in steps:
        if version > current:
            _apply(connection, version, name, sql)
            applied.append(name)
    return applied


def _apply(connection: sqlite3.Connection, version: int, name: str, sql: str) -> None:
    versions = "CREATE TABLE IF NOT EXISTS schema_version (version INTEGER PRIMARY KEY, name TEXT NOT NULL) STRICT;"
    record = f"INSERT INTO schema_version VALUES ({version}, '{name}');"  # both from our own files
    try:
        connection.executescript(f"BEGIN IMMEDIATE; {versions} {sql} {record} COMMIT;")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.rollback()
        raise
