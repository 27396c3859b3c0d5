"""The child process in which documents are merged, checked and rendered: `python -m persistence.sandbox_child`.

Reads jobs from stdin and answers on stdout (see `persistence.sandbox` for the frames) until stdin ends. Imports what a
job needs when the job comes, so that starting is quick.
"""

import contextlib
import os
import resource
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from typing import BinaryIO

import msgpack

NICENESS = 10
STDERR_BYTES = 1 << 20  # what a child may write before it dies; yrs prints its panics there

Argument = str | list[bytes]
_LENGTH = struct.Struct(">I")


def _fold(blocks: Argument, updates: Argument, base: Argument | None = None) -> bytes:
    """Merge blocks (oldest first) and updates into one block, verified to cover them all.

    With `base`, the blocks before these: only what they lack goes in, and nothing that builds on what is not there.
    """
    from crdt.fold import fold

    if base is None:
        return fold(_bytes(blocks), _bytes(updates))
    from persistence.batch import Batch

    batch = Batch([*_bytes(base), *_bytes(blocks)], _bytes(updates))
    folded = fold(_bytes(blocks), batch.fresh)
    batch.verify([*_bytes(base), folded])
    return folded


def _check(blocks: Argument, updates: Argument) -> bytes:
    """Load blocks (oldest first), then updates, into a fresh document."""
    from crdt.block import unpack
    from crdt.load_check import load_check

    load_check([update for block in _bytes(blocks) for update in unpack(block)] + _bytes(updates))
    return b""


def _render(format_name: Argument, updates: Argument) -> bytes:
    """Render the document that the updates make up."""
    from crdt.render import render

    assert isinstance(format_name, str)  # the parent sends what its caller passed
    return render(_bytes(updates), format_name)


def _ping() -> bytes:
    """Answer. Shows that the child is up, and warms nothing."""
    return b"pong"


def _bytes(argument: Argument) -> list[bytes]:
    assert isinstance(argument, list)  # the parent sends what its caller passed
    return argument


JOBS: dict[str, Callable[..., bytes]] = {"fold": _fold, "check": _check, "render": _render, "ping": _ping}


def _read(source: BinaryIO, size: int) -> bytes:
    """Return exactly `size` bytes; leave the process when the parent has closed its end."""
    data = source.read(size)
    if len(data) < size:
        raise SystemExit(0)
    return data


def _receive(source: BinaryIO) -> tuple[str, list[Argument]]:
    """Set the job's limits and return (job, arguments)."""
    (size,) = _LENGTH.unpack(_read(source, _LENGTH.size))
    job, shapes, memory, seconds = msgpack.unpackb(_read(source, size))
    _limit(memory, seconds)  # before the payload: what a job is given counts too
    arguments = [shape if isinstance(shape, str) else [_read(source, length) for length in shape] for shape in shapes]
    return job, arguments


def _limit(memory: int, seconds: int) -> None:
    used = resource.getrusage(resource.RUSAGE_SELF)
    _soft(resource.RLIMIT_AS, memory)
    _soft(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + seconds)


def _soft(what: int, value: int) -> None:
    """Set a soft limit, which a later job may raise again, within what the system allows."""
    _, hard = resource.getrlimit(what)
    resource.setrlimit(what, (value if hard == resource.RLIM_INFINITY else min(value, hard), hard))


def _run(job: str, arguments: Sequence[Argument], jobs: dict[str, Callable[..., bytes]]) -> tuple[list[str], bytes]:
    """Return (status, result). It is the parent that decides whether this process may go on."""
    from crdt.errors import ProtocolError

    try:
        return ["ok"], jobs[job](*arguments)
    except ProtocolError as error:
        return ["failed", error.rule, error.detail], b""
    except MemoryError:
        return ["memory"], b""
    except Exception as error:  # the parent is told; it decides what an unexpected error means
        return ["failed", "unexpected-error", f"{type(error).__name__}: {error}"], b""
    except BaseException as error:
        if isinstance(error, SystemExit | KeyboardInterrupt):
            raise
        return ["failed", "panic", f"{type(error).__name__}: {error}"], b""  # of yrs: not an Exception


def _die_with_parent(parent: int) -> None:
    """Have the kernel kill us when the parent dies in the middle of a job (Linux; elsewhere the CPU limit must do)."""
    if sys.platform == "linux":
        import ctypes

        set_death_signal = 1  # PR_SET_PDEATHSIG
        ctypes.CDLL(None).prctl(set_death_signal, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            raise SystemExit(0)  # it died before the call


def main(jobs: dict[str, Callable[..., bytes]], parent: int) -> None:
    """Serve jobs until the parent closes our stdin."""
    _die_with_parent(parent)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (STDERR_BYTES, STDERR_BYTES))
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C reaches the group; the server decides when we stop
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    with contextlib.suppress(BrokenPipeError):
        while True:
            job, arguments = _receive(source)
            status, result = _run(job, arguments, jobs)
            del arguments
            header: bytes = msgpack.packb([status, len(result)])
            sink.write(_LENGTH.pack(len(header)) + header)
            sink.write(result)
            sink.flush()


if __name__ == "__main__":
    main(JOBS, int(sys.argv[1]))
