"""A process that writes through the SQLite store until something ends it: `python -m tests.unit.persistence.writer`.

Prints one line per acknowledged append, only after the acknowledgement, unbuffered: `room first-position token ...`.
Also compacts, by joining bytes. When the store breaks it tries some more, which must not be acknowledged, and
prints `broken`; exit code 3.
"""

import argparse
import asyncio
import os
import resource
from pathlib import Path

from crdt.ids import RoomId
from persistence.api import Compaction, Record, StoredBlock, StoredRoom
from persistence.compactor import CompactionPolicy, Compactor
from persistence.errors import StoreBroken
from persistence.sandbox import Sandbox
from persistence.sqlite import SqliteStore

SEPARATOR = b"\n"
ROOMS = 4
BROKEN_EXIT = 3


def tokens(stored: StoredRoom) -> list[bytes]:
    """Everything written to a room, in order, however it is stored; without padding."""
    blocks = [part for block in stored.blocks for part in block.data.split(SEPARATOR)]
    return [part.split(b" ")[0] for part in blocks + [update.data for update in stored.updates]]


async def write(store: SqliteStore, arguments: argparse.Namespace, worker: int) -> None:
    count = 0
    padding = b" " + b"x" * arguments.padding
    while not arguments.appends or count < arguments.appends:
        room = RoomId(f"room {(worker + count) % ROOMS}")
        names = [b"%s:%d:%d:%d" % (arguments.run.encode(), worker, count, part) for part in range(arguments.batch)]
        positions = await store.append([Record(room, name + padding, "w", 0) for name in names])
        os.write(1, b" ".join([room.encode().replace(b" ", b"_"), b"%d" % positions[0], *names]) + b"\n")
        count += 1


async def compact(store: SqliteStore) -> None:
    turn = 0
    while True:
        await asyncio.sleep(0.002)
        turn += 1
        room = RoomId(f"room {turn % ROOMS}")
        stored = await store.load(room)
        if turn % 5 == 0 and len(stored.blocks) > 1:
            whole = StoredBlock(1, stored.covered, SEPARATOR.join(block.data for block in stored.blocks))
            assert await store.commit(Compaction(room, "snapshot", stored.generation, stored.covered, whole))
        elif stored.updates:
            positions = tuple(update.position for update in stored.updates)
            joined = SEPARATOR.join(update.data for update in stored.updates)
            block = StoredBlock(stored.covered + 1, positions[-1], joined)
            assert await store.commit(
                Compaction(room, "segment", stored.generation, stored.covered, block, positions, authors=("w",))
            )


async def compact_in_sandbox(store: SqliteStore) -> None:
    """The same by way of the compactor and a child process, with the fake fold of `jobs`."""
    sandbox = Sandbox(module="tests.unit.persistence.jobs")
    compactor = Compactor(store, sandbox, CompactionPolicy(updates=10))
    try:
        while True:
            for n in range(ROOMS):
                await compactor.compact(RoomId(f"room {n}"))
            await asyncio.sleep(0.002)
    finally:
        await sandbox.close()


async def try_again(store: SqliteStore) -> None:
    """What is broken stays broken, whatever the disk says now."""
    for attempt in range(5):
        for call in (store.append([Record(RoomId("room 0"), b"after", "w", attempt)]), store.load(RoomId("room 0"))):
            try:
                await call
            except StoreBroken:
                continue
            os.write(1, b"false acknowledgement\n")
        await asyncio.sleep(0.01)
    os.write(1, b"broken\n")


async def main(arguments: argparse.Namespace) -> int:
    if arguments.file_limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (arguments.file_limit, arguments.file_limit))
    store = await SqliteStore.open(arguments.path)
    os.write(1, b"open\n")
    broken = False
    try:
        async with asyncio.TaskGroup() as group:
            background = [group.create_task(compact(store))] if arguments.compact else []
            background += [group.create_task(compact_in_sandbox(store))] if arguments.sandbox else []
            workers = [group.create_task(write(store, arguments, worker)) for worker in range(arguments.workers)]
            await asyncio.wait(workers)
            for task in background:
                task.cancel()
    except* StoreBroken:
        broken = True
    if broken:
        await try_again(store)
        return BROKEN_EXIT
    await store.close()
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("path", type=Path)
    parser.add_argument("--run", default="run", help="prefix of this run's tokens")
    parser.add_argument("--workers", type=int, default=8, help="callers at once")
    parser.add_argument("--batch", type=int, default=1, help="records per append")
    parser.add_argument("--padding", type=int, default=20, help="bytes added to each record")
    parser.add_argument("--appends", type=int, default=0, help="appends per worker, 0: for ever")
    parser.add_argument("--compact", action="store_true")
    parser.add_argument(
        "--sandbox", action="store_true", help="compact in a child process; not together with --compact"
    )
    parser.add_argument("--file-limit", type=int, default=0, help="RLIMIT_FSIZE in bytes")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main(parse())))
