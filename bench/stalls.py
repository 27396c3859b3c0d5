"""How long one message holds up a node: `python -m bench.stalls [--megabytes 16] [--json] [SHAPE ...]`.

A real node on a memory store, in one process and without sockets. One client sends a message of the worst shapes there
are; a second one types in another room. For each shape: the longest turn of the event loop in milliseconds (that is how
long everybody else waited), and the seconds until the message was dealt with, flushed and saved. Interpreted and, when
`make compile` has been run, compiled; each shape in a process of its own.

A shape is a list of preparing messages, which are not measured, and the message. The quadratic ones are small on
purpose.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import crdt.update
from crdt.awareness import encode_awareness
from crdt.update import encode_state_vector
from crdt.varint import uint, write_uint
from crdt.wire import STEP1, STEP2, UPDATE, awareness_message, sync_message
from syncd.config import Settings
from syncd.link import Handshake
from syncd.node import Admission, Node

COMPILED: Final = Path("build", "compiled")
MIB: Final = 1 << 20
NOTHING: Final = b"\x00"
ROOT: Final = b"\x01\x01t"
TYPING: Final = 0.005
TIMEOUT: Final = 900.0
EVERYTHING: Final = (1 << 31) - 16

Messages = list[bytes]
Shape = Callable[[int], tuple[Messages, bytes]]


def section(client: int, clock: int, count: int, structs: bytes) -> bytes:
    """One client's structs."""
    return uint(count) + uint(client) + uint(clock) + structs


def update(sections: Sequence[bytes], deletes: bytes = NOTHING) -> bytes:
    """A message with an update."""
    return sync_message(UPDATE, uint(len(sections)) + b"".join(sections) + deletes)


def tiny(count: int, clock: int = 0, client: int = 1) -> bytes:
    """A section of the smallest structs."""
    return section(client, clock, count, b"\x00\x01" * count)


def every_other(size: int, client: int = 1) -> bytes:
    """A delete set of `size` bytes: single clocks with one between."""
    out = bytearray()
    count = 0
    while len(out) < size:
        write_uint(out, 2 * count)
        out.append(1)
        count += 1
    return uint(1) + uint(client) + uint(count) + bytes(out)


def structs(size: int) -> tuple[Messages, bytes]:
    """Tiny structs of one client."""
    return [], update([tiny(size // 2)])


def known_structs(size: int) -> tuple[Messages, bytes]:
    """Tiny structs of which all but the last are known."""
    return [update([section(1, 0, 1, b"\x00" + uint(size // 2 - 1))])], update([tiny(size // 2)])


def crossing(size: int) -> tuple[Messages, bytes]:
    """Two clients whose structs wait for each other's, one by one."""
    count = size // 30
    first, second = bytearray(), bytearray()
    for clock in range(count):
        first += b"\x04" + ROOT + b"\x01a" if clock == 0 else b"\x84\x02" + uint(clock - 1) + b"\x01a"
        second += b"\x84\x01" + uint(clock) + b"\x01a"
    return [], update([section(1, 0, count, bytes(first)), section(2, 0, count, bytes(second))])


def clients(size: int) -> tuple[Messages, bytes]:
    """As many clients as a document may have, with as many structs as there is room for."""
    count = 199_000
    each = max((size // count - 8) // 2, 1)
    return [], update([tiny(each, client=(1 << 30) + number) for number in range(count)])


def too_many_clients(size: int) -> tuple[Messages, bytes]:
    """More clients than a document may have."""
    return [], update([tiny(1, client=(1 << 27) + number) for number in range(size // 8)])


def deletes(size: int) -> tuple[Messages, bytes]:
    """Delete ranges of known clocks, as many as a document may have."""
    size = min(size, 4_000_000 * 4)
    return [update([section(1, 0, 1, b"\x00" + uint(EVERYTHING))])], update([], every_other(size))


def same_delete(size: int) -> tuple[Messages, bytes]:
    """One delete range again and again."""
    return [update([tiny(5)])], update([], uint(1) + uint(1) + uint(size // 2) + b"\x01\x01" * (size // 2))


def wide_delete(size: int) -> tuple[Messages, bytes]:
    """One delete range over very many known ones: a message of a few bytes."""
    lots = [update([section(1, 0, 1, b"\x00" + uint(EVERYTHING))]), update([], every_other(size))]
    return lots, update([], uint(1) + uint(1) + uint(1) + uint(0) + uint(EVERYTHING))


def deletes_of_strangers(size: int) -> tuple[Messages, bytes]:
    """Delete ranges of clients that nobody knows."""
    each = [uint((1 << 27) + number) + b"\x01\x01\x01" for number in range(size // 7)]
    return [], update([], uint(len(each)) + b"".join(each))


def skips(size: int) -> tuple[Messages, bytes]:
    """A hole behind every struct."""
    return [], update([section(1, 0, size // 4 * 2, b"\x00\x01\x0a\x01" * (size // 4))])


def nested_json(size: int) -> tuple[Messages, bytes]:
    """An embedded JSON value of tiny arrays."""
    value = b"[" + b"[]," * ((size - 2) // 3) + b"[]]"
    return [], update([section(1, 0, 1, b"\x05" + ROOT + uint(len(value)) + value)])


def long_number(size: int) -> tuple[Messages, bytes]:
    """An embedded JSON number with very many digits."""
    value = b"1." + b"7" * (size - 2)
    return [], update([section(1, 0, 1, b"\x05" + ROOT + uint(len(value)) + value)])


def any_values(size: int) -> tuple[Messages, bytes]:
    """One item of tiny values."""
    return [], update([section(1, 0, 1, b"\x08" + ROOT + uint(size) + b"\x7f" * size)])


def cut_values(size: int) -> tuple[Messages, bytes]:
    """One item of tiny values of which all but one are known."""
    return [update([section(1, 0, 1, b"\x00" + uint(size - 1))])], any_values(size)[1]


def emoji(size: int) -> tuple[Messages, bytes]:
    """One long string outside of ASCII, half of it known."""
    value = "\U0001f600".encode() * (size // 4)
    known = [update([section(1, 0, 1, b"\x00" + uint(size // 4 + 1))])]
    return known, update([section(1, 0, 1, b"\x04" + ROOT + uint(len(value)) + value)])


def held(size: int) -> tuple[Messages, bytes]:
    """Four megabytes of what comes too early, and then the one struct that it waited for."""
    count = min(size, 4 * MIB - 64) // 2 - 16
    early = update([section(1, 0, count + 1, b"\x84\x02\x00\x01a" + b"\x00\x01" * count)])
    return [early], update([section(2, 0, 1, b"\x04" + ROOT + b"\x01a")])


def held_by_many(size: int) -> tuple[Messages, bytes]:
    """The same in a thousand updates."""
    count = min(size, 3 * MIB) // 1000 // 2
    body = b"\x84\x02\x00\x01a" + b"\x00\x01" * count
    early = [update([section(10 + number, 0, count + 1, body)]) for number in range(1000)]
    return early, update([section(2, 0, 1, b"\x04" + ROOT + b"\x01a")])


def state_vectors(size: int) -> tuple[Messages, bytes]:
    """A frame full of questions with large state vectors."""
    state = encode_state_vector({(1 << 30) + number: 1 for number in range(199_000)})
    return [], sync_message(STEP1, state) * min(size // len(state), 128)


def many_messages(size: int) -> tuple[Messages, bytes]:
    """A frame full of updates of tiny structs."""
    each = size // 128 // 2 - 16
    return [], b"".join(update([tiny(each, client=number + 1)]) for number in range(127))


def presence(size: int) -> tuple[Messages, bytes]:
    """One presence id ten thousand times, each time with a long state."""
    value = b"[" + b"[]," * ((min(size // 10_000, 16_000) - 4) // 3) + b"[]]"
    return [], awareness_message(encode_awareness([(1, clock, value) for clock in range(1, 9_990)]))


def waiters(_size: int) -> tuple[Messages, bytes]:
    """Two clients that wait for each other, and many that wait for the end of them (quadratic once)."""
    count = 5_000
    first, second = bytearray(), bytearray()
    for clock in range(count):
        first += b"\x04" + ROOT + b"\x01a" if clock == 0 else b"\x84\x02" + uint(clock - 1) + b"\x01a"
        second += b"\x84\x01" + uint(clock) + b"\x01a"
    last = b"\x84\x01" + uint(count - 1) + b"\x01a"
    waiting = [section(10 + number, 0, 1, last) for number in range(count)]
    return [], update([section(1, 0, count, bytes(first)), section(2, 0, count, bytes(second)), *waiting])


def own_deletes(_size: int) -> tuple[Messages, bytes]:
    """Many new clients whose structs are deleted at once (quadratic once)."""
    count = 10_000
    deleted = b"".join(uint(100 + number) + b"\x01\x00\x01" for number in range(count))
    return [], update([tiny(1, client=100 + number) for number in range(count)], uint(count) + deleted)


def interleaved_deletes(size: int) -> tuple[Messages, bytes]:
    """Delete ranges between millions of known ones."""
    known = uint(1) + uint(1) + uint(3_500_000) + b"".join(uint(8 * at) + b"\x01" for at in range(3_500_000))
    lots = [update([section(1, 0, 1, b"\x00" + uint(EVERYTHING))]), update([], known)]
    count = min(size // 5, 400_000)
    return lots, update(
        [], uint(1) + uint(1) + uint(count) + b"".join(uint(64 * at + 4) + b"\x01" for at in range(count))
    )


SHAPES: Final[dict[str, Shape]] = {
    shape.__name__: shape
    for shape in (
        structs,
        known_structs,
        crossing,
        clients,
        too_many_clients,
        deletes,
        same_delete,
        interleaved_deletes,
        wide_delete,
        deletes_of_strangers,
        skips,
        nested_json,
        long_number,
        any_values,
        cut_values,
        emoji,
        held,
        held_by_many,
        state_vectors,
        many_messages,
        presence,
        waiters,
        own_deletes,
    )
}


class Sink:
    """A socket that takes everything at once."""

    def __init__(self) -> None:
        self.closed = ""
        self.bytes = 0

    def send(self, whole: bytes) -> None:
        self.bytes += len(whole)

    def ping(self) -> None:
        """Nobody answers."""

    def close(self, code: int, reason: str, delay: float = 0.0) -> None:
        del code, delay
        self.closed = self.closed or reason

    def abort(self) -> None:
        self.closed = self.closed or "aborted"

    def buffered(self) -> int:
        return 0

    def pause_reading(self) -> None:
        """There is no socket to stop."""

    def resume_reading(self) -> None:
        """There is no socket to stop."""


class Bench:
    """A node, a client that sends the shape and one that types in another room."""

    def __init__(self) -> None:
        self.node = Node(Settings(store="memory://", messages_per_second=1e9, compact_bytes=1 << 40))
        self.sinks = [Sink(), Sink(), Sink()]

    async def open(self) -> None:
        """Connect the sender and a reader to one room, and the typist to another."""
        await self.node.start()
        rooms = (b"/ws/big", b"/ws/big", b"/ws/other")
        self.connections = [
            self.node.connect(sink, Handshake(room, b"", {}, "", ()), Admission(101))
            for sink, room in zip(self.sinks, rooms, strict=True)
        ]
        await asyncio.sleep(0.05)
        for connection in self.connections[1:]:
            connection.message_received(sync_message(STEP1, b"\x00"))
            connection.message_received(sync_message(STEP2, b"\x00\x00"))

    async def settle(self, typist: bool = False) -> tuple[float, float]:
        """Wait until nothing is under way; the longest turn of the loop meanwhile and the seconds it took.

        A turn is measured in CPU seconds, so that other processes of the machine do not count.
        """
        started = last = time.perf_counter()
        turn = time.thread_time()
        typed = 0.0
        longest, clock, quiet = 0.0, 0, 0
        while quiet < 20:
            if typist and time.perf_counter() - typed > TYPING:
                typed = time.perf_counter()
                self._type(clock)
                clock += 1
            await asyncio.sleep(0 if quiet == 0 else 0.005)
            longest = max(longest, time.thread_time() - turn)
            turn = time.thread_time()
            if self._busy():
                quiet, last = 0, time.perf_counter()
            else:
                quiet += 1
        return longest, last - started

    def _type(self, clock: int) -> None:
        origin = b"\x04" + ROOT if clock == 0 else b"\x84\x09" + uint(clock - 1)
        self.connections[2].message_received(update([section(9, clock, 1, origin + b"\x01a")]))

    def _busy(self) -> bool:
        assert self.node.registry is not None
        room = next(room for name, room in self.node.registry.rooms.items() if name == "big")
        return room.has_unsaved() or bool(room.unlogged)

    async def run(self, shape: str, size: int) -> dict[str, float | str]:
        """Measure one shape."""
        await self.open()
        prepare, message = SHAPES[shape](size)
        for each in prepare:
            self.connections[1].message_received(each)
        await self.settle()
        del prepare
        gc.collect()
        gc.freeze()  # as the server does when it has started
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started, wall = time.thread_time(), time.perf_counter()
        self.connections[0].message_received(message)
        first, wall = time.thread_time() - started, time.perf_counter() - wall
        longest, total = await self.settle(typist=True)
        return {
            "stall": max(first, longest) * 1e3,
            "total": wall + total,
            "bytes": len(message),
            "memory": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
            "closed": self.sinks[0].closed,
        }


def report() -> None:
    """The child's side: measure and print."""
    compiled = not (crdt.update.__file__ or "").endswith(".py")
    found = asyncio.run(Bench().run(sys.argv[1], int(sys.argv[2])))
    sys.stdout.write(json.dumps({"compiled": compiled, **found}))


def child(path: Path | None, shape: str, size: int) -> dict[str, float | str] | None:
    """Measure in a process that finds `crdt` under `path` first; None when it is not the one that was wanted."""
    environment = dict(os.environ)
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [sys.executable, "-P", "-c", "from bench.stalls import report; report()", shape, str(size)]
    try:
        done = subprocess.run(
            command, env=environment, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return {"stall": TIMEOUT * 1e3, "total": TIMEOUT, "bytes": 0, "memory": 0, "closed": "gave up"}
    except subprocess.CalledProcessError as error:
        return {"stall": 0, "total": 0, "bytes": 0, "memory": 0, "closed": f"died: {error.returncode}"}
    answer: dict[str, float | str] = json.loads(done.stdout)
    return answer if answer.pop("compiled") is (path is not None) else None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print a table or, with `--json`, an object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shapes", nargs="*", choices=[*SHAPES, []], metavar="SHAPE", help=", ".join(SHAPES))
    parser.add_argument("--megabytes", type=float, default=15.9)
    parser.add_argument("--compiled", type=Path, default=COMPILED, help="where the compiled package lies")
    parser.add_argument("--only", choices=("python", "compiled"))
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    kinds: dict[str, Path | None] = {"python": None}
    if (options.compiled / "crdt").is_dir():
        kinds["compiled"] = options.compiled.resolve()
    if options.only:
        kinds = {options.only: kinds[options.only]}
    results: dict[str, dict[str, dict[str, float | str] | None]] = {}
    for shape in options.shapes or SHAPES:
        found = {kind: child(path, shape, int(options.megabytes * MIB)) for kind, path in kinds.items()}
        results[shape] = found
        if not options.json:
            sys.stdout.write(f"{shape:22}" + "".join(f"  {_line(kind, row)}" for kind, row in found.items()) + "\n")
            sys.stdout.flush()
    if options.json:
        sys.stdout.write(json.dumps(results, indent=2) + "\n")
    return 0


def _line(kind: str, row: dict[str, float | str] | None) -> str:
    if row is None:
        return f"{kind}: not there"
    end = f" {str(row['closed'])[:30]!r}" if row["closed"] else ""
    return f"{kind}: stall {row['stall']:9.1f} ms, total {row['total']:7.2f} s, {row['memory']:6.0f} MiB{end}"


if __name__ == "__main__":
    sys.exit(main())
