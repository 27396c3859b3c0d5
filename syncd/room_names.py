"""From the path of a request to the canonical name of a room, and nowhere else."""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from crdt.ids import RoomId

MAX_NAME_BYTES: Final = 512
"""UTF-8 bytes of a room's name."""


class BadRoomName(ValueError):
    """A path does not name a room. The message says why, for the person who chose the name."""


@lru_cache(maxsize=1024)  # few rooms, many people
def room_from_path(raw_path: bytes, prefix: bytes) -> RoomId:
    """The room that a request's path names.

    Everything behind the prefix is the name; each segment is percent-decoded once. A slash inside a segment (`%2F`) is
    not a separator, so it is kept as `%2F`, and a percent sign as `%25`: `a/b`, `a%2Fb` and `a%252Fb` are three rooms.
    Names are compared byte for byte: no case folding, no Unicode normalisation.

    Raises:
        BadRoomName: when the name is empty, too long, not UTF-8, has control characters or a segment `.` or `..`.
    """
    segments = [_segment(raw) for raw in raw_path[len(prefix) :].split(b"/")]
    if not any(segments):
        raise BadRoomName("the room has no name")
    name = "/".join(segments)
    if len(name.encode()) > MAX_NAME_BYTES:
        raise BadRoomName(f"the room's name is longer than {MAX_NAME_BYTES} bytes")
    return RoomId(name)


def _segment(raw: bytes) -> str:
    try:
        text = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise BadRoomName("the room's name is not UTF-8") from None
    if text in (".", ".."):
        raise BadRoomName("the room's name has a segment '.' or '..'")
    if any(char < " " or "\x7f" <= char < "\xa0" for char in text):
        raise BadRoomName("the room's name has control characters")
    return text.replace("%", "%25").replace("/", "%2F")
