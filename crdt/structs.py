"""One update taken apart into its structs, and put together again. Used off the common path only."""

from __future__ import annotations

from crdt.index import coalesce
from crdt.update import ANY, DELETED, GC, HAS_ORIGIN, HAS_RIGHT, NONE, SKIP, STRING, UpdateReader
from crdt.varint import write_bytes, write_uint


class Struct:
    """One struct of an update: where its bytes stand and what it refers to.

    Attributes:
        clock, length: the clocks it takes.
        start, content, end: offsets of the struct, of its content and of what follows.
        ref: kind of content (see `crdt.update`).
        origin, right, parent: ids it refers to, or None.
    """

    __slots__ = ("clock", "content", "end", "length", "origin", "parent", "ref", "right", "start")

    def __init__(self, reader: UpdateReader, clock: int) -> None:
        self.clock = clock
        self.length = reader.length
        self.ref = reader.ref
        self.start = reader.start
        self.content = reader.content
        self.end = reader.pos
        self.origin = None if reader.origin_client == NONE else (reader.origin_client, reader.origin_clock)
        self.right = None if reader.right_client == NONE else (reader.right_client, reader.right_clock)
        self.parent = None if reader.parent_client == NONE else (reader.parent_client, reader.parent_clock)

    def references(self) -> list[tuple[int, int]]:
        """The ids that must be known before this struct can be applied."""
        return [ref for ref in (self.origin, self.right, self.parent) if ref is not None]


class Parts:
    """All structs and deletes of one update.

    Attributes:
        data: the update's bytes.
        sections: client id -> its structs, by clock. Skip structs are left out, so a section may have holes; and so are
            empty strings, to which nothing can refer (pycrdt writes them, and one of them can make Yjs throw when it
            looks for its neighbour).
        deletes: client id -> (start, end) ranges, ascending and disjoint.
    """

    __slots__ = ("data", "deletes", "sections")

    def __init__(self, data: bytes) -> None:
        """Take apart a valid update.

        Raises:
            ProtocolError: when it is not valid.
        """
        self.data = data
        self.sections: dict[int, list[Struct]] = {}
        self.deletes: dict[int, list[tuple[int, int]]] = {}
        reader = UpdateReader(data)
        for _ in range(reader.count()):
            structs = reader.count()
            client = reader.client()
            clock = reader.clock()
            section: list[Struct] = []
            for _ in range(structs):
                reader.read_struct(client, clock)
                if reader.ref != SKIP and reader.length > 0:
                    section.append(Struct(reader, clock))
                clock += reader.length
            self.sections[client] = section
        for client, start, end in reader.deletes():
            self.deletes.setdefault(client, []).append((start, end))
        for client, ranges in self.deletes.items():
            self.deletes[client] = coalesce(ranges)
        reader.finish()


class Section:
    """Consecutive structs of one client, as bytes, ready to be written into an update."""

    __slots__ = ("client", "clock", "count", "pieces")

    def __init__(self, client: int, clock: int) -> None:
        self.client = client
        self.clock = clock
        self.count = 0
        self.pieces: list[bytes | memoryview] = []


def write_update(sections: list[Section], deletes: bytes) -> bytes:
    """Write an update from sections (at most one per client, none empty) and an encoded delete set."""
    return write_with_bodies(sections, deletes)[0]


def write_with_bodies(sections: list[Section], deletes: bytes) -> tuple[bytes, list[tuple[int, int, int]]]:
    """Like `write_update`; also says where each section's structs stand, as (structs, offset, end offset)."""
    out = bytearray()
    bodies: list[tuple[int, int, int]] = []
    write_uint(out, len(sections))
    for section in sections:
        write_uint(out, section.count)
        write_uint(out, section.client)
        write_uint(out, section.clock)
        offset = len(out)
        for piece in section.pieces:
            out += piece
        bodies.append((section.count, offset, len(out)))
    out += deletes
    return bytes(out), bodies


def cut_front(data: bytes, client: int, struct: Struct, offset: int) -> bytes:
    """The bytes of a struct without its first `offset` clocks, as Yjs would write it (`Item.write`,
    `ContentString.splice`).

    The rest of an item follows what was cut off: that is its left origin. A character that is cut in half is replaced
    by U+FFFD, as in Yjs.
    """
    out = bytearray()
    if struct.ref == GC:
        out.append(GC)
        write_uint(out, struct.length - offset)
        return bytes(out)
    out.append(struct.ref | HAS_ORIGIN | (0 if struct.right is None else HAS_RIGHT))
    write_uint(out, client)
    write_uint(out, struct.clock + offset - 1)
    if struct.right is not None:
        write_uint(out, struct.right[0])
        write_uint(out, struct.right[1])
    reader = UpdateReader(data, struct.content)
    if struct.ref == STRING:
        write_bytes(out, reader.text().encode("utf-16-le")[2 * offset :].decode("utf-16-le", "replace").encode())
    elif struct.ref == DELETED:
        write_uint(out, struct.length - offset)
    else:
        assert struct.ref == ANY, "no other content takes more than one clock"
        write_uint(out, reader.uint() - offset)
        reader.begin_values(offset)
        out += data[reader.pos : struct.end]
    return bytes(out)
