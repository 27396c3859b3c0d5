"""Runs what the validator accepted through a document engine, in forked children that may die.

A case is a sequence of updates for one document. It goes through a `Replica`, what comes out of that is merged, folded
into a block and loaded into fresh documents. A batch of cases shares one child.
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
    """Run the cases; one line per case on the pipe, begun before the case and ended with what was wrong with it."""
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    for case in cases:
        signal.alarm(SECONDS)
        os.write(pipe, b">")
        try:
            run(case)
        except ProtocolError as error:
            os.write(pipe, f"{REFUSED}{error}".replace("\n", " ").encode()[:500])
        except BaseException as error:  # a PanicException of yrs is not an Exception
            os.write(pipe, f"{CRASHED}{type(error).__name__}: {error}".replace("\n", " ").encode()[:500])
        os.write(pipe, b"\n")
    return 0


def judge(cases: Sequence[Case]) -> list[tuple[Case, Verdict]]:
    """The cases that went wrong, each with what happened. A child that dies is replaced, for the cases behind."""
    wrong: list[tuple[Case, Verdict]] = []
    while cases:
        lines, died = _run_child(cases)
        for case, line in zip(cases, lines, strict=False):
            if line:
                wrong.append((case, Verdict(int(line[0]), line[1:])))
        if not died:
            break
        wrong.append((cases[len(lines)], Verdict(died, "")))
        cases = cases[len(lines) + 1 :]
    return wrong


def attempt(case: Case) -> Verdict:
    """What becomes of one case."""
    wrong = judge([case])
    return wrong[0][1] if wrong else Verdict(0, "")


def _run_child(cases: Sequence[Case]) -> tuple[list[str], int]:
    """One line per case that ended, and the status of a child that did not end well, below 0."""
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
        said = pipe.read().decode(errors="replace")
    _, state = os.waitpid(pid, 0)
    lines = [line.removeprefix(">") for line in said.splitlines() if line.startswith(">")]
    if not os.WIFSIGNALED(state) and os.WEXITSTATUS(state) == 0:
        return lines, 0
    return lines if said.endswith("\n") or not said else lines[:-1], -os.WTERMSIG(state) or -CRASHED
