"""The y-websocket wire format: what stands in one binary websocket message.

Sources: y-protocols `sync.js`, `awareness.js`, `auth.js`; y-websocket `src/y-websocket.js`; message 102 as the y-sweet
client speaks it. A stock client reads only the first message of a frame, so we write one message a frame; inbound we
read as many as there are and ignore a truncated tail, as some clients append one.
"""

from __future__ import annotations

from typing import Final

from crdt.errors import ProtocolError
from crdt.varint import read_bytes, read_uint, uint, write_bytes, write_uint

SYNC: Final = 0
AWARENESS: Final = 1
AUTH: Final = 2
QUERY_AWARENESS: Final = 3
SAVED: Final = 102

STEP1: Final = 0
STEP2: Final = 1
UPDATE: Final = 2

_SYNC_HEADS: Final = [bytes((SYNC, sub)) for sub in (STEP1, STEP2, UPDATE)]

EMPTY_AWARENESS: Final = b"\x01\x01\x00"
"""An awareness message about nobody: harmless, and enough to feed the 30 s watchdog of a y-websocket client."""

MAX_MESSAGES: Final = 128
"""Messages in one frame. Stock clients send one; a frame of millions of tiny questions would be answered as often."""

UNKNOWN: Final = -1
"""Kind of a message whose type we do not know; the rest of its frame cannot be read."""


def read_messages(frame: bytes) -> list[tuple[int, int, bytes]]:
    """The messages of one frame as (kind, sync sub-type or 0, payload).

    Reading ends at the first message that is truncated or unknown; the latter is returned as `UNKNOWN`.

    Raises:
        ProtocolError: `messages` when there are more than `MAX_MESSAGES`.
    """
    messages: list[tuple[int, int, bytes]] = []
    pos, size = 0, len(frame)
    try:
        while pos < size:
            if len(messages) == MAX_MESSAGES:
                break
            kind, pos = read_uint(frame, pos)
            sub = 0
            payload = b""
            if kind == SYNC:
                sub, pos = read_uint(frame, pos)
                if sub > UPDATE:
                    messages.append((UNKNOWN, sub, b""))
                    break
                payload, pos = read_bytes(frame, pos)
            elif kind in (AWARENESS, SAVED):
                payload, pos = read_bytes(frame, pos)
            elif kind != QUERY_AWARENESS:
                messages.append((UNKNOWN, 0, b""))
                break
            messages.append((kind, sub, payload))
    except ProtocolError:
        return messages
    if len(messages) == MAX_MESSAGES and pos < size:
        raise ProtocolError("messages", f"a frame holds more than {MAX_MESSAGES} messages")
    return messages


def sync_message(sub: int, payload: bytes) -> bytes:
    """A sync message: `STEP1` with a state vector, `STEP2` or `UPDATE` with an update."""
    return _SYNC_HEADS[sub] + uint(len(payload)) + payload  # a large payload is copied once


def awareness_message(payload: bytes) -> bytes:
    """An awareness message around an encoded awareness update."""
    out = bytearray((AWARENESS,))
    write_bytes(out, payload)
    return bytes(out)


def permission_denied(reason: str) -> bytes:
    """The auth message that tells a client why it is refused; a stock client prints it (y-protocols `auth.js`)."""
    out = bytearray((AUTH, 0))
    write_bytes(out, reason.encode())
    return bytes(out)


def saved_message(counter: bytes) -> bytes:
    """Message 102: the client's counter, as it came, now that everything before it is durable."""
    out = bytearray()
    write_uint(out, SAVED)
    write_bytes(out, counter)
    return bytes(out)
