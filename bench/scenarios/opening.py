"""Opening a document, and many people opening it at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from bench.documents import Document, document, keystroke, merged
from bench.opener import EMPTY, Peer, fed, opened
from bench.outcome import Outcome
from bench.scenarios import generator
from bench.scenarios.context import Context, quiet
from crdt.wire import UPDATE

TYPIST: Final = 3_141_592_653
CATCH_UPS: Final = 20
BREATH: Final = 0.05
"""Seconds for what a server does after the last byte, such as closing."""


def run_open(context: Context) -> Outcome:
    """Open warm, with a state vector that lacks one edit, after a keystroke, and after a restart."""
    text = document(str(context.option("document")))
    context.start((context.room,))
    found, notes = asyncio.run(_open_warm(context, text))
    found["memory"] = context.server.memory()
    context.server.stop()
    if not context.addresses:
        context.start((context.room,))
        more, further = asyncio.run(_open_cold(context, text))
        found |= more
        notes += further
    return Outcome(found, (), tuple(notes), {"document": {"bytes": text.size, "source": text.source}})


async def _open_warm(context: Context, text: Document) -> tuple[dict[str, float], list[str]]:
    server, opens = context.server, int(context.option("opens"))
    notes: list[str] = []
    async with fed(server, context.room, text) as peer:
        if not await asyncio.to_thread(quiet, server):
            notes.append("the server had not come to rest a minute after it was handed the document")

        async def catch_up(_: int) -> int:
            return (await opened(server, context.room, text.lacking_one())).size

        async def warm(_: int) -> int:
            return (await opened(server, context.room)).size

        async def pending(number: int) -> int:
            await _type(peer, number)
            return (await opened(server, context.room)).size

        found: dict[str, float] = {"document": text.size}
        for name, work, count in (("warm", warm, opens), ("catchup", catch_up, CATCH_UPS), ("pending", pending, opens)):
            found[f"{name}_cpu"], found[f"{name}_bytes"] = await _cost(context, work, count)
    if found["warm_bytes"] < text.size / 2:
        notes.append(f"a full sync had {found['warm_bytes']:.0f} bytes of {text.size}")
    return found, notes


async def _type(peer: Peer, number: int) -> None:
    await peer.send(UPDATE, keystroke(TYPIST, number))
    await asyncio.sleep(BREATH)


async def _cost(context: Context, work: Callable[[int], Awaitable[int]], count: int) -> tuple[float, float]:
    """Mean milliseconds of the server's CPU, and bytes of the last answer."""
    size = 0
    before = context.server.cpu()
    for number in range(count):
        size = await work(number)
    await asyncio.sleep(BREATH)
    return (context.server.cpu() - before) / count * 1000, size


async def _open_cold(context: Context, text: Document) -> tuple[dict[str, float], list[str]]:
    await asyncio.to_thread(quiet, context.server)
    before, began = context.server.cpu(), time.perf_counter()
    answer = await opened(context.server, context.room, EMPTY)
    seconds = time.perf_counter() - began
    await asyncio.sleep(BREATH)
    found = {"cold_cpu": (context.server.cpu() - before) * 1000, "cold_seconds": seconds}
    if answer.size < text.size / 2:
        return {}, [f"after a restart the document was not there: {answer.size} of {text.size} bytes"]
    return found, []


def run_join(context: Context) -> Outcome:
    """Many open a document at once while somebody types in another room."""
    text = document(str(context.option("document")))
    context.start((context.room, f"{context.room}-probe"))
    result, calm = asyncio.run(_join(context, text, merged(text)))
    join, probe = result["join"], result["probe_latency_ms"]
    found = {
        "document": float(text.size),
        "joined": float(join["count"]),
        "join_cpu": join["server_cpu"] / max(1, join["count"]) * 1000,
        "memory": float(context.server.memory()),
        "generator_cpu": result["generator_cpu"] / (result["window_seconds"] + result["drain_seconds"]),
        "late_ms": float(result["late_by_ms"]),
        "closed": float(result["closed"]),
    }
    if join["count"]:
        found |= {f"join_{name}": float(join["sync_ms"][name]) for name in ("p50", "p99", "max")}
    if probe["count"]:
        found |= {f"probe_{name}": float(probe[name]) for name in ("p50", "p99", "max")}
    notes = list(result["errors"][:3])
    letters = ["X"] if result["closed"] else []
    letters += ["L"] if result["late_by_ms"] > context.marks.late_ms else []
    if join["complete"] < int(context.option("joiners")):
        letters.append("J")
        notes.append(f"{join['complete']} of {context.option('joiners')} had the whole document in the end")
    if not calm:
        notes.append("the server had not come to rest a minute after it was handed the document")
    return Outcome(found, tuple(letters), tuple(notes), {"join": join, "probe": probe})


async def _join(context: Context, text: Document, update: Path) -> tuple[dict[str, Any], bool]:
    async with fed(context.server, context.room, text):
        calm = await asyncio.to_thread(quiet, context.server)
        load = {
            **context.scenario.load,
            "room": context.room,
            "clients": 0,
            "writers": 0,
            "late": 0,
            "document": str(update),
            "joiners": int(context.option("joiners")),
            "probe": True,
        }
        config = generator.configuration(context.server, context.targets(), load)
        return await asyncio.to_thread(generator.run, config, context.folder), calm
