"""The rooms that are open on this node: one load per room however many ask, unloaded when nobody is left."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

from crdt.errors import ProtocolError
from crdt.ids import RoomId
from persistence.api import Store
from syncd.close_codes import CloseCode
from syncd.connection import Connection
from syncd.metrics import Stats
from syncd.room import Room

logger = logging.getLogger(__name__)


class Registry:
    """Rooms by name.

    Args:
        store: where rooms are loaded from.
        stats: counters of the node.
        make: builds an empty room.
        greet: opens a connection's session once its room is loaded.
        on_loaded: called with a room once it is loaded.
    """

    def __init__(
        self,
        store: Store,
        stats: Stats,
        make: Callable[[RoomId], Room],
        greet: Callable[[Connection], None],
        on_loaded: Callable[[Room], None],
    ) -> None:
        self._store = store
        self._stats = stats
        self._make = make
        self._greet = greet
        self._on_loaded = on_loaded
        self._loads: set[asyncio.Task[None]] = set()
        self.rooms: dict[RoomId, Room] = {}

    def get(self, name: RoomId) -> Room:
        """The room, whose load has begun if it was not open; look at `loaded`."""
        room = self.rooms.get(name)
        if room is None:
            room = self.rooms[name] = self._make(name)
            self._stats.rooms += 1
            task = asyncio.get_running_loop().create_task(self._load(room))
            self._loads.add(task)
            task.add_done_callback(self._loads.discard)
        return room

    async def _load(self, room: Room) -> None:
        started = time.monotonic()
        try:
            await room.load(await self._store.load(room.name))
        except ProtocolError:
            self._give_up(room, "the document is damaged")
            return
        # Whatever else it is: those who wait for the room must not wait for ever.
        except Exception:
            self._give_up(room, "the document cannot be loaded")
            return
        self._stats.loads += 1
        self._stats.load_time.observe(time.monotonic() - started)
        if not room.connections:
            room.idle_since = time.monotonic()
        for connection in tuple(room.connections):
            self._greet(connection)
        self._on_loaded(room)

    def _give_up(self, room: Room, reason: str) -> None:
        self._stats.load_failures += 1
        logger.exception("room %r cannot be loaded", room.name)
        self._discard(room)
        for connection in tuple(room.connections):
            connection.refuse(CloseCode.TRY_LATER, reason)

    def unload_idle(self, now: float, after: float) -> None:
        """Forget rooms that nobody has been in for `after` seconds and that hold nothing unsaved."""
        for room in list(self.rooms.values()):
            if room.loaded and room.idle_since and now - room.idle_since >= after and not room.has_unsaved():
                self._discard(room)
                self._stats.unloads += 1

    def _discard(self, room: Room) -> None:
        room.close()
        if self.rooms.get(room.name) is room:
            del self.rooms[room.name]
            self._stats.rooms -= 1

    async def stop(self) -> None:
        """End the loads that are under way."""
        for task in tuple(self._loads):
            task.cancel()
        await asyncio.gather(*self._loads, return_exceptions=True)
        for room in list(self.rooms.values()):
            self._discard(room)
