"""Updates written by hand, byte by byte, so that a test does not depend on the code under test or on an engine."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from pycrdt import Array, Doc, Map, Text

Id = tuple[int, int]


def num(value: int) -> bytes:
    """A lib0 varUint."""
    out = bytearray()
    while value > 0x7F:
        out.append(0x80 | (value & 0x7F))
        value >>= 7
    out.append(value)
    return bytes(out)


def text(value: str) -> bytes:
    """A lib0 varString."""
    raw = value.encode()
    return num(len(raw)) + raw


def item(
    ref: int,
    content: bytes,
    *,
    left: Id | None = None,
    right: Id | None = None,
    parent: str | Id = "t",
    sub: str | None = None,
) -> bytes:
    """An item; its parent stands in the bytes only when it has no origin."""
    info = ref | (0x80 if left else 0) | (0x40 if right else 0) | (0x20 if sub is not None else 0)
    out = bytes((info,))
    for origin in (left, right):
        if origin is not None:
            out += num(origin[0]) + num(origin[1])
    if left is None and right is None:
        out += b"\x01" + text(parent) if isinstance(parent, str) else b"\x00" + num(parent[0]) + num(parent[1])
        if sub is not None:
            out += text(sub)
    return out + content


def string(value: str, left: Id | None = None, right: Id | None = None, parent: str | Id = "t") -> bytes:
    """An item of text."""
    return item(4, text(value), left=left, right=right, parent=parent)


def gc(length: int) -> bytes:
    """A GC struct."""
    return b"\x00" + num(length)


def skip(length: int) -> bytes:
    """A Skip struct."""
    return b"\x0a" + num(length)


def section(client: int, clock: int, *structs: bytes) -> bytes:
    """One client's structs."""
    return num(len(structs)) + num(client) + num(clock) + b"".join(structs)


def update(*sections: bytes, deletes: Mapping[int, Sequence[tuple[int, int]]] | None = None) -> bytes:
    """An update of sections and of deleted (clock, length) ranges."""
    out = num(len(sections)) + b"".join(sections) + num(len(deletes or {}))
    for client, ranges in (deletes or {}).items():
        out += num(client) + num(len(ranges)) + b"".join(num(clock) + num(length) for clock, length in ranges)
    return out


def any_item(content: bytes, count: int = 1) -> bytes:
    """An item of lib0 Any values, the values already encoded."""
    return item(8, num(count) + content)


def embed(value: str) -> bytes:
    """An item that embeds a JSON text as it stands."""
    return item(5, text(value))


def state_vector(entries: Mapping[int, int]) -> bytes:
    """A state vector."""
    return num(len(entries)) + b"".join(num(client) + num(clock) for client, clock in entries.items())


def author(client: int, *known: bytes) -> Doc[Any]:
    """A document of an honest pycrdt client that has applied `known`."""
    doc: Doc[Any] = Doc(client_id=client)
    for data in known:
        doc.apply_update(data)
    return doc


def typed(doc: Doc[Any], value: str, at: int | None = None) -> bytes:
    """The update of typing into the text `t`, at byte `at` or at the end."""
    before = doc.get_state()
    field = doc.get("t", type=Text)
    field.insert(len(field) if at is None else at, value)
    return doc.get_update(before)


def erased(doc: Doc[Any], start: int, stop: int) -> bytes:
    """The update of deleting bytes [start, stop) of the text `t`."""
    before = doc.get_state()
    del doc.get("t", type=Text)[start:stop]
    return doc.get_update(before)


def seen(*updates: bytes) -> str:
    """The text `t` of a fresh pycrdt document that applies the updates in order."""
    return str(author(99, *updates).get("t", type=Text))


def content(doc: Doc[Any]) -> dict[str, Any]:
    """Everything under the names `t`, `m` and `a` of a document, comparable."""
    return {
        "t": doc.get("t", type=Text).diff(),
        "m": json.loads(str(doc.get("m", type=Map))),
        "a": json.loads(str(doc.get("a", type=Array))),
    }
