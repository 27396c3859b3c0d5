"""Opening a document, and many people opening it at once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from bench.documents import Document, document, keystroke, merged
from bench.opener import EMPTY, Peer, fed, opened
from bench.outcome import Outcome
from bench.scenarios import generator
from bench.scenarios.context import Context, quiet
from crdt.wire import UPDATE

TYPIST: Final = 3_141_592_653
CATCH_UPS: Final = 20
SAVED_WITHIN: Final = {"y-sweet": 11.0}
"""Seconds after which a server has saved what it was sent, for those that do not save it when they are stopped."""
BREATH: Final = 0.05
"""Seconds for what a server does after the last byte, such as closing."""
PROBE_DRAIN: Final = 20.0
"""Seconds within which what was typed must arrive: a server may stand still for long."""


def run_open(context: Context) -> Outcome:
    """Open warm, with a state vector that lacks one edit, after a keystroke, and after a restart."""
    text = document(str(context.option("document")))
    context.start((context.room,))
    found, notes = asyncio.run(_open_warm(context, text))
    found["memory"] = context.server.memory()
    time.sleep(SAVED_WITHIN.get(context.server.name, 0.0))
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
    before = context.server.cpu()
    try:
        answer = await opened(context.server, context.room, EMPTY, text.size // 2)
    except TimeoutError:
        return {}, ["the document was not there after a restart"]
    await asyncio.sleep(BREATH)
    found = {"cold_cpu": (context.server.cpu() - before) * 1000, "cold_seconds": answer.seconds}
    if answer.synced < text.size // 2:
        return found, ["after a restart it called an empty document synced, and sent the content later"]
    return found, []


def run_join(context: Context) -> Outcome:
    """Many open a document at once while somebody types in another room."""
    text = document(str(context.option("document")))
    room, beside = context.room, f"{context.room}-probe"
    context.start((room, beside))
    joined, typed, calm = asyncio.run(_join(context, text, beside))
    join, latency = joined["join"], typed["latency_ms"]
    found = {
        "document": float(text.size),
        "joined": float(join["count"]),
        "join_cpu": join["server_cpu"] / max(1, join["count"]) * 1000,
        "memory": float(context.server.memory()),
        "late_ms": float(typed["late_by_ms"]),
        "closed": float(joined["closed"] + typed["closed"]),
    }
    if join["count"]:
        found |= {f"join_{name}": float(join["sync_ms"][name]) for name in ("p50", "p99", "max")}
    if latency["count"]:
        found |= {f"probe_{name}": float(latency[name]) for name in ("p50", "p99", "max")}
    notes = [*joined["errors"][:3], *typed["errors"][:3]]
    letters = [*(["X"] if found["closed"] else []), *(["L"] if found["late_ms"] > context.marks.late_ms else [])]
    if join["complete"] < int(context.option("joiners")):
        letters.append("J")
        notes.append(f"{join['complete']} of {context.option('joiners')} had the whole document in the end")
    if not calm:
        notes.append("the server had not come to rest a minute after it was handed the document")
    return Outcome(found, tuple(letters), tuple(notes), {"join": join, "probe": latency})


async def _join(context: Context, text: Document, beside: str) -> tuple[dict[str, Any], dict[str, Any], bool]:
    """Results of the joining and of the typing clients.

    They are two processes, and the one that swallows the documents stands back: how late the other one hears of its
    edits is to be the server's doing.
    """
    silent = {"clients": 0, "writers": 0, "late": 0, "joiners": int(context.option("joiners"))}
    joining = {"room": context.room, "document": str(merged(text)), **silent}
    typing = {"room": beside, "clients": 2, "writers": 1, "rate": 200.0, "late": 0}
    typing |= {"warmup": 0.5, "duration": float(context.option("probe_seconds")), "drain": PROBE_DRAIN}
    folders = [context.folder / "join", context.folder / "type"]
    configs = [
        generator.configuration(context.server, context.targets(), {**context.scenario.load, **load})
        for load in (joining, typing)
    ]
    async with fed(context.server, context.room, text):
        calm = await asyncio.to_thread(quiet, context.server)
        for folder in folders:
            folder.mkdir()
        joined, typed = await asyncio.gather(
            asyncio.to_thread(generator.run, configs[0], folders[0], niceness=10),
            asyncio.to_thread(generator.run, configs[1], folders[1]),
        )
        return joined, typed, calm
