"""The SQLite adapter beyond what every store must do: transactions, locks, schema, damage, a busy database."""

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
import pytest_asyncio

from crdt.ids import RoomId
from persistence import sqlite_file, sqlite_rows
from persistence.api import Record
from persistence.errors import (
    RecordTooLarge,
    SchemaTooNew,
    SchemaTooOld,
    StoreBroken,
    StoreInUse,
    StoreUnavailable,
    StoreUrlError,
)
from persistence.opener import migrate, open_store
from persistence.sqlite import BATCH_RECORDS, SqliteStore

ROOT = Path(__file__).resolve().parents[3]
ROOM = RoomId("room")


def record(data: bytes = b"x") -> Record:
    return Record(ROOM, data, "ann", 0)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "syncd.db"


@pytest_asyncio.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    store = await SqliteStore.open(path)
    yield store
    await store.close()


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of rows of each transaction, as they are run."""
    sizes: list[int] = []
    append = sqlite_rows.append

    def counted(connection: sqlite3.Connection, ids: sqlite_rows.RoomIds, rows: list[sqlite_rows.Row]) -> object:
        sizes.append(len(rows))
        return append(connection, ids, rows)

    monkeypatch.setattr(sqlite_rows, "append", counted)
    return sizes


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """While clear, the writer thread stands still at the start of a load."""
    gate = threading.Event()
    load = sqlite_rows.load

    def gated(connection: sqlite3.Connection, room: RoomId) -> object:
        assert gate.wait(60)
        return load(connection, room)

    monkeypatch.setattr(sqlite_rows, "load", gated)
    return gate


async def started(*calls: asyncio.Task[object]) -> None:
    """Give the tasks the turns they need to stand in the queue."""
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(call.done() for call in calls)


# --- group commit and the queue ---


async def test_appends_that_wait_together_share_a_transaction(
    store: SqliteStore, transactions: list[int], gate: threading.Event
) -> None:
    busy = asyncio.create_task(store.load(ROOM))
    appends = [asyncio.create_task(store.append([record(), record()])) for _ in range(50)]
    await started(busy, *appends)
    gate.set()
    await asyncio.gather(busy, *appends)
    assert transactions == [100]


async def test_a_transaction_takes_no_more_calls_once_it_is_full(
    store: SqliteStore, transactions: list[int], gate: threading.Event
) -> None:
    busy = asyncio.create_task(store.load(ROOM))
    appends = [asyncio.create_task(store.append([record()] * 100)) for _ in range(6)]
    await started(busy, *appends)
    gate.set()
    await asyncio.gather(*appends, busy)
    assert transactions == [300, 300]
    assert transactions[0] < BATCH_RECORDS + 100


async def test_one_call_is_one_transaction_however_long(store: SqliteStore, transactions: list[int]) -> None:
    await store.append([record()] * 1000)
    assert transactions == [1000]


async def test_a_read_between_two_appends_ends_the_transaction(
    store: SqliteStore, transactions: list[int], gate: threading.Event
) -> None:
    busy = asyncio.create_task(store.load(ROOM))
    first = asyncio.create_task(store.append([record(b"1")]))
    between = asyncio.create_task(store.load(ROOM))
    second = asyncio.create_task(store.append([record(b"2")]))
    await started(busy, first, between, second)
    gate.set()
    await asyncio.gather(busy, first, second)
    assert transactions == [1, 1]
    assert [update.data for update in (await between).updates] == [b"1"]


async def test_the_event_loop_runs_on_while_the_disk_is_slow(store: SqliteStore, gate: threading.Event) -> None:
    busy = asyncio.create_task(store.load(ROOM))
    turns = 0
    for _ in range(100):
        await asyncio.sleep(0)
        turns += 1
    assert not busy.done()
    assert (await asyncio.wait([busy], timeout=0))[1] == {busy}
    gate.set()
    await busy
    assert turns == 100


async def test_callers_beyond_the_queue_wait_and_are_served(
    path: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("persistence.sqlite.QUEUE_CALLS", 5)
    store = await SqliteStore.open(path)
    busy = asyncio.create_task(store.load(ROOM))
    appends = [asyncio.create_task(store.append([record(b"%d" % n)])) for n in range(30)]
    await started(busy, *appends)
    assert store._writer.queue.qsize() <= 5
    for append in appends[3:10]:
        append.cancel()  # in the queue and behind it: neither may leak or free a place twice
    gate.set()
    results = await asyncio.gather(busy, *appends, return_exceptions=True)
    assert sum(isinstance(result, asyncio.CancelledError) for result in results) == 7
    assert store._slots._value == 5
    found = [int(update.data) for update in (await store.load(ROOM)).updates]
    assert found == sorted(found)
    assert set(range(30)) - set(range(3, 10)) <= set(found)
    await store.close()


async def test_a_cancelled_close_still_closes(store: SqliteStore, path: Path, gate: threading.Event) -> None:
    busy = asyncio.create_task(store.load(ROOM))
    closing_task = asyncio.create_task(store.close())
    await started(busy, closing_task)
    closing_task.cancel()
    gate.set()
    await store.close()
    await busy
    await (await SqliteStore.open(path)).close()


async def test_a_record_beyond_what_sqlite_can_hold_fails_alone(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_rows, "MAX_RECORD_BYTES", 1000)
    with pytest.raises(RecordTooLarge):
        await store.append([record(), record(b"x" * 1000)])
    await store.append([record()])
    assert len((await store.load(ROOM)).updates) == 1


# --- durability settings ---


async def test_the_connection_is_set_up_for_durability(store: SqliteStore) -> None:
    def pragma(name: str) -> object:
        return lambda database: database.connection.execute(f"PRAGMA {name}").fetchone()[0]

    async def value(name: str) -> object:
        return await store._call(pragma(name))  # type: ignore[arg-type]

    assert await value("journal_mode") == "wal"
    assert await value("synchronous") == 2  # FULL
    assert await value("foreign_keys") == 1
    assert await value("wal_autocheckpoint") == 0
    assert await value("busy_timeout") == sqlite_file.BUSY_TIMEOUT_MS


def _sizes(path: Path) -> tuple[int, int]:
    return path.with_name(path.name + "-wal").stat().st_size, path.stat().st_size


async def test_the_log_is_checkpointed_before_it_grows_without_bound(store: SqliteStore, path: Path) -> None:
    for _ in range(60):
        await store.append([record(b"x" * (1 << 20))])
    await store.load(ROOM)  # behind the last checkpoint in the queue
    log, database = _sizes(path)
    assert log < 20 << 20
    assert database > 40 << 20


async def test_documents_are_not_readable_by_others(store: SqliteStore, path: Path) -> None:
    await store.append([record()])
    for name in ("syncd.db", "syncd.db-wal", "syncd.db-shm", "syncd.db-lock"):
        assert stat.S_IMODE(path.with_name(name).stat().st_mode) & 0o077 == 0, name


# --- who may open it ---


async def test_a_second_opener_is_refused_with_the_pid_of_the_first(store: SqliteStore, path: Path) -> None:
    with pytest.raises(StoreInUse, match=rf"another syncd \(pid {os.getpid()}\) has .*syncd\.db open"):
        await SqliteStore.open(path)
    with pytest.raises(StoreInUse):
        migrate(f"sqlite:///{path}")
    await store.append([record()])  # the refusal has not disturbed the first


async def test_a_second_process_is_refused(store: SqliteStore, path: Path) -> None:
    program = "import asyncio, sys; from persistence.opener import open_store; asyncio.run(open_store(sys.argv[1]))"
    other = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program, f"sqlite:///{path}"), cwd=ROOT, stderr=subprocess.PIPE
    )
    _, stderr = await other.communicate()
    assert other.returncode != 0
    assert f"StoreInUse: another syncd (pid {os.getpid()}) has {path} open".encode() in stderr


async def test_another_name_of_the_same_file_is_refused(store: SqliteStore, path: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.db"
    link.symlink_to(path)
    with pytest.raises(StoreInUse):
        await SqliteStore.open(link)


async def test_others_may_read_a_running_store(store: SqliteStore, path: Path) -> None:
    await store.append([record(b"1")])
    with closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        assert reader.execute("SELECT count(*) FROM updates").fetchone() == (1,)
        await store.append([record(b"2")])  # the open read does not hold up the writer
        assert reader.execute("SELECT count(*) FROM updates").fetchone() == (1,)


async def test_a_reader_sees_what_a_running_store_has_saved(store: SqliteStore, path: Path) -> None:
    await store.append([record(b"1")])
    reader = await open_store(f"sqlite:///{path}", read_only=True)
    assert [update.data for update in (await reader.load(ROOM)).updates] == [b"1"]
    await store.append([record(b"2")])
    assert [update.data for update in (await reader.load(ROOM)).updates] == [b"1", b"2"]
    with pytest.raises(StoreBroken):
        await reader.append([record(b"3")])
    await reader.close()
    assert len((await store.load(ROOM)).updates) == 2


async def test_a_reader_creates_and_migrates_nothing(path: Path) -> None:
    with pytest.raises(StoreUrlError):
        await open_store(f"sqlite:///{path}", read_only=True)
    assert path.name not in os.listdir(path.parent)
    with closing(sqlite3.connect(path)) as empty:
        empty.execute("PRAGMA journal_mode = WAL")
    with pytest.raises(SchemaTooOld):
        await open_store(f"sqlite:///{path}", read_only=True)
    with closing(sqlite3.connect(path)) as empty:
        assert empty.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


async def test_a_foreign_writer_makes_the_store_unavailable_but_does_not_break_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_file, "BUSY_TIMEOUT_MS", 50)
    store = await SqliteStore.open(path)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable) as caught:
            await store.append([record()])
        writer.execute("ROLLBACK")
    assert caught.value.retryable
    assert len(await store.append([record()])) == 1
    assert len((await store.load(ROOM)).updates) == 1
    await store.close()


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///a?b=c", "memory", "postgres://x", "", "sqlite:/x"],
)
async def test_an_unknown_url_is_refused(url: str) -> None:
    with pytest.raises(StoreUrlError):
        await open_store(url)


async def test_a_missing_folder_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreUrlError, match="No such file or directory"):
        await open_store(f"sqlite:///{tmp_path}/nowhere/syncd.db")


# --- schema ---


async def test_migrate_reports_what_it_applied_once(path: Path) -> None:
    assert migrate(f"sqlite:///{path}") == ["0001_rooms.sql"]
    assert migrate(f"sqlite:///{path}") == []
    store = await open_store(f"sqlite:///{path}")
    assert (await store.check()).schema == 1
    await store.close()


def _contents(path: Path) -> bytes:
    return path.read_bytes()


async def test_a_newer_schema_is_refused_and_left_alone(store: SqliteStore, path: Path) -> None:
    await store.append([record()])
    await store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO schema_version VALUES (999, '0999_future.sql')")
    before = _contents(path)
    with pytest.raises(SchemaTooNew, match="schema 999, this syncd knows up to 1"):
        await SqliteStore.open(path)
    assert _contents(path) == before


async def test_a_step_that_fails_leaves_the_schema_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    migrate(f"sqlite:///{path}")
    steps = [*sqlite_file._steps(), (2, "0002_bad.sql", "CREATE TABLE fresh (a); CREATE TABLE rooms (a);")]
    monkeypatch.setattr(sqlite_file, "_steps", lambda: steps)
    with pytest.raises(StoreBroken, match="already exists"):
        migrate(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT max(version) FROM schema_version").fetchone() == (1,)
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'fresh'").fetchone() is None


def test_schema_steps_are_numbered_without_gaps() -> None:
    assert [version for version, _, _ in sqlite_file._steps()] == list(range(1, len(sqlite_file._steps()) + 1))


# --- damage ---


def _overwrite(path: Path, start: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(start)
        file.write(data)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: _overwrite(path, 0, b"not a database at all"),
        lambda path: _overwrite(path, 4096, b"\xff" * 4096 * 8),
        lambda path: os.truncate(path, 4096 * 3),
    ],
    ids=["header", "pages", "cut"],
)
async def test_a_damaged_file_is_never_an_empty_room(
    store: SqliteStore, path: Path, damage: Callable[[Path], None]
) -> None:
    await store.append([record(b"%d" % n * 100) for n in range(300)])
    await store.close()
    damage(path)
    try:
        store = await SqliteStore.open(path)
    except StoreBroken:
        return
    try:
        with pytest.raises(StoreBroken):
            await store.load(ROOM)
        with pytest.raises(StoreBroken):  # and it is not written to any more
            await store.append([record()])
    finally:
        await store.close()


async def test_the_error_of_a_broken_commit_reaches_every_caller_of_the_batch(
    store: SqliteStore, gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy = asyncio.create_task(store.load(ROOM))
    appends = [asyncio.create_task(store.append([record()])) for _ in range(10)]
    await started(busy, *appends)

    def fails(name: str) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("persistence.sqlite.hit", fails)
    gate.set()
    results = await asyncio.gather(*appends, return_exceptions=True)
    await busy
    assert [type(result) for result in results] == [StoreBroken] * 10
    assert len({id(result) for result in results}) == 10
    assert isinstance(results[0], StoreBroken)
    assert not results[0].retryable
    assert isinstance(results[0].__cause__, OSError)
    monkeypatch.undo()
    for call in (store.append([record()]), store.load(ROOM), store.rooms(), store.check()):
        with pytest.raises(StoreBroken):
            await call


async def test_the_thread_outlives_nobody(path: Path) -> None:
    """A process that forgets to close its store ends, and everything acknowledged is there."""
    program = (
        "import asyncio, sys\n"
        "from persistence.opener import open_store\n"
        "from persistence.api import Record\n"
        "async def main():\n"
        "    store = await open_store(sys.argv[1])\n"
        "    await store.append([Record('room', b'kept', '', 0)])\n"
        "asyncio.run(main())\n"
    )
    begun = time.monotonic()
    process = await asyncio.create_subprocess_exec(*(sys.executable, "-c", program, f"sqlite:///{path}"), cwd=ROOT)
    assert await asyncio.wait_for(process.wait(), 60) == 0, time.monotonic() - begun
    store = await SqliteStore.open(path)
    assert [update.data for update in (await store.load(ROOM)).updates] == [b"kept"]
    await store.close()
