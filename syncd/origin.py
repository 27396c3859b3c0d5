"""Which web pages may open a websocket: a browser lets any page connect anywhere, so the server has to look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import urlsplit

_LOOPBACK: Final = frozenset(("localhost", "127.0.0.1", "::1"))


def origin_allowed(headers: Mapping[str, str], allowed: Sequence[str], *, loopback_only: bool) -> bool:
    """Whether the page that asks for a websocket may have one.

    Args:
        headers: of the handshake, lower-case names.
        allowed: further origins (`https://app.example.org`), or `*`.
        loopback_only: the server is meant for this machine alone. A page of its "own" origin is then believed only
            under a loopback name: a foreign page can give itself a name that resolves to 127.0.0.1 (DNS rebinding).

    A client that sends no Origin is not a browser and is not asked.
    """
    origin = headers.get("origin")
    if origin is None or "*" in allowed or origin in allowed:
        return True
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    if not parts.netloc or parts.netloc.lower() != headers.get("host", "").lower():
        return False
    return not loopback_only or parts.hostname in _LOOPBACK
