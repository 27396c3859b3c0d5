"""Who somebody is, and how much they may do in one room."""

from dataclasses import dataclass
from enum import IntEnum
from typing import Literal


class Access(IntEnum):
    """What a connection may do in its room; each level includes those before it.

    COMMENT reads the room itself like READ; what it adds is the right to write in the room's own ``<room>~comments``.
    """

    NONE = 0
    READ = 1
    COMMENT = 2
    WRITE = 3
    OWN = 4

    @property
    def may_read(self) -> bool:
        """True if the document may be sent to this connection."""
        return self >= Access.READ

    @property
    def may_write(self) -> bool:
        """True if updates of this connection are accepted."""
        return self >= Access.WRITE


@dataclass(frozen=True, slots=True)
class Principal:
    """Somebody who connected. `id` is what updates are attributed to, `name` what people see."""

    id: str
    name: str
    kind: Literal["anonymous", "user"]


ANONYMOUS = Principal(id="anonymous", name="anonymous", kind="anonymous")
"""Everybody, where nobody is asked who they are."""


@dataclass(frozen=True, slots=True)
class Grant:
    """The outcome of an authentication: `access` holds for one room until `expires_at` (unix seconds; None: no end)."""

    principal: Principal
    access: Access
    expires_at: float | None
