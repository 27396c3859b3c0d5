"""The last question before stored state is replaced: does a fresh document load it?

Builds a `Doc` from bytes that no `Doc` has seen yet, so it runs in a child process only: the known ways to crash or
hang yrs that the validator cannot see (they need state) happen here, where nobody else is hurt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pycrdt import Doc

from crdt.errors import ProtocolError
from crdt.update import parse_update


def load_check(updates: Sequence[bytes]) -> None:
    """Load the updates, in causal order, into a fresh document.

    What the document then says of itself is no evidence: where half of a surrogate pair was deleted, yrs miscounts
    clocks of honest updates and cannot encode the document again. That nothing is missing is checked on the bytes, when
    they are folded.

    Raises:
        ProtocolError: an update is not valid, or (`load`) the document refuses it.
    """
    doc: Doc[Any] = Doc()
    for update in updates:
        parse_update(update)
        try:
            doc.apply_update(update)
        except (ValueError, RuntimeError) as error:
            raise ProtocolError("load", str(error)) from error
