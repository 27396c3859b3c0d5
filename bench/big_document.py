"""A large document: how long it takes to load, what it costs to open it and to come back to it, and over a slow link.

    python -m bench.big_document [--megabytes 20] [--clients 50] [--json]

The document is written by forty people: paragraphs, formatted words and deletions, fed to a real server by a websocket
client, compacted by the server, and served again after a kill -9.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random
from signal import SIGKILL
from typing import Any, Final
from urllib.request import urlopen

import pycrdt
from websockets.asyncio.client import ClientConnection, connect

from bench.process import Syncd
from crdt.merge import merge
from crdt.update import encode_state_vector, parse_state_vector
from crdt.wire import SAVED, STEP1, STEP2, SYNC, UPDATE, read_messages, saved_message, sync_message

AUTHORS: Final = 40
COMPACTED: Final = "syncd_compacted_bytes_total"
WORDS: Final = ("every", "edit", "merges", "and", "none", "is", "ever", "lost", "while", "many", "people", "write")


def document_updates(size: int, seed: int = 1) -> Iterator[bytes]:
    """Updates of a document that grows to about `size` bytes of Yjs encoding."""
    random = Random(seed)
    shared: list[bytes] = []
    written = 0
    for author in range(AUTHORS):
        doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=1000 + author)
        text = doc.get("quill", type=pycrdt.Text)
        if shared:
            doc.apply_update(shared[0])
        with doc.transaction():
            text.insert(0, f"{author}\n")
        head = doc.get_update()
        shared[:] = [merge([*shared, head])] if shared else [head]
        updates: list[bytes] = []
        subscription = doc.observe(lambda event, updates=updates: updates.append(event.update))
        length = len(str(text).encode())
        mine = 0
        while mine < size / AUTHORS:
            with doc.transaction():
                line = " ".join(random.choices(WORDS, k=24)) + "\n"
                text.insert(length, line)
                text.format(length, length + random.randrange(4, 20), {"bold": True})
                if random.random() < 0.3:
                    del text[length + 30 : length + 40]
                    length -= 10
            length += len(line)
            mine = sum(map(len, updates)) if len(updates) % 200 == 0 else mine
        doc.unobserve(subscription)
        written += mine
        yield merge([head, *updates])


async def _receive_sync(socket: ClientConnection) -> tuple[int, int]:
    """Read until SyncStep2; return messages and bytes."""
    messages = size = 0
    async for frame in socket:
        assert isinstance(frame, bytes)
        messages += 1
        size += len(frame)
        for kind, sub, _ in read_messages(frame):
            if kind == SYNC and sub == STEP2:
                return messages, size
    raise RuntimeError("the server closed the connection during the sync")


async def _open(url: str, state_vector: bytes) -> tuple[float, int, int]:
    """Open a room with a state vector; return seconds, messages and bytes until it is synced."""
    started = time.perf_counter()
    async with connect(url, max_size=None, compression=None) as socket:
        await socket.send(sync_message(STEP1, state_vector))
        messages, size = await _receive_sync(socket)
    return time.perf_counter() - started, messages, size


async def feed(url: str, megabytes: float) -> int:
    """Write the document through one client and wait until it is saved; return the bytes sent."""
    sent = 0
    async with connect(url, max_size=None, compression=None) as socket:
        for update in document_updates(int(megabytes * 1e6)):
            await socket.send(sync_message(UPDATE, update))
            await socket.send(saved_message(b"\x00"))
            sent += len(update)
            async for frame in socket:
                assert isinstance(frame, bytes)
                if any(kind == SAVED for kind, _, _ in read_messages(frame)):
                    break
    return sent


async def _state(url: str) -> dict[int, int]:
    """The state vector of the server."""
    async with connect(url, max_size=None, compression=None) as socket:
        async for frame in socket:
            assert isinstance(frame, bytes)
            for kind, sub, payload in read_messages(frame):
                if kind == SYNC and sub == STEP1:
                    return parse_state_vector(payload, 1 << 30)
    raise RuntimeError("the server did not say what it has")


async def _compacted(server: Syncd) -> float:
    """Wait until the server's compaction has nothing more to do; return how long that took."""
    started = last_change = time.perf_counter()
    before = -1.0
    while time.perf_counter() - last_change < 15:
        metrics = await asyncio.to_thread(_get, f"http://{server.address}/metrics")
        now = sum(float(line.rpartition(" ")[2]) for line in metrics.splitlines() if line.startswith(COMPACTED))
        if now != before:
            before, last_change = now, time.perf_counter()
        await asyncio.sleep(0.5)
    return last_change - started


def _get(url: str) -> str:
    with urlopen(url) as response:
        body: bytes = response.read()
    return body.decode()


async def measure(megabytes: float, clients: int, folder: Path) -> dict[str, Any]:
    """All figures of one document."""
    figures: dict[str, Any] = {"clients": clients}
    server = Syncd(folder, {"SYNCD_LOG_LEVEL": "warning", "SYNCD_MESSAGES_PER_SECOND": "100000"})
    with server:
        url = server.url("big")
        started = time.perf_counter()
        figures["fed_bytes"] = await feed(url, megabytes)
        figures["feed_seconds"] = time.perf_counter() - started
        figures["feed_cpu_seconds"] = server.cpu()
        figures["compacted_after_seconds"] = await _compacted(server)
        server.stop(SIGKILL)
    with server:
        url = server.url("big")
        figures["memory_before_load"] = server.memory()
        before = server.cpu()
        seconds, messages, size = await _open(url, b"\x00")
        figures["cold_open"] = {"seconds": seconds, "messages": messages, "bytes": size, "cpu": server.cpu() - before}
        figures["memory_loaded"] = server.memory()
        state = await _state(url)
        late = dict(state)
        late[next(iter(late))] -= 1
        for name, vector in (("new", b"\x00"), ("one_keystroke", encode_state_vector(late))):
            before = server.cpu()
            started = time.perf_counter()
            results = await asyncio.gather(*(_open(url, vector) for _ in range(clients)))
            figures[name] = {
                "seconds_all": time.perf_counter() - started,
                "bytes_each": results[0][2],
                "cpu_ms_each": (server.cpu() - before) / clients * 1000,
                "memory_after": server.memory(),
            }
    return figures


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=20.0)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = asyncio.run(measure(arguments.megabytes, arguments.clients, Path(folder)))
    if arguments.json:
        sys.stdout.write(json.dumps(figures) + "\n")
        return
    for name, value in figures.items():
        sys.stdout.write(f"{name:20} {value}\n")


if __name__ == "__main__":
    main()
