"""Connections that say nothing, and rooms in which nothing is said: accepting them, keeping them."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any, Final

from bench.documents import Document, document
from bench.opener import fed, opened
from bench.outcome import Outcome
from bench.scenarios import generator
from bench.scenarios.context import Context, quiet, rooms_of

SETTLE: Final = 1.0
"""Seconds after the last connection before memory is read."""
AT_ONCE: Final = 50
"""Rooms that are opened side by side."""
SILENT: Final[Mapping[str, Any]] = {"writers": 0, "rate": 0, "connect_rate": 20000, "connect_timeout": 120}


def run_idle(context: Context) -> Outcome:
    """Open connections, hold them, and see what that took."""
    wanted, clients = int(context.option("connections")), int(context.option("clients"))
    rooms = max(1, wanted // clients)
    load = {**SILENT, "rooms": rooms, "clients": clients, "room": context.room}
    context.start(rooms_of(load, context.room))
    server, hold = context.server, float(context.option("hold"))
    before = server.memory()
    with generator.held(generator.configuration(server, context.targets(), load), context.folder) as held:
        found = {"connected": float(held.connected), "connect_seconds": held.seconds, "connect_cpu": held.cpu}
        if hold > 0:
            time.sleep(SETTLE)
            memory = server.memory()
            used, began = server.cpu(), time.perf_counter()
            time.sleep(hold)
            found["idle_cpu"] = (server.cpu() - used) / (time.perf_counter() - began)
            found["memory"] = memory
            if held.connected:
                found["memory_per_connection"] = (memory - before) / held.connected
    letters = ("X",) if held.connected < rooms * clients else ()
    return Outcome(found, letters)


def run_rooms(context: Context) -> Outcome:
    """Bring a small document into each room and stay, then open a second connection in each.

    What the second ones add is the price of a connection; what is left of the first ones is that of a room. A few rooms
    come before, so that what a server takes only once counts for neither. Nothing is closed meanwhile: memory that a
    server has freed and keeps would be filled by what comes next, and that would look free.
    """
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    found = asyncio.run(_rooms(context, document(str(context.option("document")))))
    return Outcome(found, ("X",) if found["connected"] < 2 * int(context.option("rooms")) else ())


async def _rooms(context: Context, text: Document) -> dict[str, float]:
    count, server = int(context.option("rooms")), context.server
    server.start(context.folder)
    async with AsyncExitStack() as open_rooms:
        await _fill(context, open_rooms, f"{context.room}-before", int(context.option("rooms_before")), text)
        before = await _settled(context)
        await _fill(context, open_rooms, context.room, count, text)
        with_one = await _settled(context)
        used, began = server.cpu(), time.perf_counter()
        await asyncio.sleep(float(context.option("hold")))
        idle = (server.cpu() - used) / (time.perf_counter() - began)
        load = {**SILENT, "rooms": count, "clients": 1, "room": context.room}
        with generator.held(generator.configuration(server, context.targets(), load), context.folder) as second:
            with_two = await _settled(context)
        last = await opened(server, f"{context.room}-{count - 1}")
        if last.size < text.size:
            raise RuntimeError(f"a room of {text.size} bytes had only {last.size}")
    return {
        "connected": float(count + second.connected),
        "memory_per_room_with_one": (with_one - before) / count,
        "memory_per_connection": (with_two - with_one) / count,
        "memory_per_room": (2 * with_one - before - with_two) / count,
        "idle_cpu": idle,
        "memory": float(with_one),
    }


async def _fill(context: Context, open_rooms: AsyncExitStack, prefix: str, count: int, text: Document) -> None:
    """Open rooms, several at a time, each with a client that has the document."""
    rooms = [f"{prefix}-{number}" for number in range(count)]
    await asyncio.to_thread(context.server.prepare, rooms)
    for first in range(0, count, AT_ONCE):
        batch = [fed(context.server, room, text) for room in rooms[first : first + AT_ONCE]]
        await asyncio.gather(*(open_rooms.enter_async_context(one) for one in batch))


async def _settled(context: Context) -> int:
    """Bytes of memory once the server has come to rest."""
    await asyncio.to_thread(quiet, context.server, 15.0)
    return context.server.memory()
