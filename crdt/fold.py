"""Folding updates into a block: merge, join what was typed in one go, order causally, cut, verify.

Heavy (it looks at every struct), so it runs in a child process only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from crdt.block import Block, Chunk, Span
from crdt.errors import ProtocolError
from crdt.index import Index, RangeSet, encode_deletes
from crdt.merge import merge
from crdt.structs import Parts, Struct
from crdt.update import DELETED, GC, HAS_ORIGIN, HAS_RIGHT, NONE, STRING, UpdateReader, parse_update
from crdt.varint import uint, write_uint

CHUNK_BYTES: Final = 256 * 1024
"""Size at which a chunk is closed: one second on a 2 Mbit/s link, far below the 30 s after which clients give up."""

MARK_BYTES: Final = 2048
"""Distance of the marks a cut starts scanning from."""

MAX_RUN: Final = 64 * 1024
"""Longest string a struct is joined to; longer ones are split, so that one paste of megabytes does not make one
frame."""


class Piece:
    """One struct on its way into a block: `head` up to its content, `body` its content in full form."""

    __slots__ = ("body", "clock", "head", "length", "links", "ref", "right")

    def __init__(self, struct: Struct, head: bytes, body: bytes) -> None:
        self.clock = struct.clock
        self.length = struct.length
        self.ref = struct.ref
        self.right = struct.right
        self.head = head
        self.body = body
        self.links = struct.references()

    def encode(self) -> bytes:
        """The struct's bytes."""
        if self.ref == STRING:
            return self.head + uint(len(self.body)) + self.body
        if self.ref == GC or self.ref == DELETED:
            return self.head + uint(self.length)
        return self.head + self.body


def fold(blocks: Sequence[bytes], updates: Sequence[bytes], chunk_bytes: int = CHUNK_BYTES) -> bytes:
    """Fold stored blocks and raw updates into one stored block and check that it covers them.

    Args:
        blocks: stored blocks, oldest first.
        updates: valid updates, in any order.
        chunk_bytes: size at which a chunk is closed.

    Raises:
        ProtocolError: when an input is not valid, or the result does not cover the inputs.
    """
    opened = [Block.from_bytes(data) for data in blocks]
    merged = merge([chunk.data for block in opened for chunk in block.chunks] + list(updates))
    block = build(merged, chunk_bytes)
    verify(block, opened, updates)
    return block.to_bytes()


def build(update: bytes, chunk_bytes: int = CHUNK_BYTES) -> Block:
    """Build a block from one merged update.

    Raises:
        ProtocolError: when the update is not valid or has a hole.
    """
    parts = Parts(update)
    deleted: dict[int, RangeSet] = {}
    for client, ranges in parts.deletes.items():
        deleted[client] = RangeSet()
        deleted[client].add_all(ranges)
    joined = {
        client: _join(parts.data, client, structs, deleted.get(client))
        for client, structs in parts.sections.items()
        if structs
    }
    sections = {client: pieces for client, pieces in joined.items() if pieces}
    runs = _causal_runs(sections)
    chunks = _chunks(sections, runs, deleted, chunk_bytes)
    deletes = encode_deletes({client: ranges.pairs() for client, ranges in deleted.items()})
    return Block(chunks, deletes)


def _join(data: bytes, client: int, structs: list[Struct], deleted: RangeSet | None) -> list[Piece]:
    """One client's structs with runs of typing joined and very long strings split.

    Two structs may be one when the second continues the first: same kind, its left origin is the first's last clock,
    the same right origin, and both deleted or both not. This is the rule by which Yjs joins items (`Item.mergeWith`),
    less the condition that they are neighbours in the document: a reader that puts something between them splits them
    again, and the second half then has the very origins it had before.
    """
    pieces: list[Piece] = []
    clock = structs[0].clock
    for struct in structs:
        if struct.clock != clock:
            raise ProtocolError("hole", "an update to be folded lacks clocks")
        clock += struct.length
        last = pieces[-1] if pieces else None
        if last is not None and _continues(last, struct, client) and _same_fate(last, struct, deleted):
            if struct.ref == STRING:
                text = _text(data, struct)
                if len(last.body) + len(text) > MAX_RUN:
                    pieces.extend(_split_string(data, client, struct))
                    continue
                last.body += text
            last.length += struct.length
        elif struct.ref == STRING:
            pieces.extend(_split_string(data, client, struct))
        else:
            pieces.append(Piece(struct, data[struct.start : struct.content], data[struct.content : struct.end]))
    return pieces


def _text(data: bytes, struct: Struct) -> bytes:
    reader = UpdateReader(data, struct.content)
    return reader.raw()


def _continues(last: Piece, struct: Struct, client: int) -> bool:
    if last.ref != struct.ref:
        return False
    if struct.ref == GC:
        return True
    if struct.ref != STRING and struct.ref != DELETED:
        return False
    return struct.origin == (client, struct.clock - 1) and struct.right == last.right and last.length > 0


def _same_fate(last: Piece, struct: Struct, deleted: RangeSet | None) -> bool:
    """Both deleted or both not. A map's overwritten value is deleted and its successor is not, so they never become
    one."""
    if struct.ref == GC or deleted is None:
        return True
    end = struct.clock + struct.length
    if not deleted.overlaps(last.clock, end):
        return True
    return deleted.covers(last.clock, end)


def _split_string(data: bytes, client: int, struct: Struct) -> list[Piece]:
    """A string struct as one piece, or as several of at most `MAX_RUN` bytes, each with the origins Yjs would give
    it."""
    text = _text(data, struct)
    head = data[struct.start : struct.content]
    first = Piece(struct, head, text)
    if len(text) <= MAX_RUN:
        return [first]
    pieces: list[Piece] = []
    at, clock = 0, struct.clock
    while at < len(text):
        stop = min(at + MAX_RUN, len(text))
        while stop < len(text) and text[stop] & 0xC0 == 0x80:
            stop -= 1
        part = text[at:stop]
        piece = Piece(struct, head, part)
        piece.clock = clock
        piece.length = len(part.decode().encode("utf-16-le")) >> 1
        if pieces:
            piece.head = _continuation_head(client, clock - 1, struct.right)
            piece.links = [(client, clock - 1)]
        pieces.append(piece)
        clock += piece.length
        at = stop
    return pieces


def _continuation_head(client: int, origin_clock: int, right: tuple[int, int] | None) -> bytes:
    out = bytearray((STRING | HAS_ORIGIN | (0 if right is None else HAS_RIGHT),))
    write_uint(out, client)
    write_uint(out, origin_clock)
    if right is not None:
        write_uint(out, right[0])
        write_uint(out, right[1])
    return bytes(out)


def _causal_runs(sections: dict[int, list[Piece]]) -> list[tuple[int, int, int]]:
    """Order all pieces so that each comes after what it refers to; as runs (client, first, stop) of one client's
    pieces.

    What a block does not hold itself is taken as known: a segment builds on the blocks before it.
    """
    clocks = {client: pieces[0].clock for client, pieces in sections.items()}
    at = dict.fromkeys(sections, 0)
    waiting: dict[int, list[int]] = {}
    runs: list[tuple[int, int, int]] = []
    work = list(sections)
    while work:
        client = work.pop()
        pieces = sections[client]
        first = position = at[client]
        while position < len(pieces):
            piece = pieces[position]
            blocker = NONE
            for owner, clock in piece.links:
                if owner != client and owner in clocks and clocks[owner] <= clock:
                    blocker = owner
                    break
            if blocker != NONE:
                waiting.setdefault(blocker, []).append(client)
                break
            clocks[client] = piece.clock + piece.length
            position += 1
        at[client] = position
        if position > first:
            runs.append((client, first, position))
            work.extend(waiting.pop(client, ()))
    if any(at[client] < len(pieces) for client, pieces in sections.items()):
        raise ProtocolError("causality", "structs refer to one another in a circle or to clocks that are not there")
    return runs


class _ChunkWriter:
    """Collects runs until the chunk is full."""

    def __init__(self) -> None:
        self.size = 0
        self.bodies: dict[int, list[bytes]] = {}
        self.first: dict[int, int] = {}
        self.end: dict[int, int] = {}
        self.marks: dict[int, list[int]] = {}
        self.written: dict[int, int] = {}

    def add(self, client: int, piece: Piece) -> None:
        encoded = piece.encode()
        if client not in self.bodies:
            self.bodies[client] = []
            self.first[client] = piece.clock
            self.marks[client] = [piece.clock, 0, 0]
            self.written[client] = 0
        written = self.written[client]
        marks = self.marks[client]
        if written - marks[-2] >= MARK_BYTES:
            marks += (piece.clock, written, len(self.bodies[client]))
        self.bodies[client].append(encoded)
        self.written[client] = written + len(encoded)
        self.end[client] = piece.clock + piece.length
        self.size += len(encoded)

    def finish(self, deletes: dict[int, list[tuple[int, int]]]) -> Chunk:
        out = bytearray()
        write_uint(out, len(self.bodies))
        spans: list[Span] = []
        for client, bodies in self.bodies.items():
            write_uint(out, len(bodies))
            write_uint(out, client)
            write_uint(out, self.first[client])
            offset = len(out)
            for body in bodies:
                out += body
            marks = self.marks[client]
            for at in range(1, len(marks), 3):
                marks[at] += offset
            spans.append(Span((client, self.first[client], self.end[client], offset, len(out), len(bodies)), marks))
        out += encode_deletes(deletes)
        return Chunk(bytes(out), spans)


def _chunks(
    sections: dict[int, list[Piece]],
    runs: list[tuple[int, int, int]],
    deleted: dict[int, RangeSet],
    chunk_bytes: int,
) -> list[Chunk]:
    """Write the runs into chunks; each carries the deletes of its own structs, the last also those of earlier
    blocks."""
    chunks: list[Chunk] = []
    writer = _ChunkWriter()
    for client, first, stop in runs:
        pieces = sections[client]
        for position in range(first, stop):
            writer.add(client, pieces[position])
            if writer.size >= chunk_bytes:
                chunks.append(writer.finish(_own_deletes(writer, deleted)))
                writer = _ChunkWriter()
    last = _own_deletes(writer, deleted)
    for client, ranges in deleted.items():
        outside = _outside(ranges, sections.get(client))
        if outside:
            last[client] = outside + last.get(client, [])
    if writer.size or last:
        chunks.append(writer.finish(last))
    return chunks


def _own_deletes(writer: _ChunkWriter, deleted: dict[int, RangeSet]) -> dict[int, list[tuple[int, int]]]:
    own: dict[int, list[tuple[int, int]]] = {}
    for client, start in writer.first.items():
        ranges = deleted.get(client)
        if ranges is not None:
            inside = ranges.within(start, writer.end[client])
            if inside:
                own[client] = inside
    return own


def _outside(ranges: RangeSet, pieces: list[Piece] | None) -> list[tuple[int, int]]:
    if pieces is None:
        return ranges.pairs()
    return ranges.within(0, pieces[0].clock)


def verify(block: Block, blocks: list[Block], updates: Sequence[bytes]) -> None:
    """Check that a new block's bytes parse, hold what its directory says, and cover all that it was made of.

    Raises:
        ProtocolError: `verify` when they do not.
    """
    index = Index()
    for chunk in block.chunks:
        update = parse_update(chunk.data)
        index.add(update)
        spans = {span.client: (span.start, span.end) for span in chunk.spans}
        if spans != {client: (start, end) for client, start, end in update.ranges}:
            raise ProtocolError("verify", "a chunk does not hold what its directory says")
    if index.clocks != block.state:
        raise ProtocolError("verify", "the block's state is not that of its chunks")
    whole = Index()
    whole.add_state(block.state, block.deletes)
    if {client: ranges.pairs() for client, ranges in whole.deletes.items()} != {
        client: ranges.pairs() for client, ranges in index.deletes.items()
    }:
        raise ProtocolError("verify", "the block's delete set is not that of its chunks")
    for old in blocks:
        for client, clock in old.state.items():
            if index.clocks.get(client, 0) < clock:
                raise ProtocolError("verify", "the new block lacks clocks of an old one")
        for client, start, end in UpdateReader(old.deletes).deletes():
            if not index.deleted(client, start, end):
                raise ProtocolError("verify", "the new block lacks deletes of an old one")
    for data in updates:
        update = parse_update(data)
        for client, _, end in update.ranges:
            if index.clocks.get(client, 0) < end:
                raise ProtocolError("verify", "the new block lacks clocks of an update")
        for client, start, end in update.deletes:
            if not index.deleted(client, start, end):
                raise ProtocolError("verify", "the new block lacks deletes of an update")
