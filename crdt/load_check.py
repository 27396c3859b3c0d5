"""Does a document engine accept what we are about to store? Builds a `Doc`, so it runs in a child process only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pycrdt import Doc

from crdt.errors import ProtocolError
from crdt.update import parse_state_vector


def load_check(updates: Sequence[bytes]) -> dict[int, int]:
    """Load updates, in causal order, into a fresh document and return its state: client id -> end clock.

    Raises:
        ProtocolError: `load` when the engine refuses an update.
    """
    doc: Doc[Any] = Doc()
    try:
        for update in updates:
            doc.apply_update(update)
        state = doc.get_state()
    except (ValueError, RuntimeError) as error:
        raise ProtocolError("load", f"a document cannot load it: {error}") from error
    return parse_state_vector(state, 1 << 40)
