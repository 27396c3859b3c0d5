"""Claims and a room's name in, an access out. Pure.

Names are compared character by character: no case folding, no Unicode normalisation, no meaning of dots or slashes.

A token's ``room`` that is a *string* is one exact name, whatever characters it contains. A *list* holds patterns:
``*`` stands for any characters but ``/`` (also none), ``**`` for any characters at all, ``\\`` makes the character
after it ordinary; everything else stands for itself. A backend that puts names chosen by its users into a token uses
the string form, or escapes them, so that nobody can name a room ``**``.

Every room has a room for its comments, ``<room>~comments``. Whoever has a role in the room has it there too, except
that ``comment`` becomes ``write``.
"""

import re
from functools import lru_cache

from auth.principal import Access
from auth.tokens import Claims
from crdt.ids import RoomId

COMMENTS = "~comments"

_WILDCARD = re.compile(r"\\(.)|(\*\*)|(\*)|([^\\*]+|\\)", re.DOTALL)


def access(claims: Claims, room: RoomId) -> Access:
    """What `claims` allow in `room`; `Access.NONE` if they do not mention it."""
    commented = room.removesuffix(COMMENTS)
    if commented not in ("", room) and _mentions(claims, commented):
        return Access.WRITE if claims.role is Access.COMMENT else claims.role
    return claims.role if _mentions(claims, room) else Access.NONE


def _mentions(claims: Claims, room: str) -> bool:
    if isinstance(claims.rooms, str):
        return claims.rooms == room
    return any(matches(pattern, room) for pattern in claims.rooms)


def matches(pattern: str, room: str) -> bool:
    """True if the whole of `room` fits `pattern`. Takes time in proportion to ``len(pattern) * len(room)`` at most."""
    return _match(_parse(pattern), room)


_ANY = object()
_SEGMENT = object()


@lru_cache(maxsize=1024)
def _parse(pattern: str) -> tuple[object, ...]:
    parts: list[object] = []
    for match in _WILDCARD.finditer(pattern):
        escaped, any_at_all, within, plain = match.groups()
        if any_at_all:
            parts.append(_ANY)
        elif within:
            parts.append(_SEGMENT)
        else:
            parts.extend(escaped or plain)  # one part per character
    return tuple(parts)


def _match(parts: tuple[object, ...], room: str) -> bool:
    """Keeps the set of positions in `parts` that the characters so far may have reached: no backtracking, so no
    pattern can be made slow on purpose."""
    reached = _skip_wildcards(parts, {0})
    for char in room:
        following: set[int] = set()
        for position in reached:
            if position == len(parts):
                continue
            part = parts[position]
            if part is _ANY or (part is _SEGMENT and char != "/"):
                following.add(position)
            elif part == char:
                following.add(position + 1)
        reached = _skip_wildcards(parts, following)
        if not reached:
            return False
    return len(parts) in reached


def _skip_wildcards(parts: tuple[object, ...], positions: set[int]) -> set[int]:
    """Adds the positions behind wildcards that match nothing."""
    result = set(positions)
    for start in positions:
        position = start
        while position < len(parts) and (parts[position] is _ANY or parts[position] is _SEGMENT):
            position += 1
            result.add(position)
    return result
