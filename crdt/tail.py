"""The updates of a document since its blocks: each as it was flushed, and all of them merged into few."""

from __future__ import annotations

from typing import Final

from crdt.merge import FAN_IN, HEAVY, is_heavy, join, weight
from crdt.structs import Section, write_with_bodies
from crdt.update import EMPTY_UPDATE, Update

KEEP_WHOLE: Final = 1024
"""Bytes of known content above which an update is cut down to what is new; below, the raw bytes are kept as they
came."""

LARGE: Final = 16 * 1024
"""Bytes from which an update of the tail is sent as it is instead of being merged with its neighbours."""

SETTLED: Final = 64 * 1024
"""Bytes from which an update of the tail is not merged any further."""


class Piece:
    """An update of the tail with its summary."""

    __slots__ = ("data", "update")

    def __init__(self, data: bytes, update: Update) -> None:
        self.data = data
        self.update = update

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
        return Piece(data, summary)


def _join(pieces: list[Piece]) -> Piece:
    if len(pieces) == 1:
        return pieces[0]
    return Piece(*join([piece.data for piece in pieces], [piece.update for piece in pieces]))


class Tail:
    """Updates since the blocks, in order, merged in a tree so that neither joining nor appending merges much at once.

    What is large or heavy, or has become it, is `settled`: it is not merged with anything.
    """

    __slots__ = ("first", "items", "levels", "settled", "size")

    def __init__(self) -> None:
        self.first = 0
        self.items: list[Piece] = []
        self.levels: list[list[Piece]] = [[]]
        self.settled: list[Piece] = []
        self.size = 0

    @property
    def end(self) -> int:
        """Number of the next update."""
        return self.first + len(self.items)

    def append(self, piece: Piece) -> None:
        """Add one update."""
        self.items.append(piece)
        self.size += len(piece.data)
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
            if len(self.levels[level]) < FAN_IN:
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

    def since(self, number: int) -> list[Piece] | None:
        """The updates from `number` on; None when they have left the tail."""
        return None if number < self.first else self.items[number - self.first :]

    def drop(self, number: int) -> None:
        """Forget the updates below `number`."""
        if number <= self.first:
            return
        self.items = self.items[number - self.first :]
        self.first = number
        self.size = sum(len(piece.data) for piece in self.items)
        self.levels = [[]]
        self.settled = []
        for piece in self.items:
            self._push(piece)


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
