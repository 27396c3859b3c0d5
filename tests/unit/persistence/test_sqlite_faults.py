"""The SQLite store under kill -9, torn logs, full and failing disks: what was acknowledged is there afterwards.

Another process writes (tests/unit/persistence/writer.py) and prints each acknowledgement into a file; when it is dead,
the store is opened again and must hold every token acknowledged, in order, none twice, none that nobody wrote.
"""

import contextlib
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from crdt.ids import RoomId
from persistence.api import Record
from persistence.sqlite import SqliteStore
from tests.unit.persistence.writer import BROKEN_EXIT, ROOMS, tokens

ROOT = Path(__file__).resolve().parents[3]
DEADLINE = 60.0  # seconds after which a process that should have ended fails its test

pytestmark = pytest.mark.faults


class Writer:
    """The writing process, its store and what it acknowledged."""

    def __init__(self, folder: Path, *options: str, run: str = "run", prefix: Sequence[str] = (),
                 env: Mapping[str, str] | None = None, path: Path | None = None) -> None:  # fmt: skip
        self.path = path or folder / "syncd.db"
        self.log = folder / f"acknowledged-{run}"
        command = [
            *prefix,
            sys.executable,
            "-m",
            "tests.unit.persistence.writer",
            str(self.path),
            "--run",
            run,
            *options,
        ]
        with self.log.open("wb") as log, (folder / f"stderr-{run}").open("wb") as stderr:
            environment = {**os.environ, **(env or {})}
            self.process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=stderr, env=environment)

    def lines(self) -> list[str]:
        text = self.log.read_text()
        return text[: text.rfind("\n") + 1].splitlines()

    def wait_for(self, lines: int, more: float = 0.0) -> None:
        """Wait until so many lines are there (and `more` seconds), or the process has ended."""
        end = time.monotonic() + DEADLINE
        while len(self.lines()) < lines and self.process.poll() is None:
            assert time.monotonic() < end, f"{len(self.lines())} of {lines} lines after {DEADLINE} s"
            time.sleep(0.001)
        time.sleep(more)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(DEADLINE)

    def wait(self) -> int:
        try:
            return self.process.wait(DEADLINE)
        finally:
            if self.process.poll() is None:
                self.kill()

    def acknowledged(self) -> dict[RoomId, list[tuple[int, bytes]]]:
        """Return (position, token) of each record acknowledged, by room; a batch counts from its first position."""
        found: dict[RoomId, list[tuple[int, bytes]]] = {RoomId(f"room {n}"): [] for n in range(ROOMS)}
        for line in self.lines():
            name, _, rest = line.partition(" ")
            if name.startswith("room_"):
                first, *names = rest.split(" ")
                room = RoomId(name.replace("_", " "))
                found[room] += [(int(first) + n, token.encode()) for n, token in enumerate(names)]
        return found


async def verify(path: Path, writers: Sequence[Writer]) -> int:
    """Open the store and compare it with what was acknowledged; return how many records were."""
    store = await SqliteStore.open(path)
    count = 0
    try:
        assert (await store.check(deep=True)).problems == ()
        runs = {writer.log.name.removeprefix("acknowledged-").encode() for writer in writers}
        for room in [RoomId(f"room {n}") for n in range(ROOMS)]:
            there = tokens(await store.load(room))
            acknowledged = [token for w in writers for _, token in sorted(w.acknowledged()[room])]
            count += len(acknowledged)
            assert len(there) == len(set(there)), "a record is there twice"
            assert {token.split(b":")[0] for token in there} <= runs, "a record that nobody wrote"
            known = set(acknowledged)
            lost = known - set(there)
            assert not lost, f"{len(lost)} acknowledged records lost, one is {min(lost)!r}"
            assert [token for token in there if token in known] == acknowledged, "the order changed"
    finally:
        await store.close()
    return count


# --- kill -9 ---


async def test_nothing_acknowledged_is_lost_by_kill_at_random_moments(tmp_path: Path) -> None:
    rng = random.Random(4)
    writers: list[Writer] = []
    for n in range(20):
        writer = Writer(tmp_path, "--compact", run=f"r{n}")
        writer.wait_for(rng.randrange(1, 200), more=rng.random() * 0.01)
        writer.kill()
        writers.append(writer)
    assert await verify(writers[0].path, writers) > 1000


FAILPOINTS = ["before_commit", "after_commit", "before_compaction_commit", "after_compaction_commit"]
IN_SANDBOX = ["mid_compaction", "after_compaction_commit"]  # these again, with the compactor and its child


@pytest.mark.parametrize(
    ("failpoint", "how"),
    [*((failpoint, "--compact") for failpoint in FAILPOINTS), *((name, "--sandbox") for name in IN_SANDBOX)],
)
async def test_nothing_acknowledged_is_lost_by_kill_at_a_failpoint(tmp_path: Path, failpoint: str, how: str) -> None:
    writers: list[Writer] = []
    for n in range(5):
        env = {"SYNCD_FAILPOINT": f"{failpoint}:0.05:kill", "SYNCD_FAILPOINT_SEED": str(n)}
        writers.append(Writer(tmp_path, how, run=f"r{n}", env=env))
        assert writers[-1].wait() == -signal.SIGKILL
    assert await verify(writers[0].path, writers) > 0


@pytest.mark.parametrize("failpoint", FAILPOINTS)
async def test_an_unexpected_failure_breaks_the_store_and_loses_nothing(tmp_path: Path, failpoint: str) -> None:
    env = {"SYNCD_FAILPOINT": f"{failpoint}:0.1:raise", "SYNCD_FAILPOINT_SEED": "1"}
    writer = Writer(tmp_path, "--compact", env=env)
    assert writer.wait() == BROKEN_EXIT
    assert writer.lines()[-1] == "broken"
    assert "false acknowledgement" not in writer.lines()
    await verify(writer.path, [writer])


@pytest.mark.slow
@pytest.mark.timeout(1200)
async def test_nothing_of_a_million_is_lost_by_kill(tmp_path: Path) -> None:
    writers: list[Writer] = []
    for n in range(20):
        writer = Writer(tmp_path, "--batch", "100", "--padding", "0", "--workers", "16", run=f"r{n}")
        writer.wait_for(520)
        writer.kill()
        writers.append(writer)
    assert await verify(writers[0].path, writers) >= 1_000_000


# --- the end of the write-ahead log ---


async def _one_by_one(path: Path, count: int) -> list[int]:
    """Write `count` records, a transaction each; return the size of the write-ahead log after each."""
    store = await SqliteStore.open(path)
    ends = []
    for n in range(count):
        await store.append([Record(RoomId("room"), b"%d" % n, "w", 0)])
        ends.append(path.with_name(path.name + "-wal").stat().st_size)
    copy = path.parent / "copy"
    copy.mkdir()
    for name in (path.name, path.name + "-wal"):  # as kill -9 would leave them
        shutil.copy(path.parent / name, copy / name)
    await store.close()
    assert ends == sorted(set(ends))
    return ends


@pytest.mark.parametrize("damage", ["cut", "flip", "zero", "garbage"])
@pytest.mark.parametrize("seed", range(4))
async def test_a_torn_log_loses_its_torn_end_and_nothing_else(tmp_path: Path, damage: str, seed: int) -> None:
    ends = await _one_by_one(tmp_path / "syncd.db", 30)
    rng = random.Random(seed)
    torn = rng.randrange(ends[10] + 1, ends[-1])
    wal = tmp_path / "copy" / "syncd.db-wal"
    data = bytearray(wal.read_bytes())
    if damage == "cut":
        del data[torn:]
    elif damage == "flip":
        data[torn] ^= 0x10
    else:
        data[torn:] = bytes(len(data) - torn) if damage == "zero" else rng.randbytes(len(data) - torn)
    wal.write_bytes(data)
    store = await SqliteStore.open(tmp_path / "copy" / "syncd.db")
    there = tokens(await store.load(RoomId("room")))
    assert (await store.check(deep=True)).problems == ()
    whole = sum(end <= torn for end in ends)
    # All commits that end before the damage, and none that was torn by it: a record half there is not there.
    assert there == [b"%d" % n for n in range(whole)]
    await store.append([Record(RoomId("room"), b"on", "w", 0)])
    await store.close()


# --- copies of a running store ---


async def test_a_snapshot_of_the_folder_of_a_running_store_restores(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    writer = Writer(source, "--compact")
    for n in range(5):
        writer.wait_for(100 * (n + 1))
        # A snapshot of the file system is atomic; stopping the writer makes a plain copy so.
        writer.process.send_signal(signal.SIGSTOP)
        shutil.copytree(source, tmp_path / f"copy {n}")
        writer.process.send_signal(signal.SIGCONT)
    writer.kill()
    for n in range(5):
        copied = Writer.__new__(Writer)
        copied.path, copied.log = tmp_path / f"copy {n}" / "syncd.db", tmp_path / f"copy {n}" / writer.log.name
        assert await verify(copied.path, [copied]) >= 100 * (n + 1) - 1


async def test_an_online_backup_of_a_running_store_restores(tmp_path: Path) -> None:
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.mkdir()
    copy.mkdir()
    writer = Writer(source, "--compact")
    writer.wait_for(100)
    shutil.copy(writer.log, copy / writer.log.name)
    running, target = sqlite3.connect(writer.path), sqlite3.connect(copy / "syncd.db")
    with contextlib.closing(running), contextlib.closing(target):
        running.backup(target)
    writer.kill()
    copied = Writer.__new__(Writer)
    copied.path, copied.log = copy / "syncd.db", copy / writer.log.name
    assert await verify(copied.path, [copied]) >= 99


# --- full disks ---


async def test_a_limit_on_the_file_breaks_the_store_and_loses_nothing(tmp_path: Path) -> None:
    writer = Writer(tmp_path, "--padding", "5000", "--file-limit", str(2 << 20))
    assert writer.wait() == BROKEN_EXIT
    assert writer.lines()[-1] == "broken"
    assert "false acknowledgement" not in writer.lines()
    assert await verify(writer.path, [writer]) > 10


@contextlib.contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    folder.mkdir()
    mounted = os.geteuid() == 0 and shutil.which("mount") is not None
    mounted = (
        mounted
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
    )
    if not mounted:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def make_room(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=60m", str(disk)], check=True)


async def test_a_full_disk_breaks_the_store_and_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        writer = Writer(tmp_path, "--padding", "5000", "--compact", path=disk / "syncd.db")
        assert writer.wait() == BROKEN_EXIT
        assert writer.lines()[-1] == "broken"
        assert "false acknowledgement" not in writer.lines()
        make_room(disk)
        assert await verify(writer.path, [writer]) > 10


# --- failing disks ---


def strace(inject: str, *more: str) -> Sequence[str]:
    """The prefix that makes syscalls of a process fail. Needs strace."""
    found = shutil.which("strace")
    if found is None:
        message = "strace is missing (Debian package strace): failing disks are not tested"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    calls = "fsync,fdatasync"
    return [found, "-f", "-qq", "-o", "/dev/null", *more, "-e", f"trace={calls}", "-e", f"inject={calls}:{inject}"]


@pytest.mark.parametrize("when", ["20", "40+"])
async def test_a_failed_fsync_breaks_the_store_and_is_never_retried(tmp_path: Path, when: str) -> None:
    # "20": one failure only. Whoever asks the disk again is told that all is well, and must not believe it.
    writer = Writer(tmp_path, prefix=strace(f"error=EIO:when={when}"))
    assert writer.wait() == BROKEN_EXIT
    assert writer.lines()[-1] == "broken"
    assert "false acknowledgement" not in writer.lines()
    assert len(writer.lines()) > 3
    await verify(writer.path, [writer])


async def test_a_failed_fsync_in_a_checkpoint_breaks_the_store(tmp_path: Path) -> None:
    store = await SqliteStore.open(tmp_path / "syncd.db")
    await store.close()
    # Only the database file itself: its syncs are those of checkpoints.
    writer = Writer(
        tmp_path, "--padding", "200000", prefix=strace("error=EIO:when=1", "-P", str(tmp_path / "syncd.db"))
    )
    assert writer.wait() == BROKEN_EXIT
    assert "false acknowledgement" not in writer.lines()
    assert await verify(writer.path, [writer]) > 10


async def test_a_slow_disk_delays_the_acknowledgement(tmp_path: Path) -> None:
    started = time.monotonic()
    writer = Writer(tmp_path, "--workers", "1", "--appends", "5", prefix=strace("delay_enter=100000:when=12+"))
    assert writer.wait() == 0
    # The last of the five syncs is over before the process ends; a store that answers early would not have waited.
    assert time.monotonic() - started >= 0.5
    assert await verify(writer.path, [writer]) == 5
