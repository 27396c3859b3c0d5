"""Bounded parser of Yjs update v1 and of state vectors: the validator of everything that a client sends.

Format: yjs `src/utils/encoding.js`, `UpdateEncoder.js` and `src/structs/*`. The rules are those that keep an update
from breaking any engine that reads it later, Yjs in a browser and yrs in a compaction worker alike; each has a name,
which is the label of the metric that counts refusals.

    update   = count, section*, delete set         section = count of structs, client, first clock, struct*
    struct   = info byte, [origin id], [right origin id], [parent], content
"""

from __future__ import annotations

from typing import Final

from crdt.errors import ProtocolError
from crdt.ids import MAX_CLIENT_ID, MAX_CLOCK
from crdt.json_text import LONG, MAX_DEPTH, UNLIMITED, JsonScanner, check_json
from crdt.long_text import LONG as LONG_TEXT
from crdt.long_text import TextScanner
from crdt.varint import read_uint, write_uint

EMPTY_UPDATE: Final = b"\x00\x00"
"""No structs, no deletes."""

GC: Final = 0
DELETED: Final = 1
JSON: Final = 2
BINARY: Final = 3
STRING: Final = 4
EMBED: Final = 5
FORMAT: Final = 6
TYPE: Final = 7
ANY: Final = 8
DOC: Final = 9
SKIP: Final = 10

HAS_ORIGIN: Final = 0x80
HAS_RIGHT: Final = 0x40
HAS_SUB: Final = 0x20

LISTED: Final = 64
"""Deletes of which a summary keeps a list once they are in the index."""

NONE: Final = -1
"""Stands for an absent id in `UpdateReader`'s fields."""

# Most updates delete nothing and build on their own client only. These two are shared by all of them and never changed.
_NO_NEEDS: Final[dict[int, int]] = {}
_NO_DELETES: Final[list[tuple[int, int, int]]] = []

_PLAIN_JSON: Final = frozenset((b"true", b"false", b"null", b'""', b"{}", b"[]"))


class UpdateReader:
    """Cursor over one update. `read_struct` leaves what it read in the fields, so that nothing is allocated per struct.

    Fields after `read_struct`: `ref` (content kind), `length` (clocks taken), `start` and `content` (offsets of the
    struct and of its content), `pos` (offset behind it), and the ids it refers to (`NONE` in `*_client` where absent).

    A struct may hold millions of values. Who has set a `budget` must ask, after `read_struct`, whether it is
    `unfinished`, and then call `go_on` with new budgets until it is not.

    Attributes:
        budget: how many values may be passed over; what is passed over is taken off. Without end unless set.
        trusted: the bytes have been validated before, so JSON and names need not be looked at again.
        unfinished: the budget has run out in the middle of a struct.
    """

    __slots__ = (
        "_limit",
        "_open",
        "_scanner",
        "_text",
        "budget",
        "content",
        "data",
        "length",
        "origin_client",
        "origin_clock",
        "parent_client",
        "parent_clock",
        "pos",
        "ref",
        "right_client",
        "right_clock",
        "size",
        "start",
        "trusted",
        "unfinished",
    )

    def __init__(self, data: bytes, pos: int = 0) -> None:
        self.data = data
        self.pos = pos
        self.size = len(data)
        self.budget = UNLIMITED
        self.trusted = False
        self.unfinished = False
        self._open: list[int] | None = None  # per nested list of values: twice the values left, plus 1 for a map
        self._scanner: JsonScanner | None = None
        self._text: TextScanner | None = None
        self._limit = 0  # clocks that `_text` may take
        self.ref = 0
        self.length = 0
        self.start = 0
        self.content = 0
        self.origin_client = NONE
        self.origin_clock = 0
        self.right_client = NONE
        self.right_clock = 0
        self.parent_client = NONE
        self.parent_clock = 0

    def uint(self) -> int:
        """One unsigned integer."""
        pos = self.pos
        if pos < self.size:
            byte = self.data[pos]
            if byte < 0x80:
                self.pos = pos + 1
                return byte
        value, self.pos = read_uint(self.data, pos)
        return value

    def client(self) -> int:
        """One client id."""
        value = self.uint()
        if value > MAX_CLIENT_ID:
            raise ProtocolError("client-id", "a client id is larger than 2^53-1")
        return value

    def clock(self) -> int:
        """One clock."""
        value = self.uint()
        if value > MAX_CLOCK:
            raise ProtocolError("clock", "a clock is larger than 2^31-1")
        return value

    def count(self) -> int:
        """A number of things that take at least one byte each."""
        value = self.uint()
        if value > self.size - self.pos:
            raise ProtocolError("count", "a count is larger than the data")
        return value

    def skip(self, length: int) -> int:
        """Pass over `length` bytes; return where they started."""
        start = self.pos
        if length > self.size - start:
            raise ProtocolError("truncated", "a value is longer than the data")
        self.pos = start + length
        return start

    def raw(self) -> bytes:
        """A length-prefixed byte string."""
        start = self.skip(self.uint())
        return self.data[start : self.pos]

    def text(self) -> str:
        """A length-prefixed UTF-8 string."""
        try:
            return self.raw().decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("utf8", "a string is not UTF-8") from error

    def read_struct(self, client: int, clock: int) -> None:
        """Read and check the struct of `client` at `clock`.

        Raises:
            ProtocolError: naming the broken rule.
        """
        if self.pos >= self.size:
            raise ProtocolError("truncated", "a struct is missing")
        self.start = self.pos
        info = self.data[self.pos]
        self.pos += 1
        ref = info & 0x1F
        self.ref = ref
        self.origin_client = self.right_client = self.parent_client = NONE
        if ref in (GC, SKIP):
            if info & 0xE0:
                raise ProtocolError("flags", "a GC or Skip struct carries flags")
            self.content = self.pos
            self.length = self.uint()
            if self.length == 0:
                raise ProtocolError("length", "a GC or Skip struct is empty")
        else:
            self._references(info, client, clock)
            self.content = self.pos
            self.length = self._content(ref, clock)
        if clock + self.length > MAX_CLOCK:
            raise ProtocolError("clock", "a struct ends above clock 2^31-1")

    def _references(self, info: int, client: int, clock: int) -> None:
        """Origins and parent of an item; those of the same client must be older than the item."""
        if info & HAS_ORIGIN:
            self.origin_client = self.client()
            self.origin_clock = self.clock()
            if self.origin_client == client and self.origin_clock >= clock:
                raise ProtocolError("origin", "an item's left origin is not older than the item")
        if info & HAS_RIGHT:
            self.right_client = self.client()
            self.right_clock = self.clock()
            if self.right_client == client and self.right_clock >= clock:
                raise ProtocolError("origin", "an item's right origin is not older than the item")
        if info & (HAS_ORIGIN | HAS_RIGHT):
            return
        named = self.uint()
        if named == 1:
            self.name()
        elif named == 0:
            self.parent_client = self.client()
            self.parent_clock = self.clock()
            if self.parent_client == client and self.parent_clock >= clock:
                raise ProtocolError("parent", "an item's parent is not older than the item")
        else:
            raise ProtocolError("parent", "an item's parent is neither a name nor an id")
        if info & HAS_SUB:
            self.name()

    def _content(self, ref: int, clock: int) -> int:
        """Pass over the content of an item; return the clocks it takes."""
        if ref == STRING:
            length = self.uint()
            start = self.skip(length)
            if length > LONG_TEXT:
                return self._long_text(start, clock)
            try:
                text = self.data[start : self.pos].decode()
            except UnicodeDecodeError as error:
                raise ProtocolError("utf8", "a string is not UTF-8") from error
            if text.isascii():
                return length
            return len(text.encode("utf-16-le")) >> 1
        if ref == DELETED:
            length = self.uint()
            if length == 0:
                raise ProtocolError("length", "deleted content is empty")
            return length
        if ref == FORMAT:
            self.name()
            self.json()
            return 1
        if ref == ANY:
            return self._any_array()
        if ref == TYPE:
            kind = self.uint()
            if kind > 6:
                raise ProtocolError("type-ref", "an unknown shared type")
            if kind == 5:
                raise ProtocolError("xml-hook", "an XML hook: Yjs reads a name behind it, yrs does not")
            if kind == 3:
                self.name()
            return 1
        if ref == EMBED:
            self.json()
            return 1
        if ref == BINARY:
            self.skip(self.uint())
            return 1
        if ref == DOC:
            self.name()
            if self.pos < self.size and self.data[self.pos] != 118:
                raise ProtocolError("subdocument", "a subdocument's options are not a map; Yjs throws on null")
            self.begin_values(1)
            return 1
        if ref == JSON:
            raise ProtocolError("content-json", "content of the kind JSON (Yjs before 13) is not supported")
        raise ProtocolError("content", "an unknown kind of content")

    def _long_text(self, start: int, clock: int) -> int:
        self._text = TextScanner(self.data, start, self.pos)
        self._limit = MAX_CLOCK - clock
        self.length = 0
        self.unfinished = True
        self.go_on()
        return self.length

    def _any_array(self) -> int:
        count = self.count()
        if count == 0:
            raise ProtocolError("length", "an array of values is empty")
        self.begin_values(count)
        return count

    def name(self) -> None:
        """Pass over a length-prefixed UTF-8 string of which nobody needs the length."""
        if self.trusted:
            self.skip(self.uint())
        else:
            self.text()

    def json(self) -> None:
        """Pass over one JSON value."""
        length = self.uint()
        start = self.skip(length)
        if self.trusted:
            return
        if length > LONG:
            self._scanner = JsonScanner(self.data, start, self.pos)
            self.unfinished = True
            self.go_on()
            return
        raw = self.data[start : self.pos]
        if raw not in _PLAIN_JSON:
            self.budget -= length >> 4
            check_json(raw)

    def begin_values(self, count: int) -> None:
        """Pass over `count` lib0 Any values, or as many as the budget allows: then the reader is `unfinished`."""
        self._open = [count * 2]
        self.unfinished = True
        self.go_on()

    def go_on(self) -> bool:
        """Go on within the budget; whether the end is reached."""
        if self._scanner is not None:
            self.budget = self._scanner.step(self.budget)
            if self.budget <= 0:
                return False
            self._scanner = None
        elif self._text is not None:
            self.budget = self._text.step(self.budget)
            if self.budget <= 0:
                return False
            self.length = self._text.units
            self._text = None
            if self.length > self._limit:
                raise ProtocolError("clock", "a struct ends above clock 2^31-1")
        elif self._open is not None and not self._values(self._open):
            return False
        self.unfinished = False
        return True

    def _values(self, nested: list[int]) -> bool:
        """Go on with what is in `nested`, innermost last. No recursion, so that it can stop anywhere."""
        while nested:
            left = nested[-1]
            if left < 2:
                nested.pop()
                continue
            if self.budget <= 0:
                return False
            self.budget -= 1
            nested[-1] = left - 2
            if left & 1:
                self.name()
            self._value(nested)
        self._open = None
        return True

    def _value(self, nested: list[int]) -> None:
        """Pass over one lib0 Any value (lib0 `encoding.js` writeAny); what it contains is added to `nested`.

        The kind of a value is one byte, not an integer.
        """
        kind = self.data[self.skip(1)]
        if kind == 119:
            self.name()
        elif kind == 125:
            self._signed()
        elif 120 <= kind <= 127:
            if kind == 122 or kind == 123:
                self.skip(8)
            elif kind == 124:
                self.skip(4)
        elif kind == 116:
            self.skip(self.uint())
        elif kind == 117 or kind == 118:
            if len(nested) > MAX_DEPTH:
                raise ProtocolError("depth", f"a value is nested more than {MAX_DEPTH} deep")
            nested.append(self.count() * 2 + (kind == 118))
        else:
            raise ProtocolError("any", "an unknown kind of value")

    def _signed(self) -> None:
        """Pass over a signed integer: six bits and a sign in the first byte, then seven a byte."""
        start = self.skip(1)
        byte = self.data[start]
        value = byte & 0x3F
        shift = 6
        while byte >= 0x80:
            if shift > 48:
                raise ProtocolError("varint", "a signed integer is longer than eight bytes")
            byte = self.data[self.skip(1)]
            value |= (byte & 0x7F) << shift
            shift += 7
        if value > MAX_CLIENT_ID:
            raise ProtocolError("varint", "a signed integer is beyond 2^53-1")

    def section(self) -> tuple[int, int, int]:
        """The head of a client's section: number of structs, client, first clock."""
        structs = self.count()
        if structs == 0:
            raise ProtocolError("empty-section", "a client section has no structs")
        return structs, self.client(), self.clock()

    def delete_range(self) -> tuple[int, int]:
        """One range of a delete set, as (first clock, end clock)."""
        clock = self.clock()
        length = self.uint()
        if length == 0:
            raise ProtocolError("length", "a delete range is empty")
        if clock + length > MAX_CLOCK:
            raise ProtocolError("clock", "a delete range ends above clock 2^31-1")
        return clock, clock + length

    def deletes(self) -> list[tuple[int, int, int]]:
        """The delete set that ends an update, as (client, first clock, end clock). Not to be changed: it is shared."""
        sections = self.count()
        if sections == 0:
            return _NO_DELETES
        found: list[tuple[int, int, int]] = []
        clients: set[int] = set()
        for _ in range(sections):
            client = self.client()
            if client in clients:
                raise ProtocolError("duplicate-client", "a client stands twice in the delete set")
            clients.add(client)
            for _ in range(self.count()):
                start, end = self.delete_range()
                found.append((client, start, end))
        return found

    def finish(self) -> None:
        """Check that nothing stands behind the update."""
        if self.pos != self.size:
            raise ProtocolError("trailing", "bytes stand behind the update")


class Update:
    """What one valid update holds and what it builds on.

    Attributes:
        ranges: (client, first clock, end clock) of the structs, in the order of the bytes; Skip structs interrupt a
            range.
        needs: foreign client id to the lowest end clock that must be known before the update can be applied. This and
            `deletes` are replaced, never changed.
        deletes: (client, first clock, end clock); empty when they are `unlisted`.
        unlisted: number of deletes that stand in the update's bytes only (see `deletes_in`).
        sections: number of client sections.
        bodies: (structs, offset, end offset) of the bytes of each range; a section with a Skip has none, so there are
            fewer `bodies` than `ranges` then.
        deletes_at: offset of the delete set.
        has_empty: whether there is a string without a character among the structs.
    """

    __slots__ = ("bodies", "deletes", "deletes_at", "has_empty", "needs", "ranges", "sections", "unlisted")

    def __init__(self) -> None:
        self.ranges: list[tuple[int, int, int]] = []
        self.needs = _NO_NEEDS
        self.deletes = _NO_DELETES
        self.sections = 0
        self.bodies: list[tuple[int, int, int]] = []
        self.deletes_at = 0
        self.has_empty = False
        self.unlisted = 0

    def unlist_deletes(self) -> None:
        """Keep no list of very many deletes: it takes fifty times as much memory as their bytes."""
        if len(self.deletes) > LISTED:
            self.unlisted = len(self.deletes)
            self.deletes = _NO_DELETES

    def deletes_in(self, data: bytes) -> list[tuple[int, int, int]]:
        """The deletes of the update of which `data` is the bytes and this the summary."""
        return UpdateReader(data, self.deletes_at).deletes() if self.unlisted else self.deletes

    def _need(self, owner: int, client: int, clock: int) -> None:
        if client != owner and client != NONE and self.needs.get(client, 0) <= clock:
            if not self.needs:
                self.needs = {}
            self.needs[client] = clock + 1

    def _section(self, reader: UpdateReader) -> int:
        """Read one client's section; return the client."""
        structs, client, clock = reader.section()
        first = clock
        offset = reader.pos
        skips = 0
        for _ in range(structs):
            reader.read_struct(client, clock)
            if reader.ref == SKIP:
                if clock > first:
                    self.ranges.append((client, first, clock))
                skips += 1
                clock += reader.length
                first = clock
                continue
            if reader.length == 0:
                self.has_empty = True
            clock += reader.length
            if reader.origin_client != NONE:
                self._need(client, reader.origin_client, reader.origin_clock)
            if reader.right_client != NONE:
                self._need(client, reader.right_client, reader.right_clock)
            elif reader.parent_client != NONE:
                self._need(client, reader.parent_client, reader.parent_clock)
        if clock > first:
            self.ranges.append((client, first, clock))
            if skips == 0:
                self.bodies.append((structs, offset, reader.pos))
        return client


def parse_update(data: bytes) -> Update:
    """Validate one update v1 and say what it holds.

    Raises:
        ProtocolError: for any bytes that are not an update all engines read alike.
    """
    reader = UpdateReader(data)
    update = Update()
    sections = reader.count()
    update.sections = sections
    if sections == 1:
        update._section(reader)
    elif sections:
        clients: set[int] = set()
        for _ in range(sections):
            client = update._section(reader)
            if client in clients:
                raise ProtocolError("duplicate-client", "a client has two sections")
            clients.add(client)
    update.deletes_at = reader.pos
    update.deletes = reader.deletes()
    reader.finish()
    return update


class StateVectorReader:
    """Reads a state vector, a bounded number of entries at a time.

    Args:
        data: the state vector.
        max_entries: how many clients it may name.

    Attributes:
        state: client id -> clock; complete once a step has said True.
    """

    __slots__ = ("_left", "_max_entries", "_reader", "state")

    def __init__(self, data: bytes, max_entries: int) -> None:
        self.state: dict[int, int] = {}
        self._reader = UpdateReader(data)
        self._max_entries = max_entries
        self._left = -1

    def step(self, budget: int) -> bool:
        """Read so many entries; whether that was all.

        Raises:
            ProtocolError: naming the broken rule.
        """
        reader = self._reader
        state = self.state
        if self._left < 0:
            self._left = reader.uint()
            if self._left * 2 > reader.size - reader.pos:
                raise ProtocolError("count", "a state vector claims more entries than it has")
            if self._left > self._max_entries:
                raise ProtocolError("state-vector-size", f"a state vector has more than {self._max_entries} entries")
        now = min(self._left, budget)
        for _ in range(now):
            client = reader.client()
            if client in state:
                raise ProtocolError("duplicate-client", "a client stands twice in a state vector")
            state[client] = reader.clock()
        self._left -= now
        if self._left:
            return False
        reader.finish()
        return True


def parse_state_vector(data: bytes, max_entries: int) -> dict[int, int]:
    """Parse a state vector into client id -> clock.

    Args:
        max_entries: how many clients a state vector may name.

    Raises:
        ProtocolError: naming the broken rule.
    """
    reader = StateVectorReader(data, max_entries)
    while not reader.step(UNLIMITED):
        pass
    return reader.state


def encode_state_vector(state: dict[int, int]) -> bytes:
    """Encode client id -> clock as a state vector."""
    out = bytearray()
    write_uint(out, len(state))
    for client, clock in state.items():
        write_uint(out, client)
        write_uint(out, clock)
    return bytes(out)
