"""Compaction: what a room holds before and after must be the same, whatever goes wrong on the way.

Most tests use opaque bytes and a fake fold (tests/unit/persistence/jobs.py), the last ones real Yjs updates and the
real fold.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
import pytest_asyncio
from pycrdt import Doc, Text

from crdt.block import unpack
from crdt.ids import RoomId
from persistence.api import Change, Deletion, Record, Store, StoredRoom
from persistence.compactor import CompactionPolicy, CompactionReport, Compactor
from persistence.errors import (
    CompactionFailed,
    JobFailed,
    SandboxError,
    SandboxMemory,
    SandboxTimeout,
    StoreUnavailable,
)
from persistence.memory import MemoryStore
from persistence.opener import open_store
from persistence.sandbox import Sandbox
from tests.unit.persistence.jobs import SEPARATOR

ROOM = RoomId("room")
POLICY = CompactionPolicy(updates=4, bytes=1000, snapshot_ratio=0.5, memory=1 << 30, timeout=20.0)


@pytest_asyncio.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    store = await open_store("memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/syncd.db")
    yield store
    await store.close()


@pytest_asyncio.fixture
async def sandbox() -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(module="tests.unit.persistence.jobs")
    yield sandbox
    await sandbox.close()


async def write(store: Store, updates: Sequence[bytes], author: str = "ann") -> Sequence[int]:
    return await store.append([Record(ROOM, data, author, 1_000 + n) for n, data in enumerate(updates)])


def content(stored: StoredRoom) -> list[bytes]:
    """Every update in the room, in order, however it is stored (with the fake fold)."""
    blocks = [line for block in stored.blocks for line in block.data.split(SEPARATOR)]
    return blocks + [update.data for update in stored.updates]


async def compacted(compactor: Compactor, *, force: bool = False) -> CompactionReport:
    report = await compactor.compact(ROOM, force=force)
    assert report is not None
    return report


class ChangedMeanwhile(MemoryStore):
    """A store in which somebody else acts between the compactor's read and its commit."""

    meanwhile: Change | None = None

    async def commit(self, change: Change) -> bool:
        if self.meanwhile is not None:
            other, self.meanwhile = self.meanwhile, None
            assert await super().commit(other)
        return await super().commit(change)


# --- policy ---


async def test_a_short_log_is_left_alone(store: Store, sandbox: Sandbox) -> None:
    compactor = Compactor(store, sandbox, POLICY)
    assert await compactor.compact(ROOM) is None
    await write(store, [b"1", b"2", b"3"])
    assert await compactor.compact(ROOM) is None
    assert len((await store.load(ROOM)).updates) == 3


async def test_so_many_updates_are_due(store: Store, sandbox: Sandbox) -> None:
    positions = await write(store, [b"1", b"2", b"3", b"4"])
    report = await compacted(Compactor(store, sandbox, POLICY))
    assert (report.kind, report.updates, report.last) == ("snapshot", 4, positions[3])
    assert report.block is not None
    assert (await store.load(ROOM)).blocks == (report.block,)
    assert content(await store.load(ROOM)) == [b"1", b"2", b"3", b"4"]


async def test_so_many_bytes_are_due(store: Store, sandbox: Sandbox) -> None:
    await write(store, [b"x" * 999])
    assert await Compactor(store, sandbox, POLICY).compact(ROOM) is None
    await write(store, [b"y"])
    assert (await compacted(Compactor(store, sandbox, POLICY))).bytes_in == 1000


async def test_force_compacts_what_is_not_due(store: Store, sandbox: Sandbox) -> None:
    compactor = Compactor(store, sandbox, POLICY)
    assert await compactor.compact(ROOM, force=True) is None
    await write(store, [b"1"])
    assert (await compacted(compactor, force=True)).updates == 1


async def test_segments_come_first_and_a_snapshot_when_they_outgrow_their_share(store: Store, sandbox: Sandbox) -> None:
    compactor = Compactor(store, sandbox, POLICY)
    await write(store, [b"a" * 30] * 4)  # 123 bytes with separators
    assert (await compacted(compactor)).kind == "snapshot"
    await write(store, [b"b" * 10] * 4)  # 43: below half
    assert (await compacted(compactor)).kind == "segment"
    await write(store, [b"c" * 10] * 4)  # 86: above half
    report = await compacted(compactor)
    assert report.kind == "snapshot"
    assert report.block is not None
    stored = await store.load(ROOM)
    assert stored.blocks == (report.block,)
    assert content(stored) == [b"a" * 30] * 4 + [b"b" * 10] * 4 + [b"c" * 10] * 4


async def test_write_amplification_stays_bounded(sandbox: Sandbox) -> None:
    store = MemoryStore()
    compactor = Compactor(store, sandbox, POLICY)
    written = 0
    for n in range(60):
        await write(store, [b"%08d" % (4 * n + part) for part in range(4)])
        written += (await compacted(compactor)).bytes_out
    stored = await store.load(ROOM)
    assert content(stored) == [b"%08d" % n for n in range(240)]
    total = sum(len(block.data) for block in stored.blocks)
    # Rewriting everything each time would cost 30 times the document; a growth factor of 1.5 costs 1 + 1/0.5 plus the
    # segments themselves.
    assert written < 5 * total


async def test_the_segment_knows_its_authors_and_its_time(sandbox: Sandbox) -> None:
    store = MemoryStore()
    await write(store, [b"1", b"2"], "zoe")
    await write(store, [b"3", b"4", b"poison"], "ann")
    await write(store, [b"poison"], "mallory")
    await compacted(Compactor(store, sandbox, POLICY))
    (segment,) = store._rooms[ROOM].segments
    assert (segment.authors, segment.started, segment.ended) == (("ann", "zoe"), 1_000, 1_001)


# --- poison ---


@pytest.mark.parametrize("poison", [b"poison", b"die"])
@pytest.mark.parametrize("at", [0, 3, 7])
async def test_poison_is_found_and_the_rest_goes_on(store: Store, sandbox: Sandbox, poison: bytes, at: int) -> None:
    updates = [b"%d" % n for n in range(8)]
    updates[at] = poison
    positions = await write(store, updates)
    report = await compacted(Compactor(store, sandbox, POLICY))
    assert [quarantined.position for quarantined in report.quarantined] == [positions[at]]
    assert content(await store.load(ROOM)) == updates[:at] + updates[at + 1 :]
    assert (await store.rooms())[0].quarantined == 1
    await write(store, [b"a", b"b", b"c", b"d"])
    assert (await compacted(Compactor(store, sandbox, POLICY))).quarantined == ()


async def test_the_rule_that_was_broken_is_kept(sandbox: Sandbox) -> None:
    store = MemoryStore()
    await write(store, [b"poison", b"1", b"die", b"2"])
    report = await compacted(Compactor(store, sandbox, POLICY))
    assert [quarantined.rule for quarantined in report.quarantined] == ["poison", "SandboxDied"]


async def test_what_only_an_engine_refuses_is_kept_and_reported(store: Store, sandbox: Sandbox) -> None:
    updates = [b"1", b"unloadable", b"2", b"3"]
    await write(store, updates)
    report = await compacted(Compactor(store, sandbox, POLICY))
    assert report.quarantined == ()
    assert report.unloadable == "load: cannot be loaded"
    assert content(await store.load(ROOM)) == updates


async def test_a_batch_of_nothing_but_poison_is_taken_out(store: Store, sandbox: Sandbox) -> None:
    await write(store, [b"poison"] * 4)
    report = await compacted(Compactor(store, sandbox, POLICY))
    assert (report.kind, report.block, len(report.quarantined)) == ("quarantine", None, 4)
    assert content(await store.load(ROOM)) == []


class NothingFolds(Sandbox):
    """A sandbox in which every merge ends in the given error."""

    error: SandboxError = JobFailed("fold", "nothing folds")

    async def run(self, job: str, *args: str | Sequence[bytes], timeout: float, memory: int) -> bytes:  # noqa: ASYNC109
        if job == "fold":
            raise self.error
        return await super().run(job, *args, timeout=timeout, memory=memory)


@pytest.mark.parametrize("error", [JobFailed("fold", "no"), SandboxTimeout("slow"), SandboxMemory("large")])
async def test_no_update_is_blamed_for_what_is_not_its_fault(store: Store, error: SandboxError) -> None:
    await write(store, [b"5", b"6", b"7", b"8"])
    before = await store.load(ROOM)
    broken = NothingFolds(module="tests.unit.persistence.jobs")
    broken.error = error
    with pytest.raises(CompactionFailed):
        await Compactor(store, broken, POLICY).compact(ROOM)
    await broken.close()
    assert await store.load(ROOM) == before


async def test_no_update_is_blamed_when_no_child_can_be_started(
    store: Store, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    await write(store, [b"1", b"2", b"3", b"4"])
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    with pytest.raises(StoreUnavailable):
        await Compactor(store, sandbox, POLICY).compact(ROOM)
    assert content(await store.load(ROOM)) == [b"1", b"2", b"3", b"4"]


async def test_no_update_is_blamed_for_a_child_that_was_killed_once(
    store: Store, sandbox: Sandbox, tmp_path: Path
) -> None:
    mark = tmp_path / "died"
    updates = [b"1", b"2", b"die-once " + bytes(mark), b"3"]
    await write(store, updates)
    report = await compacted(Compactor(store, sandbox, POLICY))
    assert mark.exists()
    assert report.quarantined == ()
    assert content(await store.load(ROOM)) == updates


# --- the fence ---


async def test_a_compactor_that_lost_the_race_changes_nothing(sandbox: Sandbox) -> None:
    store = ChangedMeanwhile()
    await write(store, [b"1", b"2", b"3", b"4"])
    store.meanwhile = Deletion(ROOM, 0)
    assert await Compactor(store, sandbox, POLICY).compact(ROOM) is None
    assert await store.load(ROOM) == StoredRoom((), (), 1)


async def test_two_compactors_at_once_do_the_work_once(store: Store, sandbox: Sandbox) -> None:
    await write(store, [b"1", b"2", b"3", b"4"])
    second = Sandbox(module="tests.unit.persistence.jobs")
    compactors = [Compactor(store, sandbox, POLICY), Compactor(store, second, POLICY)]
    reports = await asyncio.gather(*(compactor.compact(ROOM) for compactor in compactors))
    await second.close()
    assert sum(report is not None for report in reports) == 1
    assert content(await store.load(ROOM)) == [b"1", b"2", b"3", b"4"]


async def test_updates_written_during_a_compaction_follow_its_block(store: Store, sandbox: Sandbox) -> None:
    await write(store, [b"1", b"2", b"3", b"4"])
    running = asyncio.create_task(Compactor(store, sandbox, POLICY).compact(ROOM))
    for n in range(20):
        await write(store, [b"late %d" % n])
        await asyncio.sleep(0)
    assert await running is not None
    assert content(await store.load(ROOM)) == [b"1", b"2", b"3", b"4"] + [b"late %d" % n for n in range(20)]


# --- with real documents ---


def history(seed: int, steps: int) -> tuple[list[bytes], str]:
    """Updates of three clients who type and delete in one text, each seeing the others' edits now and then."""
    rng = random.Random(seed)
    docs: list[Doc[Text]] = [Doc(client_id=client + 1) for client in range(3)]
    texts = [doc.get("t", type=Text) for doc in docs]
    updates: list[bytes] = []
    for doc in docs:
        doc.observe(lambda event: updates.append(event.update))
    seen = [0, 0, 0]
    for _ in range(steps):
        who = rng.randrange(3)
        if rng.random() < 0.3:
            for update in list(updates[seen[who] :]):
                docs[who].apply_update(update)
            updates[:] = list(dict.fromkeys(updates))
            seen[who] = len(updates)
        length = len(str(texts[who]))
        if length > 5 and rng.random() < 0.25:
            start = rng.randrange(length - 2)
            del texts[who][start : start + 2]
        else:
            texts[who].insert(rng.randrange(length + 1), rng.choice("abcdefgh"))
    updates = list(dict.fromkeys(updates))
    whole: Doc[Text] = Doc()
    for update in updates:
        whole.apply_update(update)
    return updates, str(whole.get("t", type=Text))


def text_of(stored: StoredRoom) -> str:
    doc: Doc[Text] = Doc()
    for block in stored.blocks:
        for update in unpack(block.data):
            doc.apply_update(update)
    for stored_update in stored.updates:
        doc.apply_update(stored_update.data)
    return str(doc.get("t", type=Text))


@pytest.mark.parametrize("seed", range(3))
async def test_real_documents_read_the_same_after_every_compaction(store: Store, seed: int) -> None:
    updates, text = history(seed, 400)
    sandbox = Sandbox()
    policy = CompactionPolicy(updates=40, bytes=1 << 20, snapshot_ratio=0.5, memory=1 << 30, timeout=60)
    compactor = Compactor(store, sandbox, policy)
    kinds = []
    for start in range(0, len(updates), 40):
        await write(store, updates[start : start + 40])
        report = await compactor.compact(ROOM)
        if report is not None:
            assert report.quarantined == ()
            kinds.append(report.kind)
    await sandbox.close()
    assert {"segment", "snapshot"} <= set(kinds)
    assert text_of(await store.load(ROOM)) == text


async def test_bytes_that_are_no_update_are_quarantined_and_the_document_lives(store: Store) -> None:
    updates, text = history(7, 60)
    batch = [*updates[:20], b"\xff\xff\xff", *updates[20:], bytes.fromhex("01010000020100000000")]
    positions = await write(store, batch)
    sandbox = Sandbox()
    report = await compacted(Compactor(store, sandbox, POLICY))
    await sandbox.close()
    assert [quarantined.position for quarantined in report.quarantined] == [positions[20], positions[-1]]
    assert text_of(await store.load(ROOM)) == text
