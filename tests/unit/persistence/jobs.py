"""A sandbox child with jobs for tests, over opaque bytes: `python -m tests.unit.persistence.jobs`.

`fold` joins lines; `check` refuses what a merge or a load could choke on. Special updates make things happen:
  poison   refused by fold          unloadable   refused by check         die    kills the child, every time
  die-once PATH   kills the child unless PATH exists, and creates it
"""

import os
import signal
import sys
import time

from crdt.errors import ProtocolError
from persistence.sandbox_child import Argument, main

SEPARATOR = b"\n"


class Panic(BaseException):
    """A panic of yrs arrives as a direct child of BaseException."""


def _lines(argument: Argument) -> list[bytes]:
    assert isinstance(argument, list)
    return SEPARATOR.join(argument).split(SEPARATOR) if argument else []


def fold(blocks: Argument, updates: Argument, base: Argument = "") -> bytes:
    lines = _lines(blocks) + _lines(updates)
    if b"poison" in lines:
        raise ProtocolError("poison", "cannot be merged")
    if b"die" in lines:
        os.kill(os.getpid(), signal.SIGKILL)
    for line in lines:
        if line.startswith(b"die-once ") and not os.path.exists(line[9:]):
            os.close(os.open(line[9:], os.O_CREAT))
            os.kill(os.getpid(), signal.SIGKILL)
    return SEPARATOR.join(lines)


def check(blocks: Argument, updates: Argument) -> bytes:
    lines = _lines(blocks) + _lines(updates)
    if b"unloadable" in lines:
        raise ProtocolError("load", "cannot be loaded")
    return b""


def echo(text: Argument, parts: Argument) -> bytes:
    assert isinstance(text, str)
    return text.encode() + b"".join(parts)  # type: ignore[arg-type]  # a list, as the test sends it


def hang() -> bytes:
    """Sleep: the wall deadline must end it."""
    time.sleep(600)
    return b""


def spin() -> bytes:
    """Use CPU time without ever returning to a place where a signal handler of Python could run the show."""
    while True:
        pass


def allocate(size: Argument) -> bytes:
    assert isinstance(size, str)
    return bytes(len(bytearray(int(size))) % 2)


def pid() -> bytes:
    return str(os.getpid()).encode()


def environment() -> bytes:
    return "\n".join(sorted(os.environ)).encode()


def panic() -> bytes:
    raise Panic("as from yrs")


def shout() -> bytes:
    """Write more to stderr than a child may."""
    while True:
        os.write(2, b"x" * 65536)


JOBS = {job.__name__: job for job in (fold, check, echo, hang, spin, allocate, pid, environment, panic, shout)}

if __name__ == "__main__":
    main(JOBS, int(sys.argv[1]))
