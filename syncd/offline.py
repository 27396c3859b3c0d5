"""Work on a store from the command line: reading beside a running server, writing while there is none."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, TypeVar

from crdt.ids import RoomId
from persistence.api import RoomStats, Store, StoredRoom
from persistence.errors import StoreUrlError
from persistence.opener import database_path, open_store
from persistence.sandbox import Sandbox
from syncd.config import Settings
from syncd.export import open_replica

T = TypeVar("T")


def with_store(settings: Settings, work: Callable[[Store], Awaitable[T]], *, write: bool = False) -> T:
    """Runs `work` on the open store and returns its result. Only with `write` may it write, or make a new database.

    Raises `persistence.errors.StoreError`, with `write` among them `StoreInUse` while a server runs.
    """
    if settings.store.startswith("memory:"):
        raise StoreUrlError("memory:// holds nothing once its server has stopped; name a store with --store")
    path = database_path(settings.store)
    if path is not None and not write and not path.is_file():
        raise StoreUrlError(f"there is no database {path}; name another with --store")

    async def run() -> T:
        opened = await open_store(settings.store, read_only=not write)
        try:
            return await work(opened)
        finally:
            await opened.close()

    return asyncio.run(run())


async def in_sandbox(work: Callable[[Sandbox], Awaitable[T]]) -> T:
    """Runs `work` with a sandbox of its own."""
    sandbox = Sandbox()
    try:
        return await work(sandbox)
    finally:
        await sandbox.close()


async def all_rooms(store: Store) -> list[RoomStats]:
    """Every room in the store, by name."""
    found: list[RoomStats] = []
    while page := await store.rooms(found[-1].room if found else ""):
        found.extend(page)
    return found


async def stats_of(store: Store, room: RoomId) -> RoomStats | None:
    """What the store counts for one room; None if it holds nothing of it."""
    after = room[:-1]  # sorts before the room, and after nearly everything else that does
    while page := await store.rooms(after):
        for stats in page:
            if stats.room == room:
                return stats
            if stats.room > room:
                return None
        after = page[-1].room
    return None


def facts_of(room: RoomId, stored: StoredRoom, stats: RoomStats | None) -> dict[str, Any]:
    """What there is to know about a stored room, sizes in bytes. Raises `crdt.errors.ProtocolError` if damaged."""
    replica = open_replica(stored)
    times = [update.at for update in stored.updates]
    return {
        "room": room,
        "generation": stored.generation,
        "clients": len(replica.index.clocks),
        "clocks": sum(replica.index.clocks.values()),
        "block_bytes": sum(len(block.data) for block in stored.blocks),
        "updates": len(stored.updates),
        "update_bytes": sum(len(update.data) for update in stored.updates),
        "last_position": stored.updates[-1].position if stored.updates else stored.covered,
        "quarantined": stats.quarantined if stats else 0,
        "authors": sorted({update.author for update in stored.updates}),
        "oldest_update": _instant(min(times)) if times else None,
        "newest_update": _instant(max(times)) if times else None,
        "blocks": [{"first": each.first, "last": each.last, "bytes": len(each.data)} for each in stored.blocks],
    }


def _instant(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="milliseconds")
