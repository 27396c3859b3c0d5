"""What a document engine must be told before it may read a document, found in the bytes of an update.

A Yjs update names its root types but does not say of which kind they are (yjs `src/structs/Item.js`: an item without
origins names its parent; `src/utils/Doc.js`: the kind is chosen by whoever asks for the type). Asked for the wrong
kind, yrs may never return, so the kinds are inferred from what the roots hold.
"""

from __future__ import annotations

import re
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final, Literal

from crdt.update import (
    ANY,
    BINARY,
    DOC,
    EMBED,
    FORMAT,
    GC,
    HAS_SUB,
    NONE,
    SKIP,
    STRING,
    TYPE,
    UpdateReader,
)
from crdt.varint import uint

Kind = Literal["text", "xml", "array", "map", "empty"]
"""`empty`: all that is left of a root are deletions, which tell nothing about what it was."""

_KEYS: Final = 1
_TEXT: Final = 2
_XML: Final = 4
_VALUES: Final = 8

_EVIDENCE: Final = {STRING: _TEXT, FORMAT: _TEXT, EMBED: _TEXT, ANY: _VALUES, BINARY: _VALUES, DOC: _VALUES}
_FIRST_XML_TYPE: Final = 3  # type refs (yjs `src/structs/ContentType.js`): array, map, text, then those of XML

_NOWHERE: Final = -1
_CLOCK_BITS: Final = 31


def root_kinds(updates: Sequence[bytes]) -> dict[str, Kind]:
    """The kinds of all root types that the updates together write to, by name.

    Text, formats and embeds make a text; XML nodes alone an XML fragment; any other value an array; nothing but keys a
    map. A root with both content and keys is read as its content: a shared text may carry attributes.

    Raises:
        ProtocolError: when an update is not valid.
    """
    owners = _Owners()
    for update in updates:
        owners.read(update)
    return {name: _kind(found) for name, found in owners.evidence().items()}


def _kind(evidence: int) -> Kind:
    if evidence & _TEXT:
        return "text"
    if evidence & _VALUES:
        return "array"
    if evidence & _XML:
        return "xml"
    return "map" if evidence & _KEYS else "empty"


class _Section:
    """The structs of one client, in arrays: a document has a struct for every few characters."""

    __slots__ = ("clocks", "evidence", "links")

    def __init__(self) -> None:
        self.clocks = array("q")
        self.links = array("q")
        self.evidence = bytearray()


class _Owners:
    """Which root, if any, each struct stands in.

    Only an item without origins names its parent; any other stands where its left origin stands, or where its right
    origin does. A link is twice the number of the root (plus one under a key), `_NOWHERE`, or below that the item whose
    place it shares.
    """

    def __init__(self) -> None:
        self._roots: dict[str, int] = {}
        self._clients: dict[int, int] = {}
        self._sections: list[_Section] = []

    def read(self, data: bytes) -> None:
        reader = UpdateReader(data)
        for client, clock in _structs(reader):
            section = self._sections[self._number(client)]
            section.clocks.append(clock)
            section.links.append(self._link(reader))
            section.evidence.append(_evidence(reader))

    def evidence(self) -> dict[str, int]:
        """What was found in each root."""
        for section in self._sections:
            if any(section.clocks[at] > section.clocks[at + 1] for at in range(len(section.clocks) - 1)):
                _sort(section)
        found = [0] * len(self._roots)
        for section in self._sections:
            for at in range(len(section.links)):
                link = self._resolve(section, at)
                if link >= 0:
                    found[link >> 1] |= _KEYS if link & 1 else section.evidence[at]
        return {name: found[number] for name, number in self._roots.items()}

    def _number(self, client: int) -> int:
        number = self._clients.setdefault(client, len(self._sections))
        if number == len(self._sections):
            self._sections.append(_Section())
        return number

    def _link(self, reader: UpdateReader) -> int:
        if reader.ref == GC:
            return _NOWHERE
        if reader.origin_client != NONE:
            return self._shared(reader.origin_client, reader.origin_clock)
        if reader.right_client != NONE:
            return self._shared(reader.right_client, reader.right_clock)
        if reader.parent_client != NONE:
            return _NOWHERE
        named = UpdateReader(reader.data, reader.start + 1)  # behind the info byte
        named.uint()  # the 1 that says: a name follows
        root = self._roots.setdefault(named.text(), len(self._roots))
        return root * 2 + (1 if reader.data[reader.start] & HAS_SUB else 0)

    def _shared(self, client: int, clock: int) -> int:
        return _NOWHERE - 1 - (self._number(client) << _CLOCK_BITS | clock)

    def _resolve(self, section: _Section, at: int) -> int:
        """Follow links to a root or to nowhere. A circle, which no document integrates, ends nowhere."""
        path: list[tuple[array[int], int]] = []
        links = section.links
        link = links[at]
        while link < _NOWHERE:
            path.append((links, at))
            links[at] = _NOWHERE
            number, clock = divmod(_NOWHERE - 1 - link, 1 << _CLOCK_BITS)
            target = self._sections[number]
            at = bisect_right(target.clocks, clock) - 1
            if at < 0:
                link = _NOWHERE
                break
            links = target.links
            link = links[at]
        for passed, position in path:
            passed[position] = link
        return link


def _sort(section: _Section) -> None:
    """Put structs that came out of order, or again, in the order of their clocks."""
    order = sorted(range(len(section.clocks)), key=section.clocks.__getitem__)
    section.clocks = array("q", [section.clocks[at] for at in order])
    section.links = array("q", [section.links[at] for at in order])
    section.evidence = bytearray(section.evidence[at] for at in order)


def _evidence(reader: UpdateReader) -> int:
    if reader.ref != TYPE:
        return _EVIDENCE.get(reader.ref, 0)
    return _XML if UpdateReader(reader.data, reader.content).uint() >= _FIRST_XML_TYPE else _VALUES


def _structs(reader: UpdateReader) -> Iterator[tuple[int, int]]:
    """Take the reader from struct to struct, and then to the delete set; yield (client, clock) of each."""
    for _ in range(reader.count()):
        structs = reader.count()
        client = reader.client()
        clock = reader.clock()
        for _ in range(structs):
            reader.read_struct(client, clock)
            if reader.ref != SKIP:
                yield client, clock
            clock += reader.length


_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")
_HALVES: Final = "\ufffd\ufffd"


def mend_pairs(data: bytes) -> bytes:
    """Replace each character that edits have cut in two by two replacement characters, as Yjs does when it cuts.

    Clocks count UTF-16 units, so a delete or an insertion can fall inside an emoji. Yjs then turns both halves into
    U+FFFD (`src/structs/ContentString.js`, splice); yrs loses the character behind them.

    Args:
        data: one valid update that holds the whole document.
    """
    strings = _astral_strings(data)
    if not strings:
        return data
    cuts = _cuts(data, strings)
    out: list[bytes] = []
    done = 0
    for offset in sorted(cuts):
        reader = UpdateReader(data, offset)
        units = reader.text().encode("utf-16-le")
        for unit in cuts[offset]:
            if 0xD8 <= units[unit * 2 - 1] <= 0xDB:
                units = units[: unit * 2 - 2] + _HALVES.encode("utf-16-le") + units[unit * 2 + 2 :]
        text = units.decode("utf-16-le").encode()
        out += (data[done:offset], uint(len(text)), text)
        done = reader.pos
    out.append(data[done:])
    return b"".join(out)


_Strings = dict[int, list[tuple[int, int, int]]]
"""Client id -> (clock, end clock, offset of the content) of strings, ascending."""


def _astral_strings(data: bytes) -> _Strings:
    """The strings that hold characters of two UTF-16 units."""
    strings: _Strings = {}
    reader = UpdateReader(data)
    for client, clock in _structs(reader):
        if reader.ref == STRING and _ASTRAL.search(UpdateReader(data, reader.content).text()):
            strings.setdefault(client, []).append((clock, clock + reader.length, reader.content))
    return strings


def _cuts(data: bytes, strings: _Strings) -> dict[int, set[int]]:
    """Where those strings are cut: offset of the content -> units before a cut."""
    cuts: dict[int, set[int]] = {}
    for client, clock in _edges(data):
        found = strings.get(client)
        if found is None:
            continue
        at = bisect_right(found, clock, key=_clock) - 1
        if at >= 0 and found[at][0] < clock < found[at][1]:
            cuts.setdefault(found[at][2], set()).add(clock - found[at][0])
    return cuts


def _clock(string: tuple[int, int, int]) -> int:
    return string[0]


def _edges(data: bytes) -> Iterator[tuple[int, int]]:
    """Every (client, clock) at which an engine cuts: behind left origins, before right ones, around deletes."""
    reader = UpdateReader(data)
    for _ in _structs(reader):
        if reader.origin_client != NONE:
            yield reader.origin_client, reader.origin_clock + 1
        if reader.right_client != NONE:
            yield reader.right_client, reader.right_clock
    for client, start, end in reader.deletes():
        yield client, start
        yield client, end
