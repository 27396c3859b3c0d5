"""The embedded store: one SQLite file, one writer process, one thread that owns the connection.

Durability order of an append: INSERT -> COMMIT, which syncs the write-ahead log -> the caller is told. Appends that
wait while a commit is being synced join the next transaction (group commit). Whatever fails between BEGIN and the end
of COMMIT is fatal to the store: `StoreBroken` to every caller of the batch and to every call after it.
"""

import asyncio
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from crdt.ids import RoomId
from persistence import sqlite_rows
from persistence.api import Change, Compaction, Record, RoomStats, StoreCheck, StoredRoom
from persistence.errors import StoreBroken, StoreClosed, StoreError, StoreUnavailable
from persistence.failpoints import hit
from persistence.sqlite_file import Database, open_database, open_for_reading, translated

BATCH_RECORDS = 256  # a transaction takes appends until it has this many records; one call is never split
QUEUE_CALLS = 4096  # callers beyond it wait their turn on the event loop
CHECKPOINT_BYTES = 8 << 20
ROOMS_PER_CALL = 20  # statistics are gathered so many rooms at a time, so that appends need not wait for all of them
_ROW_COST = 8192  # bytes of log per row: it dirties about two pages of 4 KiB, the table's and the index's

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


@dataclass(slots=True, eq=False)
class _Append:
    """Rows to append; `future` gets their positions."""

    rows: Sequence[sqlite_rows.Row]
    future: asyncio.Future[Sequence[int]]


@dataclass(slots=True, eq=False)
class _Call:
    """Anything else: `run` is given the database in the thread; `future` gets what it returns."""

    run: Callable[[Database], object]
    future: asyncio.Future[Any]


@dataclass(slots=True, eq=False)
class _Stop:
    """The last job; `future` is done when the file is let go of."""

    future: asyncio.Future[None]


_Job = _Append | _Call | _Stop
_Outcome = tuple[asyncio.Future[Any], object]  # an exception as the object fails the future


class SqliteStore:
    """A `Store` over one SQLite file. Use `await SqliteStore.open(path)`; one event loop only."""

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self._loop = asyncio.get_running_loop()
        self._slots = asyncio.Semaphore(QUEUE_CALLS)
        self._closing: asyncio.Task[None] | None = None
        self._writer = _Writer(path, self._settle, open_for_reading if read_only else open_database)

    @classmethod
    async def open(cls, path: Path, *, read_only: bool = False) -> "SqliteStore":
        """Open or create the store; with `read_only`, one that is there, beside a server that writes to it.

        Raises StoreInUse, SchemaTooNew, SchemaTooOld, StoreUrlError, StoreUnavailable, StoreBroken.
        """
        store = cls(path, read_only=read_only)
        await store._slots.acquire()
        opened: asyncio.Future[None] = store._loop.create_future()
        store._writer.start(opened)
        await opened
        return store

    async def append(self, records: Sequence[Record]) -> Sequence[int]:
        rows = [sqlite_rows.row_of(record) for record in records]
        if not rows:
            return []
        future: asyncio.Future[Sequence[int]] = self._loop.create_future()
        await self._enqueue(_Append(rows, future))
        return await future

    async def load(self, room: RoomId) -> StoredRoom:
        return await self._call(lambda database: sqlite_rows.load(database.connection, room))

    async def commit(self, change: Change) -> bool:
        return await self._call(lambda database: self._writer.commit(database, change))

    async def rooms(self, after: str = "", limit: int = 1000) -> Sequence[RoomStats]:
        found: list[RoomStats] = []
        while len(found) < limit:
            start, count = found[-1].room if found else after, min(ROOMS_PER_CALL, limit - len(found))
            page = await self._call(partial(_rooms, start, count))
            found += page
            if len(page) < count:
                break
        return found

    async def check(self, *, deep: bool = False) -> StoreCheck:
        queued = self._writer.queue.qsize()
        return await self._call(lambda database: _check(database, queued, deep))

    async def close(self) -> None:
        if self._closing is None:
            self._closing = asyncio.create_task(self._stop())
        await asyncio.shield(self._closing)  # a cancelled caller does not cancel the closing

    async def _stop(self) -> None:
        await self._slots.acquire()
        future: asyncio.Future[None] = self._loop.create_future()
        self._writer.queue.put(_Stop(future))
        await future
        self._writer.join()

    async def _call(self, run: Callable[[Database], _T]) -> _T:
        future: asyncio.Future[_T] = self._loop.create_future()
        await self._enqueue(_Call(run, future))
        return await future

    async def _enqueue(self, job: _Append | _Call) -> None:
        await self._slots.acquire()
        if self._closing is not None:
            self._slots.release()
            raise StoreClosed("the store is closed")
        self._writer.queue.put(job)

    def _settle(self, outcomes: Sequence[_Outcome]) -> None:
        """Called in the writer thread: hand the outcomes to the loop, all in one step."""
        try:
            self._loop.call_soon_threadsafe(self._resolve, outcomes)
        except RuntimeError:
            _log.warning("the event loop ended before the store; %d calls go unanswered", len(outcomes))

    def _resolve(self, outcomes: Sequence[_Outcome]) -> None:
        """Called in the loop."""
        for future, outcome in outcomes:
            # Freed here and not by the caller: a cancelled caller's job still stands in the queue.
            self._slots.release()
            if future.done():
                continue  # its caller was cancelled
            if isinstance(outcome, BaseException):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)


class _Writer:
    """The thread. Only `queue`, `start` and `join` are used from outside it."""

    def __init__(
        self, path: Path, settle: Callable[[Sequence[_Outcome]], None], opener: Callable[[Path], Database]
    ) -> None:
        self._open = opener
        self.queue: SimpleQueue[_Job] = SimpleQueue()
        self._path = path
        self._settle = settle
        self._broken: str | None = None
        self._ids = sqlite_rows.RoomIds()
        self._since_checkpoint = 0

    def start(self, opened: asyncio.Future[None]) -> None:
        """Start the thread, which first opens the database and settles `opened`."""
        # A daemon: a process that forgets close() must still be able to exit. Nothing acknowledged depends on it.
        name = f"store {self._path.name}"
        self._thread = threading.Thread(target=self._main, args=(opened,), name=name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread, which has nothing left to do once it has settled its `_Stop`."""
        self._thread.join()

    def _main(self, opened: asyncio.Future[None]) -> None:
        try:
            database = self._open(self._path)
        except Exception as error:  # whatever it is, it belongs to the caller of open()
            self._settle([(opened, error)])
            return
        self._settle([(opened, None)])
        stop = self._serve(database)
        database.close()
        self._settle([(stop.future, None)])

    def _serve(self, database: Database) -> _Stop:
        following: _Job | None = None
        while True:
            job = self.queue.get() if following is None else following
            following = None
            if isinstance(job, _Stop):
                return job
            if isinstance(job, _Append):
                batch, following = self._gather(job)
                self._settle(self._append(database, batch))
            else:
                self._settle([(job.future, self._run(database, job))])
            self._checkpoint_if_due(database)

    def _gather(self, first: _Append) -> tuple[list[_Append], _Job | None]:
        """Return the appends that share a transaction with `first`, and the job after them if it was taken out."""
        batch = [first]
        count = len(first.rows)
        while count < BATCH_RECORDS:
            try:
                job = self.queue.get_nowait()
            except Empty:
                return batch, None
            if not isinstance(job, _Append):
                return batch, job
            batch.append(job)
            count += len(job.rows)
        return batch, None

    def _append(self, database: Database, batch: Sequence[_Append]) -> Sequence[_Outcome]:
        rows = [row for job in batch for row in job.rows]
        try:
            positions = self._write(
                database,
                "before_commit",
                "after_commit",
                lambda connection: sqlite_rows.append(connection, self._ids, rows),
            )
        except StoreError as error:
            # One exception each: a shared one would collect the tracebacks of all its receivers.
            return [(job.future, _copy(error)) for job in batch]
        self._since_checkpoint += sum(len(row[1]) + _ROW_COST for row in rows)
        outcomes: list[_Outcome] = []
        start = 0
        for job in batch:
            outcomes.append((job.future, positions[start : start + len(job.rows)]))
            start += len(job.rows)
        return outcomes

    def commit(self, database: Database, change: Change) -> bool:
        """Apply a change in its own transaction; runs in the thread, as a call."""
        block = change.block if isinstance(change, Compaction) else None
        self._since_checkpoint += _ROW_COST + (len(block.data) if block is not None else 0)
        return self._write(
            database,
            "before_compaction_commit",
            "after_compaction_commit",
            lambda connection: sqlite_rows.apply(connection, self._ids, change),
        )

    def _write(self, database: Database, before: str, after: str, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """Run `work` in one transaction. After BEGIN every failure, of whatever kind, breaks the store for good."""
        self._require_whole()
        connection = database.connection
        with translated("BEGIN"):  # nothing is written yet: a lock held by somebody else is no damage
            connection.execute("BEGIN IMMEDIATE")
        try:
            result = work(connection)
            hit(before)
            connection.execute("COMMIT")
            hit(after)
        except Exception as error:
            self._broken = f"writing {database.path}: {error}"
            _log.critical("the store is broken and stays so: %s", self._broken)
            _abandon(connection)
            raise StoreBroken(self._broken) from error
        return result

    def _run(self, database: Database, job: _Call) -> object:
        try:
            self._require_whole()
            with translated(f"reading {database.path}"):
                return job.run(database)
        except StoreUnavailable as error:
            return error
        except StoreBroken as error:
            self._broken = self._broken or str(error)
            return error
        except Exception as error:  # it belongs to the caller; the thread serves the others
            return error

    def _checkpoint_if_due(self, database: Database) -> None:
        if self._since_checkpoint < CHECKPOINT_BYTES or self._broken:
            return
        self._since_checkpoint = 0
        try:
            with translated(f"checkpoint of {database.path}"):
                database.connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        except StoreUnavailable:
            _log.info("checkpoint of %s put off: the database is locked", database.path)
        except StoreBroken as error:
            self._broken = str(error)
            _log.critical("the store is broken and stays so: %s", self._broken)

    def _require_whole(self) -> None:
        if self._broken is not None:
            raise StoreBroken(self._broken)


def _abandon(connection: sqlite3.Connection) -> None:
    """End the failed transaction; that this fails too adds nothing to what is known."""
    try:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    except sqlite3.Error:
        _log.debug("rollback failed", exc_info=True)


def _copy(error: StoreError) -> StoreError:
    fresh = type(error)(*error.args)
    fresh.__cause__ = error.__cause__
    return fresh


def _rooms(after: str, limit: int, database: Database) -> Sequence[RoomStats]:
    return sqlite_rows.rooms(database.connection, after, limit)


def _check(database: Database, queued: int, deep: bool) -> StoreCheck:
    size = sum(os.stat(file).st_size for file in (database.path, f"{database.path}-wal") if os.path.exists(file))
    database.connection.execute("SELECT count(*) FROM (SELECT 1 FROM rooms LIMIT 1)").fetchone()
    count, problems = sqlite_rows.problems(database.connection) if deep else (0, ())
    return StoreCheck("sqlite", True, database.schema, size, queued, count, problems)
