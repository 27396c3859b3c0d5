"""The slower way beside the fast one: collects what rooms have flushed and makes it durable, many rooms a
transaction."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from persistence.api import Record, Store
from persistence.errors import StoreError
from syncd.metrics import Stats
from syncd.room import Room

logger = logging.getLogger(__name__)

FIRST_RETRY: Final = 0.1
LAST_RETRY: Final = 2.0


class LogWriter:
    """Writes the log of all rooms of a node.

    While one transaction is on its way to the disk, the next one gathers: that is the group commit.

    Args:
        store: where to.
        stats: counters of the node.
        gather: seconds that updates gather before a transaction when somebody waits for it, or nobody is left in the
            room who has them.
        patience: seconds that they gather otherwise. A transaction costs as much CPU as ten readers of a flush, so
            one that nobody waits for should hold many.
        on_saved: called with a room after its updates became durable.
        on_broken: called once when the store cannot go on; nothing is reported as saved from then on.
    """

    def __init__(
        self,
        store: Store,
        stats: Stats,
        gather: float,
        patience: float,
        on_saved: Callable[[Room], None],
        on_broken: Callable[[StoreError], None],
    ) -> None:
        self._store = store
        self._stats = stats
        self._gather = gather
        self._patience = max(gather, patience)
        self._on_saved = on_saved
        self._on_broken = on_broken
        self._dirty: dict[Room, None] = {}
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._hurry = False

    def note(self, room: Room) -> None:
        """The room has something to save, or what it has to save is more urgent than it was."""
        if self._timer is not None and not room.urgent and not self._hurry:
            self._dirty[room] = None  # it is in good time with the others
            return
        now = self._loop.time()
        if not self._dirty:
            self._since = now
        self._dirty[room] = None
        self._idle.clear()
        due = self._since + (self._gather if room.urgent else self._patience)
        if due <= now or self._hurry:
            self._wake.set()
        elif self._timer is None or due < self._timer.when():
            self._disarm()
            self._timer = self._loop.call_at(due, self._wake.set)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def run(self) -> None:
        """Write until cancelled, or until the store is broken."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._disarm()
            try:
                await self._write()
            except StoreError as error:
                self._break(error)
                return
            # Whatever else it is, nothing would be saved from here on and nobody would know.
            except Exception as error:
                logger.exception("saving failed in a way that is not the store's")
                self._break(StoreError(f"{type(error).__name__}: {error}"))
                return
            if not self._dirty:
                self._idle.set()

    def _break(self, error: StoreError) -> None:
        """Give up: nobody waits for this writer any more."""
        self._stats.log_failures += 1
        logger.critical("the store cannot save any more: %s", error)
        self._on_broken(error)
        self._idle.set()

    async def drain(self) -> None:
        """Wait until everything is durable, without gathering; or until the store is broken."""
        self._hurry = True
        if self._dirty:
            self._wake.set()
        await self._idle.wait()

    async def _write(self) -> None:
        rooms = list(self._dirty)
        self._dirty.clear()
        records: list[Record] = []
        spans: list[tuple[Room, int, int, int]] = []
        updates = 0
        oldest = time.monotonic()
        at = time.time_ns() // 1_000_000
        for room in rooms:
            oldest = min(oldest, room.unlogged_since)
            taken, number, count = room.take_unlogged()
            updates += count
            records.extend(Record(room.name, data, author, at) for data, author in taken)
            spans.append((room, number, len(records), len(taken)))
        positions = await self._append(records)
        self._count(records, updates, oldest)
        for room, number, end, count in spans:
            if count:
                room.logged(number, positions[end - 1], count)
                self._on_saved(room)

    async def _append(self, records: list[Record]) -> list[int]:
        """Append, again and again while the store only says "not now"."""
        wait = FIRST_RETRY
        while True:
            try:
                return list(await self._store.append(records))
            except StoreError as error:
                if not error.retryable:
                    raise
                self._stats.log_failures += 1
                logger.warning("saving failed, trying again in %.1f s: %s", wait, error)
            await asyncio.sleep(wait)
            wait = min(wait * 2, LAST_RETRY)

    def _count(self, records: list[Record], updates: int, oldest: float) -> None:
        stats = self._stats
        stats.unsaved_updates -= updates
        stats.log_batches += 1
        stats.log_records += len(records)
        stats.log_bytes += sum(len(record.data) for record in records)
        stats.save_lag_last = time.monotonic() - oldest
        stats.save_lag.observe(stats.save_lag_last)
