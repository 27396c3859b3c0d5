"""Waiting for something that no event announces: it is asked again and again, until a deadline."""

import threading
import time
from collections.abc import Callable

from deploy.local.errors import Cancelled, NotReady

Probe = Callable[[], str | None]
"""None when it is as it should be, otherwise what is still missing, for the message of the failure."""

_SHORTEST, _LONGEST = 0.02, 0.25


def until(probe: Probe, seconds: float, cancel: threading.Event) -> None:
    """Ask until nothing is missing; first often, then less often.

    Raises:
        NotReady: still something missing after `seconds`; the message repeats what.
        Cancelled: `cancel` was set meanwhile.
    """
    deadline, pause = time.monotonic() + seconds, _SHORTEST
    while (missing := probe()) is not None:
        if time.monotonic() > deadline:
            raise NotReady(f"{missing}, after {seconds:.0f} seconds")
        if cancel.wait(pause):
            raise Cancelled("given up")
        pause = min(_LONGEST, pause * 1.3)
