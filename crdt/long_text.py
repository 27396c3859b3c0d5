"""A long UTF-8 string, checked and measured in pieces: a string of 16 MiB takes tens of milliseconds in one go."""

from __future__ import annotations

from typing import Final

from crdt.errors import ProtocolError

LONG: Final = 64 * 1024
"""Bytes above which a string is taken in pieces."""

PIECE: Final = 16 * 1024
"""Bytes of a piece."""


class TextScanner:
    """Checks a string and counts its UTF-16 code units, which are what a clock counts.

    Args:
        data: bytes in which the string stands, from `start` to `end`.
        stop: number of units at which to stop; without it, at the end.

    Attributes:
        units: how many there are before `pos`.
        pos: where the next piece begins, in the end that of the unit `stop` or the end of the string.
        torn: the unit `stop` is the second half of a pair; `pos` is behind the pair then.
    """

    __slots__ = ("_data", "_end", "_stop", "pos", "torn", "units")

    def __init__(self, data: bytes, start: int, end: int, stop: int = -1) -> None:
        self._data = data
        self._end = end
        self._stop = stop
        self.pos = start
        self.units = 0
        self.torn = False

    def step(self, budget: int) -> int:
        """Go on; return what is left of the budget, which is 0 or less until the end is reached.

        Args:
            budget: 1 for 256 bytes, roughly.

        Raises:
            ProtocolError: `utf8`.
        """
        while budget > 0:
            if self.pos == self._end or self.units == self._stop:
                return budget
            text = self._piece()
            size = len(text) if text.isascii() else len(text.encode("utf-16-le")) >> 1
            if 0 <= self._stop < self.units + size:
                self._find(text)
                return budget
            self.pos += len(text) if text.isascii() else len(text.encode())
            self.units += size
            budget -= PIECE >> 8
        return min(budget, 0)

    def _piece(self) -> str:
        """The next piece; it ends with a whole character."""
        data = self._data
        end = min(self.pos + PIECE, self._end)
        if end < self._end:
            for _ in range(3):
                if data[end] & 0xC0 == 0x80:
                    end -= 1
        try:
            return data[self.pos : end].decode()
        except UnicodeDecodeError as error:
            raise ProtocolError("utf8", "a string is not UTF-8") from error

    def _find(self, text: str) -> None:
        """The unit where to stop is in this piece."""
        wanted = self._stop - self.units
        before = text.encode("utf-16-le")[: 2 * wanted].decode("utf-16-le", "ignore")
        self.pos += len(before.encode())
        self.torn = len(before.encode("utf-16-le")) >> 1 < wanted
        if self.torn:
            self.pos += 4
        self.units = self._stop
