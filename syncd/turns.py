"""Long work in turns: whatever takes long is cut into pieces, and between two of them the loop serves everybody."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

logger = logging.getLogger(__name__)

TURN: Final = 0.005
"""Seconds of a turn. In an iteration of the loop there is one, whoever has work to do."""


class Work(Protocol):
    """Something that takes long."""

    def turn(self, until: float) -> bool:
        """Do a piece of it, up to about `until` (seconds of `time.monotonic`); whether there is more to do."""


class _Round:
    """Many who have a little to do each, and often: one step each, round after round, in turns they share."""

    __slots__ = ("steps",)

    def __init__(self) -> None:
        self.steps: deque[Callable[[], bool]] = deque()

    def turn(self, until: float) -> bool:
        steps = self.steps
        while steps:
            step = steps.popleft()
            try:
                if step():
                    steps.append(step)
            except Exception:
                logger.exception("unexpected error in %r", step)
            if time.monotonic() >= until:
                break
        return bool(steps)


class Turns:
    """Gives those who have work their turns, one after the other.

    Attributes:
        length: seconds of a turn.
    """

    def __init__(self, length: float = TURN) -> None:
        self.length = length
        self._queue: deque[Work] = deque()
        self._round = _Round()
        self._handle: asyncio.Handle | None = None
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def idle(self) -> bool:
        """Whether nobody has work to do."""
        return not self._queue

    def add(self, work: Work) -> None:
        """Give it turns until it has no more to do. It must not be added again before that."""
        self._queue.append(work)
        self._idle.clear()
        if self._handle is None:
            self._handle = asyncio.get_running_loop().call_soon(self._run)

    def share(self, step: Callable[[], bool]) -> None:
        """Call `step`, which is short, in turns shared with others of its kind, until it returns False."""
        first = not self._round.steps
        self._round.steps.append(step)
        if first and self._round not in self._queue:
            self.add(self._round)

    def _run(self) -> None:
        self._handle = None
        work = self._queue.popleft()
        try:
            if work.turn(time.monotonic() + self.length):
                self._queue.append(work)
        except Exception:
            logger.exception("unexpected error in the work of %r", work)
        if self._queue:
            self._handle = asyncio.get_running_loop().call_soon(self._run)
        else:
            self._idle.set()

    async def done(self) -> None:
        """Wait until nobody has work to do."""
        await self._idle.wait()
