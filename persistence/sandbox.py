"""Jobs on documents, in a child process that may crash, hang or eat memory without hurting the server.

Frames, both ways: a 4-byte big-endian length, that many bytes of msgpack, then the payloads as they are, so that a
document of hundreds of megabytes is neither packed nor copied as a whole on the event loop.
  job:    [name, [argument, ...], memory limit (bytes), CPU limit (s)]; an argument is a string, or the list of the
          lengths of its payloads
  answer: [[status, ...], length of the result]
"""

import asyncio
import contextlib
import logging
import math
import os
import signal
import struct
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import IO

import msgpack

from persistence.errors import JobFailed, SandboxDied, SandboxMemory, SandboxTimeout, StoreClosed, StoreUnavailable

SLICE_BYTES = 256 << 10
_STDERR_TAIL = 2000
_EXIT_SECONDS = 5.0  # between the end of a process's pipes and its own
_LENGTH = struct.Struct(">I")
_PASSED_ON = ("PATH", "LANG", "LD_LIBRARY_PATH", "SYNCD_FAILPOINT", "SYNCD_FAILPOINT_SEED")

_log = logging.getLogger(__name__)


class Sandbox:
    """Runs jobs in a child process, one at a time; further callers wait in order.

    `fresh`: start a child per job (exports: documents of strangers one after another must not share a process)
    instead of keeping one. `module`: what the child runs; tests put their own jobs there.
    """

    def __init__(self, *, fresh: bool = False, module: str = "persistence.sandbox_child") -> None:
        self._fresh = fresh
        self._module = module
        self._child: _Child | None = None
        self._lock = asyncio.Lock()
        self._closed = False

    async def run(self, job: str, *args: str | Sequence[bytes], timeout: float, memory: int) -> bytes:  # noqa: ASYNC109
        """Run a job and return its result.

        `timeout`: wall seconds from the start of the job, after which the child is killed (CPU seconds likewise, in the
        child). `memory`: address space of the child in bytes. Cancelling the call kills the child.
        Raises JobFailed (the job refused its input), SandboxTimeout, SandboxMemory, SandboxDied, StoreUnavailable (no
        child can be started), StoreClosed.
        """
        async with self._lock:
            if self._closed:
                raise StoreClosed("the sandbox is closed")
            child = await self._take_child()
            usable = False
            try:
                async with asyncio.timeout(timeout):
                    await child.send(job, args, memory, math.ceil(timeout))
                    status, result = await child.receive()
                # A panic of yrs, or a failed allocation, says nothing about what it left behind.
                usable = not self._fresh and status[0] != "memory" and status[1:2] != ["panic"]
            except TimeoutError:
                raise SandboxTimeout(f"{job} took longer than {timeout} s") from None
            except (asyncio.IncompleteReadError, ConnectionError):
                raise await child.post_mortem(job, timeout) from None
            finally:
                if usable:
                    self._child = child
                else:
                    await child.kill()
            if status[0] == "memory":
                raise SandboxMemory(f"{job} needed more than {memory} bytes")
            if status[0] != "ok":
                raise JobFailed(status[1], status[2])
            return result

    async def _take_child(self) -> "_Child":
        child, self._child = self._child, None
        if child is not None and child.process.returncode is not None:
            await child.kill()  # it died between two jobs; the next job is not to blame
            child = None
        return child or await _Child.start(self._module)

    @property
    def pid(self) -> int | None:
        """Process id of the waiting child, None when there is none."""
        return None if self._child is None else self._child.process.pid

    async def close(self) -> None:
        """Let a running job finish, then end the child. Later jobs are refused."""
        self._closed = True
        async with self._lock:
            child, self._child = self._child, None
            if child is not None:
                await child.kill()


class _Child:
    """One child process with its pipes and the file that catches its stderr."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: IO[bytes]) -> None:
        self.process = process
        self._stderr = stderr
        assert process.stdin is not None  # both were asked for as pipes
        assert process.stdout is not None
        self._input = process.stdin
        self._output = process.stdout

    @classmethod
    async def start(cls, module: str) -> "_Child":
        # A file and not a pipe: nobody has to read it, and the child's RLIMIT_FSIZE bounds it.
        stderr = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the child
        try:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, str(os.getpid())),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=stderr,
                env=_environment(),
            )
        except OSError as error:
            stderr.close()
            # Not a SandboxError: the job is not to blame, and the compactor must not look for poison in it.
            raise StoreUnavailable(f"cannot start a child process: {error}") from error
        return cls(process, stderr)

    async def send(self, job: str, args: Sequence[str | Sequence[bytes]], memory: int, seconds: int) -> None:
        shapes = [arg if isinstance(arg, str) else [len(data) for data in arg] for arg in args]
        header: bytes = msgpack.packb([job, shapes, memory, seconds])
        self._input.write(_LENGTH.pack(len(header)) + header)
        async for piece in _slices(args):
            self._input.write(piece)
            await self._input.drain()

    async def receive(self) -> tuple[list[str], bytes]:
        (size,) = _LENGTH.unpack(await self._output.readexactly(_LENGTH.size))
        status, length = msgpack.unpackb(await self._output.readexactly(size))
        return status, await self._output.readexactly(length)

    async def post_mortem(self, job: str, timeout: float) -> SandboxDied | SandboxTimeout | SandboxMemory:  # noqa: ASYNC109
        """Say what the child died of."""
        try:
            async with asyncio.timeout(_EXIT_SECONDS):
                code = await self.process.wait()
        except TimeoutError:
            return SandboxDied(f"{job}: the child closed its pipes and did not end")
        self._stderr.seek(0, os.SEEK_END)
        self._stderr.seek(max(0, self._stderr.tell() - _STDERR_TAIL))
        last_words = self._stderr.read().decode(errors="replace").strip()
        if code == -signal.SIGXCPU:
            return SandboxTimeout(f"{job} used more than {timeout} s of CPU time")
        if "memory allocation of" in last_words or "MemoryError" in last_words:
            return SandboxMemory(f"{job} ran out of memory: {last_words.splitlines()[-1]}")
        cause = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return SandboxDied(f"{job} ended with {cause}" + (f": {last_words}" if last_words else ""))

    async def kill(self) -> None:
        """End the process, whatever it does, and wait for it. Safe to call on a dead one."""
        with contextlib.suppress(ProcessLookupError):
            self.process.kill()
        self._input.close()
        with contextlib.suppress(ConnectionError):
            await self._input.wait_closed()
        await asyncio.shield(self.process.wait())
        self._stderr.close()


async def _slices(args: Sequence[str | Sequence[bytes]]) -> AsyncIterator[memoryview]:
    for arg in args:
        for data in () if isinstance(arg, str) else arg:
            view = memoryview(data)
            for start in range(0, len(view), SLICE_BYTES):
                yield view[start : start + SLICE_BYTES]


def _environment() -> dict[str, str]:
    """What the child needs and nothing else: it handles hostile bytes and has no business with our secrets."""
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    paths = [*filter(None, sys.path), str(Path(__file__).resolve().parent.parent)]
    return {**passed, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONDONTWRITEBYTECODE": "1"}
