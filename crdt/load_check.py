"""The last question before stored state is replaced: does a fresh document load it, whole?

Builds a `Doc` from bytes that no `Doc` has seen yet, so it runs in a child process only: the known ways to crash or
hang yrs that the validator cannot see (they need state) happen here, where nobody else is hurt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pycrdt import Doc

from crdt.errors import ProtocolError
from crdt.update import parse_state_vector

_MAX_ENTRIES: Final = 1 << 24


def load_check(updates: Sequence[bytes]) -> dict[int, int]:
    """Load the updates, in causal order, into a fresh document and return its state: client id -> end clock.

    The document is not encoded again: re-encoding fails for honest documents too, where half of a surrogate pair was
    deleted, and nothing stored comes out of a document anyway.

    Raises:
        ProtocolError: `load` when the document refuses an update.
    """
    doc: Doc[Any] = Doc()
    for update in updates:
        try:
            doc.apply_update(update)
        except (ValueError, RuntimeError) as error:
            raise ProtocolError("load", str(error)) from error
    return parse_state_vector(doc.get_state(), _MAX_ENTRIES)
