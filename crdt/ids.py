"""Names for the values that are easily confused."""

from __future__ import annotations

from typing import Final, NewType

RoomId = NewType("RoomId", str)
"""Canonical name of a room: what stands behind the websocket prefix, percent-decoded once per segment."""

ClientId = NewType("ClientId", int)
"""Yjs client id: 32 bits in Yjs 13, 53 bits in Yjs 14."""

MAX_CLIENT_ID: Final = 2**53 - 1
"""Largest integer JavaScript represents exactly; lib0 throws beyond it."""

MAX_CLOCK: Final = 2**31 - 1
"""Largest clock we accept; yrs keeps clocks in 32 bits."""
