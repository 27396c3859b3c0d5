"""Runs what the validator accepted through a document engine, in forked children that may die.

A case is a sequence of updates for one document. It goes through a `Replica`, what comes out of that is merged, folded
into a block and loaded into fresh documents. A batch of cases shares one child; when
that dies, or takes too long, the cases are tried one by one.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from crdt.block import unpack
from crdt.errors import ProtocolError
from crdt.fold import fold
from crdt.load_check import load_check
from crdt.merge import merge
from crdt.replica import Limits, Replica

MEMORY = 3 << 30
SECONDS = 20
REFUSED, CRASHED = 3, 4

Case = Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one case.

    `status`: 0 fine, `REFUSED` a ProtocolError of merging, folding or loading, `CRASHED` an exception that nobody
    expects (a panic of yrs is one), below 0 the signal that killed the child. `text`: what it said.
    """

    status: int
    text: str


def run(case: Case) -> None:
    """One document from its updates to its stored block and into an engine.

    Raises:
        ProtocolError: merging, folding or loading refused what the validator had accepted.
    """
    replica = Replica(Limits(max_clients=1000))
    flushed: list[bytes] = []
    for data in case:
        try:
            replica.receive(data, None)
        except ProtocolError:
            continue
        update = replica.flush()
        if update is not None:
            flushed.append(update)
    if not flushed:
        return
    whole = merge(flushed)
    block = fold([], flushed, chunk_bytes=64)
    for way in (flushed, [whole], unpack(block)):
        load_check(way)


def _child(cases: Sequence[Case], pipe: int) -> int:
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(SECONDS)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        for case in cases:
            run(case)
    except ProtocolError as error:
        os.write(pipe, str(error).encode()[:500])
        return REFUSED
    except BaseException as error:  # a PanicException of yrs is not an Exception
        os.write(pipe, f"{type(error).__name__}: {error}".encode()[:500])
        return CRASHED
    return 0


def attempt(cases: Sequence[Case]) -> Verdict:
    """Run cases in one child until the first that fails."""
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        status = CRASHED
        try:
            status = _child(cases, writer)
        finally:
            os._exit(status)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        text = pipe.read().decode(errors="replace")
    _, state = os.waitpid(pid, 0)
    return Verdict(-os.WTERMSIG(state) if os.WIFSIGNALED(state) else os.WEXITSTATUS(state), text)


def judge(cases: Sequence[Case]) -> list[tuple[Case, Verdict]]:
    """The cases that went wrong, each with what happened."""
    if not cases or attempt(cases).status == 0:
        return []
    if len(cases) == 1:
        return [(cases[0], attempt(cases))]
    middle = len(cases) // 2
    return judge(cases[:middle]) + judge(cases[middle:])
