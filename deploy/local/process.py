"""Processes by what they are, not by their number alone: a pid is used again, a pid with its start time is not."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["running", "frozen", "dead"]

_PROC = Path("/proc")
_children: dict[int, subprocess.Popen[bytes]] = {}
"""What this very process started, to be waited for when it ends: nobody else takes its zombie away."""
_children_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Identity:
    """One process for all time. `started` is the kernel's clock tick, since the machine's own start."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class _Facts:
    identity: Identity
    state: str
    parent: int
    session: int


def spawn(
    command: Sequence[str], *, folder: Path, log: Path, environment: Mapping[str, str], user: str | None = None
) -> Identity:
    """Start a process in a session of its own, so that it outlives this one, with its output appended to `log`.

    Raises:
        OSError: it could not be started.
    """
    with log.open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=[] if user else None,
        )
    with _children_lock:
        _children[child.pid] = child
    facts = _facts(child.pid)
    return facts.identity if facts else Identity(child.pid, 0)


def state(identity: Identity) -> State:
    """What has become of a process."""
    _reap(identity.pid)
    facts = _facts(identity.pid)
    if facts is None or facts.identity != identity or (facts.state in "ZXx" and not _has_threads(identity.pid)):
        return "dead"
    return "frozen" if facts.state in "Tt" else "running"


def exit_code(identity: Identity) -> int | None:
    """How it ended, if this process started it and knows; a negative number is the signal that ended it."""
    _reap(identity.pid)
    with _children_lock:
        child = _children.get(identity.pid)
    return child.returncode if child else None


def send(identity: Identity, number: signal.Signals) -> bool:
    """Send a signal to that process and no other. False if it has ended."""
    if state(identity) == "dead":
        return False
    with contextlib.suppress(ProcessLookupError):
        os.kill(identity.pid, number)
        return True
    return False


def family(identity: Identity) -> list[Identity]:
    """A process with everything it started that still lives; also what is left of its session if it is dead itself.

    By parents, because Postgres gives each of its processes a session of its own; and by session, because what nginx
    started has another parent once nginx was killed.
    """
    everyone = {facts.identity.pid: facts for facts in _everyone()}
    children = defaultdict(list)
    for facts in everyone.values():
        children[facts.parent].append(facts)
    leader = everyone.get(identity.pid)
    if leader is not None and leader.identity != identity:
        return []  # the number belongs to somebody else by now, so it cannot be the number of a session of ours
    found = {pid: facts.identity for pid, facts in everyone.items() if facts.session == identity.pid}
    waiting = [leader] if leader else []
    while waiting:
        facts = waiting.pop()
        found[facts.identity.pid] = facts.identity
        waiting += children[facts.identity.pid]
    return sorted(found.values(), key=lambda member: member.pid != identity.pid)


def kill(identity: Identity) -> None:
    """End a process and everything it started, at once. Returns when all are gone."""
    members = family(identity)
    for member in members:  # first stop them all, so that none starts another meanwhile
        send(member, signal.SIGSTOP)
    members = [*members, *(each for each in family(identity) if each not in members)]
    for member in members:
        send(member, signal.SIGKILL)
    wait_gone(members, seconds=10)


def freeze(identity: Identity) -> None:
    """Stop a process and everything it started, as a machine that hangs would. Returns when none does anything."""
    members = family(identity)
    for member in members:
        send(member, signal.SIGSTOP)
    deadline = time.monotonic() + 10
    while any(state(member) == "running" for member in members) and time.monotonic() < deadline:
        time.sleep(0.002)


def thaw(identity: Identity) -> None:
    """Let a process that was frozen go on."""
    for member in reversed(family(identity)):
        send(member, signal.SIGCONT)


def terminate(identity: Identity, number: signal.Signals, seconds: float) -> bool:
    """Ask a process to end, and end it if it has not after `seconds`. True if asking was enough."""
    thaw(identity)
    members = family(identity)
    send(identity, number)
    if wait_gone(members, seconds):
        return True
    kill(identity)
    return False


def wait_gone(members: Iterable[Identity], seconds: float) -> bool:
    """Wait until all have ended. False if one has not after `seconds`."""
    deadline = time.monotonic() + seconds
    left = list(members)
    while left := [member for member in left if state(member) != "dead"]:
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def memory(identity: Identity) -> int:
    """Bytes of memory of a process and everything it started; what is shared between them is counted in parts."""
    total = 0
    for member in family(identity):
        with contextlib.suppress(OSError, IndexError, ValueError):
            lines = (_PROC / str(member.pid) / "smaps_rollup").read_text().splitlines()
            total += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return total


def _has_threads(pid: int) -> bool:
    """A process looks like a zombie as soon as its first thread has ended; its sockets stay open until the last has."""
    try:
        return len(os.listdir(_PROC / str(pid) / "task")) > 1
    except OSError:
        return False


def _reap(pid: int) -> None:
    with _children_lock:
        if child := _children.get(pid):
            child.poll()


def _everyone() -> Iterator[_Facts]:
    for entry in os.listdir(_PROC):
        if entry.isdecimal() and (facts := _facts(int(entry))) is not None:
            yield facts


def _facts(pid: int) -> _Facts | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(errors="replace")
    except OSError:
        return None
    # The name stands in brackets and may itself contain some; what follows the last one are fields 3 and up of proc(5).
    fields = text[text.rindex(")") + 2 :].split()
    return _Facts(Identity(pid, int(fields[19])), fields[0], int(fields[1]), int(fields[3]))
