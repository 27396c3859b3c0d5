"""The updates of a document since its blocks: each as it was flushed, and all of them merged into few.

There is one for every few keystrokes of the last hours, in all open documents. So of a small one only its bytes are
kept, and its summary only until it is merged: objects that stay cost memory, and time in every garbage collection.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from crdt.merge import FAN_IN, HEAVY, is_heavy, join, weight
from crdt.structs import Section, write_with_bodies
from crdt.update import EMPTY_UPDATE, Update, parse_update

KEEP_WHOLE: Final = 1024
"""Bytes of known content above which an update is cut down to what is new; below, the raw bytes are kept as they
came."""

LARGE: Final = 16 * 1024
"""Bytes from which an update of the tail is sent as it is instead of being merged with its neighbours."""

SETTLED: Final = 64 * 1024
"""Bytes from which an update of the tail is not merged any further."""


WIDTH: Final = 8
"""Updates that are merged into one. Fewer would be merged more often; of more, more summaries would wait for it."""

SMALL: Final = 256
"""Bytes up to which an update is read again when its summary is needed: a few microseconds."""


class Piece:
    """An update of the tail with its summary; `count` updates of the tail may have been merged into it."""

    __slots__ = ("count", "data", "update")

    def __init__(self, data: bytes, update: Update, count: int = 1) -> None:
        self.data = data
        self.update = update
        self.count = count

    def news(self, known: dict[int, int]) -> Piece | None:
        """What a reader with state `known` lacks of it, in whole client sections; deletes count as lacking."""
        update = self.update
        fresh = [at for at, (client, _, end) in enumerate(update.ranges) if end > known.get(client, 0)]
        if not fresh and not update.deletes and not update.unlisted:
            return None
        whole = len(update.bodies) != len(update.ranges)
        if whole or len(fresh) == len(update.ranges) or len(self.data) <= KEEP_WHOLE:
            return self
        sections: list[Section] = []
        view = memoryview(self.data)
        for at in fresh:
            client, clock, _ = update.ranges[at]
            section = Section(client, clock)
            section.count, offset, stop = update.bodies[at]
            section.pieces.append(view[offset:stop])
            sections.append(section)
        summary = Update()
        summary.ranges = [update.ranges[at] for at in fresh]
        summary.deletes = update.deletes
        summary.unlisted = update.unlisted
        encoded = self.data[update.deletes_at :]
        data, summary.bodies = write_with_bodies(sections, encoded)
        summary.deletes_at = len(data) - len(encoded)
        return Piece(data, summary, self.count)


def _join(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    data, summary = join([piece.data for piece in pieces], [piece.update for piece in pieces])
    count = 0
    for piece in pieces:
        count += piece.count
    return Piece(data, summary, count)


class Tail:
    """Updates since the blocks, in order, merged in a tree so that neither joining nor appending merges much at once.

    What is large or heavy, or has become it, is `settled`: it is not merged with anything.

    Attributes:
        first: number of the first update.
        items: the updates as they came.
        size: their bytes.
    """

    __slots__ = ("_summaries", "first", "items", "levels", "settled", "size")

    def __init__(self) -> None:
        self.first = 0
        self.items: list[bytes] = []
        self._summaries: dict[int, Update] = {}  # by number, of updates that are not small
        self.levels: list[list[Piece]] = [[]]
        self.settled: list[Piece] = []
        self.size = 0

    @property
    def end(self) -> int:
        """Number of the next update."""
        return self.first + len(self.items)

    def append(self, piece: Piece) -> None:
        """Add one update."""
        size = len(piece.data)
        if size > SMALL:
            self._summaries[self.end] = piece.update
        self.items.append(piece.data)
        self.size += size
        self._push(piece)

    def _push(self, piece: Piece) -> None:
        level = 0
        while True:
            if len(piece.data) > SETTLED or is_heavy(piece.update):
                self._settle()
                self.settled.append(piece)
                return
            if level == len(self.levels):
                self.levels.append([])
            self.levels[level].append(piece)
            if len(self.levels[level]) < WIDTH:
                return
            piece = _join(self.levels[level])
            self.levels[level] = []
            level += 1

    def _settle(self) -> None:
        """Merge no further what has been merged so far."""
        older = [piece for level in reversed(self.levels) for piece in level]
        self.levels = [[]]
        if sum(weight(piece.update) for piece in older) > FAN_IN * HEAVY:
            self.settled += older
        elif older:
            self.settled.append(_join(older))

    def pieces(self) -> list[Piece]:
        """The whole tail as few updates, oldest first."""
        return [*self.settled, *(piece for level in reversed(self.levels) for piece in level)]

    def piece(self, number: int) -> Piece:
        """Update `number` as it came."""
        data = self.items[number - self.first]
        summary = self._summaries.get(number)
        return Piece(data, parse_update(data) if summary is None else summary)

    def since(self, number: int) -> Iterator[Piece]:
        """The updates from `number` on, which must be in the tail, merged as far as they are."""
        at = self.first
        for piece in self.pieces():
            end = at + piece.count
            if at >= number:
                yield piece
            else:
                for single in range(number, end):
                    yield self.piece(single)
            at = end

    def drop(self, number: int) -> None:
        """Forget the updates below `number`."""
        if number <= self.first:
            return
        self.items = self.items[number - self.first :]
        self._summaries = {at: summary for at, summary in self._summaries.items() if at >= number}
        self.first = number
        self.size = sum(map(len, self.items))
        self.levels = [[]]
        self.settled = []
        for at in range(number, self.end):
            self._push(self.piece(at))


def pack(pieces: list[Piece]) -> list[bytes]:
    """The same updates in few messages and in the same order: neighbours that are small merged, large ones as they
    are. The last one, for the SyncStep2, may be empty."""
    out: list[bytes] = []
    small: list[Piece] = []
    for piece in pieces:
        if len(piece.data) <= LARGE:
            small.append(piece)
            continue
        if small:
            out.append(_join(small).data)
            small = []
        out.append(piece.data)
    out.append(_join(small).data if small else EMPTY_UPDATE)
    return out
