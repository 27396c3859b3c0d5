"""Stored state: immutable, indexed, cut into chunks in causal order.

A block is what compaction writes (a snapshot of a room, or a segment of it) and what a room serves from. It is a list
of chunks, each a valid update of bounded size that builds only on earlier chunks and earlier blocks, so that a first
sync is the chunks as they lie; and a directory that says where each client's clocks stand in the bytes, so that the
diff for a state vector is cut out at a cost that follows the diff. Building one is heavy and belongs in a child
process (`crdt.fold`); opening one parses no struct.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Final

import msgpack

from crdt.errors import ProtocolError
from crdt.structs import Section, write_update
from crdt.update import EMPTY_UPDATE, UpdateReader

FORMAT: Final = 1
"""Version of the stored form."""

NO_DELETES: Final = b"\x00"


class Span:
    """One client's structs in one chunk.

    Attributes:
        client, start, end: whose clocks, from which to which.
        offset, stop: where the structs' bytes start and end in the chunk.
        count: number of structs.
        marks: flat list of (clock, offset, structs before) at struct boundaries a few kilobytes apart, to start a
            scan from.
    """

    __slots__ = ("client", "count", "end", "marks", "offset", "start", "stop")

    def __init__(self, fields: Sequence[int], marks: Sequence[int]) -> None:
        self.client, self.start, self.end, self.offset, self.stop, self.count = fields
        self.marks = marks

    def fields(self) -> tuple[int, int, int, int, int, int]:
        """The numbers that make up this span, in the order the constructor takes them."""
        return (self.client, self.start, self.end, self.offset, self.stop, self.count)

    def cut(self, data: bytes, known: int, into: Section) -> None:
        """Append the structs that reach above clock `known` to `into`; the first may start below it."""
        clock, offset, passed = self.start, self.offset, 0
        if known > clock:
            at = bisect_right(self.marks[::3], known) - 1
            if at >= 0:
                clock, offset, passed = self.marks[at * 3 : at * 3 + 3]
            reader = UpdateReader(data, offset)
            while True:
                reader.read_struct(self.client, clock)
                if clock + reader.length > known:
                    break
                clock += reader.length
                offset = reader.pos
                passed += 1
        if into.count == 0:
            into.clock = clock
        into.count += self.count - passed
        into.pieces.append(memoryview(data)[offset : self.stop])


class Chunk:
    """A valid update of bounded size and the directory of its structs."""

    __slots__ = ("data", "spans")

    def __init__(self, data: bytes, spans: list[Span]) -> None:
        self.data = data
        self.spans = spans


class Block:
    """A list of chunks in causal order with the state that they add up to.

    Attributes:
        chunks: the updates, each buildable on those before it.
        state: client id -> end clock of the structs in this block.
        deletes: the encoded delete set of the whole block.
        size: bytes of all chunks.
    """

    __slots__ = ("chunks", "deletes", "size", "state")

    def __init__(self, chunks: list[Chunk], deletes: bytes) -> None:
        self.chunks = chunks
        self.deletes = deletes
        self.size = sum(len(chunk.data) for chunk in chunks)
        self.state: dict[int, int] = {}
        for chunk in chunks:
            for span in chunk.spans:
                self.state[span.client] = span.end

    def to_bytes(self) -> bytes:
        """The stored form: msgpack of (version, deletes, [(chunk, [(span, marks)])])."""
        chunks = [(chunk.data, [(span.fields(), list(span.marks)) for span in chunk.spans]) for chunk in self.chunks]
        packed: bytes = msgpack.packb((FORMAT, self.deletes, chunks))
        return packed

    @classmethod
    def from_bytes(cls, data: bytes) -> Block:
        """Open a stored block without reading its structs.

        Raises:
            ProtocolError: `block` when it is not one, or of an unknown version.
        """
        try:
            version, deletes, chunks = msgpack.unpackb(data, use_list=False)
            if version != FORMAT:
                raise ProtocolError("block", f"a block of format {version}, this version reads {FORMAT}")
            return cls(
                [Chunk(update, [Span(fields, marks) for fields, marks in spans]) for update, spans in chunks], deletes
            )
        except (ValueError, TypeError) as error:
            raise ProtocolError("block", "bytes are not a block") from error

    def lacking(self, known: dict[int, int]) -> int:
        """Bytes of this block that a reader with state vector `known` may lack, at most."""
        if not known:
            return self.size
        size = len(self.deletes)
        for chunk in self.chunks:
            for span in chunk.spans:
                if span.end > known.get(span.client, 0):
                    size += span.stop - span.offset
        return size

    def whole(self) -> bytes:
        """All of it as one update."""
        if len(self.chunks) == 1:
            return self.chunks[0].data
        return next(self._cut({}, self.size + 1), EMPTY_UPDATE)

    def updates(self, known: dict[int, int], limit: int) -> Iterator[bytes]:
        """The updates that bring a reader with state vector `known` up to this block, in causal order.

        Args:
            known: client id -> clock the reader has; empty for a first sync.
            limit: bytes after which an update is closed and the next one begun, where structs allow it.

        A state vector says nothing about deletes, so a reader with any state gets the whole delete set, as in Yjs.
        """
        if not known:
            for chunk in self.chunks:
                yield chunk.data
            return
        yield from self._cut(known, limit)

    def _cut(self, known: dict[int, int], limit: int) -> Iterator[bytes]:
        sections: dict[int, Section] = {}
        size = 0
        for chunk in self.chunks:
            for span in chunk.spans:
                have = known.get(span.client, 0)
                if span.end <= have:
                    continue
                section = sections.get(span.client)
                if section is None:
                    section = sections[span.client] = Section(span.client, span.start)
                span.cut(chunk.data, have, section)
                size += len(section.pieces[-1])
            if size >= limit:
                yield write_update(list(sections.values()), NO_DELETES)
                sections = {}
                size = 0
        if sections or self.deletes != NO_DELETES:
            yield write_update(list(sections.values()), self.deletes)


def unpack(data: bytes) -> list[bytes]:
    """The updates inside a stored block, in causal order.

    Raises:
        ProtocolError: when the bytes are not a block.
    """
    return [chunk.data for chunk in Block.from_bytes(data).chunks]
