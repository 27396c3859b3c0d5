"""Every close code a client can get from syncd, in one table.

y-websocket 3.1 stops for good at 4400-4499 and reconnects after everything else (WIRE facts: older versions always
reconnect). So a refusal that only a person can lift is 44xx, and everything that passes by itself is not.
"""

from enum import IntEnum
from typing import Final


class CloseCode(IntEnum):
    """Close codes of RFC 6455 §7.4 and our own."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED = 1003
    INVALID = 1007
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    RESTART = 1012
    TRY_LATER = 1013
    BAD_ROOM = 4400
    UNAUTHENTICATED = 4401
    FORBIDDEN = 4403
    DELETED = 4404
    DOCUMENT_FULL = 4413
    TOKEN_EXPIRED = 4501
    TOO_FAST = 4529

    @property
    def retry(self) -> bool:
        """Whether a client should come back by itself."""
        return not 4400 <= self <= 4499


MEANING: Final[dict[CloseCode, str]] = {
    CloseCode.NORMAL: "the client said goodbye",
    CloseCode.GOING_AWAY: "the page was closed",
    CloseCode.PROTOCOL_ERROR: "a frame breaks the websocket protocol",
    CloseCode.UNSUPPORTED: "a text frame; the protocol is binary",
    CloseCode.INVALID: "an update breaks a rule of the Yjs format; nothing of it was taken",
    CloseCode.TOO_BIG: "a message is larger than max_message",
    CloseCode.INTERNAL_ERROR: "an error of the server",
    CloseCode.RESTART: "the server restarts; come back",
    CloseCode.TRY_LATER: "the server cannot load or save the document now, or has too much to do; come back",
    CloseCode.BAD_ROOM: "the room's name is not allowed",
    CloseCode.UNAUTHENTICATED: "no valid token",
    CloseCode.FORBIDDEN: "the token does not open this room",
    CloseCode.DELETED: "the document was deleted",
    CloseCode.DOCUMENT_FULL: "the document has reached its size limit",
    CloseCode.TOKEN_EXPIRED: "the token has expired; come back with a new one",
    CloseCode.TOO_FAST: "more messages per second than messages_per_second allows; come back",
}

_BY_RULE: Final[dict[str, CloseCode]] = {
    "held-overflow": CloseCode.TRY_LATER,
    "document-size": CloseCode.DOCUMENT_FULL,
    "document-clients": CloseCode.DOCUMENT_FULL,
    "document-deletes": CloseCode.DOCUMENT_FULL,
}


def close_code_for(rule: str) -> CloseCode:
    """The code for bytes that broke a rule of `crdt.errors.ProtocolError`."""
    return _BY_RULE.get(rule, CloseCode.INVALID)
