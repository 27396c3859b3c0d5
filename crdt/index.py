"""What a room holds: per client the end of its known clocks, and the delete set.

The gate admits an update only when everything it builds on is known, so the known clocks of a client always run from 0
without a hole and one number says it all; deletes come as ranges.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from typing import Final

from crdt.update import Update, UpdateReader
from crdt.varint import write_uint

FEW: Final = 16
"""Ranges up to which adding one at a time is the cheaper way."""


def coalesce(ranges: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """The same clocks as ascending, disjoint, non-adjacent ranges; a peer may send them in any order, overlapping."""
    if len(ranges) < 2:
        return ranges
    out: list[tuple[int, int]] = []
    for start, end in sorted(ranges):
        if out and start <= out[-1][1]:
            if end > out[-1][1]:
                out[-1] = (out[-1][0], end)
        else:
            out.append((start, end))
    return out


class RangeSet:
    """Sorted, disjoint, non-adjacent half-open ranges of clocks, 16 bytes a range."""

    __slots__ = ("ends", "starts")

    def __init__(self) -> None:
        self.starts: array[int] = array("Q")
        self.ends: array[int] = array("Q")

    def __len__(self) -> int:
        return len(self.starts)

    def covers(self, start: int, end: int) -> bool:
        """Whether [start, end) lies inside one range."""
        at = bisect_right(self.starts, start) - 1
        return at >= 0 and self.ends[at] >= end

    def overlaps(self, start: int, end: int) -> bool:
        """Whether any clock of [start, end) is in the set."""
        at = bisect_left(self.starts, end) - 1
        return at >= 0 and self.ends[at] > start

    def add(self, start: int, end: int) -> None:
        """Add [start, end), joining what it touches."""
        starts, ends = self.starts, self.ends
        first = bisect_left(ends, start)
        last = bisect_right(starts, end)
        if first < last:
            start = min(start, starts[first])
            end = max(end, ends[last - 1])
            if last - first == 1:
                starts[first] = start
                ends[first] = end
                return
        starts[first:last] = array("Q", (start,))
        ends[first:last] = array("Q", (end,))

    def add_all(self, ranges: list[tuple[int, int]]) -> None:
        """Add many ranges, in any order, at a cost that follows their number and not its square."""
        if len(ranges) <= FEW:
            for start, end in ranges:
                self.add(start, end)
            return
        ranges = coalesce(ranges)
        # Only what lies between the first and the last of them is written anew; the rest moves as a block.
        low = bisect_left(self.ends, ranges[0][0])
        high = bisect_right(self.starts, ranges[-1][1])
        if low == high:
            starts, ends = array("Q", [start for start, _ in ranges]), array("Q", [end for _, end in ranges])
        else:
            starts, ends = self._united(ranges, low, high)
        self.starts[low:high] = starts
        self.ends[low:high] = ends

    def _united(self, ranges: list[tuple[int, int]], low: int, high: int) -> tuple[array[int], array[int]]:
        """The ranges from `low` to `high` together with others, which are ascending and disjoint."""
        old_starts, old_ends = self.starts, self.ends
        starts: array[int] = array("Q")
        ends: array[int] = array("Q")
        at = low
        for start, end in ranges:
            first = bisect_left(old_ends, start, at, high)
            last = bisect_right(old_starts, end, first, high)
            if first > at:
                starts.extend(old_starts[at:first])
                ends.extend(old_ends[at:first])
            if first < last:
                start = min(start, old_starts[first])
                end = max(end, old_ends[last - 1])
            if ends and start <= ends[-1]:
                ends[-1] = max(end, ends[-1])
            else:
                starts.append(start)
                ends.append(end)
            at = last
        starts.extend(old_starts[at:high])
        ends.extend(old_ends[at:high])
        return starts, ends

    def news(self, start: int, end: int) -> list[tuple[int, int]]:
        """What is worth adding of [start, end): nothing, the parts that are missing or, where these are many, all."""
        if bisect_left(self.starts, end) - bisect_right(self.ends, start) > FEW:
            return [(start, end)]
        return self.missing(start, end)

    def missing(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that are not in the set."""
        out: list[tuple[int, int]] = []
        at = bisect_right(self.ends, start)
        while at < len(self.starts) and self.starts[at] < end:
            if self.starts[at] > start:
                out.append((start, self.starts[at]))
            start = max(start, self.ends[at])
            at += 1
        if start < end:
            out.append((start, end))
        return out

    def within(self, start: int, end: int) -> list[tuple[int, int]]:
        """The parts of [start, end) that are in the set."""
        out: list[tuple[int, int]] = []
        at = bisect_right(self.ends, start)
        while at < len(self.starts) and self.starts[at] < end:
            out.append((max(start, self.starts[at]), min(end, self.ends[at])))
            at += 1
        return out

    def pairs(self) -> list[tuple[int, int]]:
        """All ranges as (start, end)."""
        return list(zip(self.starts, self.ends, strict=True))


class Index:
    """Known clocks and deletes of one document.

    Attributes:
        clocks: client id -> end clock; everything below it is known. This is the state vector.
        deletes: client id -> deleted clocks.
        delete_ranges: how many ranges there are in `deletes`.
        version: rises with every update.
    """

    __slots__ = ("clocks", "delete_ranges", "deletes", "version")

    def __init__(self) -> None:
        self.clocks: dict[int, int] = {}
        self.deletes: dict[int, RangeSet] = {}
        self.delete_ranges = 0
        self.version = 0

    def add(self, update: Update) -> None:
        """Note an update that the gate admitted."""
        self.version += 1
        clocks = self.clocks
        for client, _, end in update.ranges:
            if clocks.get(client, 0) < end:
                clocks[client] = end
        if len(update.deletes) <= FEW:
            for client, start, end in update.deletes:
                self.add_delete(client, start, end)
            return
        by_client: dict[int, list[tuple[int, int]]] = {}
        for client, start, end in update.deletes:
            by_client.setdefault(client, []).append((start, end))
        for client, ranges in by_client.items():
            found = self._of(client)
            before = len(found.starts)
            found.add_all(ranges)
            self.delete_ranges += len(found.starts) - before

    def add_delete(self, client: int, start: int, end: int) -> None:
        """Note that [start, end) of `client` is deleted."""
        ranges = self._of(client)
        before = len(ranges.starts)
        ranges.add(start, end)
        self.delete_ranges += len(ranges.starts) - before

    def _of(self, client: int) -> RangeSet:
        ranges = self.deletes.get(client)
        if ranges is None:
            ranges = self.deletes[client] = RangeSet()
        return ranges

    def add_state(self, clocks: dict[int, int], deletes: bytes) -> None:
        """Note a whole block: its end clocks and its encoded delete set (trusted, so not validated again)."""
        self.version += 1
        known = self.clocks
        for client, end in clocks.items():
            if known.get(client, 0) < end:
                known[client] = end
        reader = UpdateReader(deletes)
        for _ in range(reader.count()):
            ranges = self._of(reader.client())
            before = len(ranges.starts)
            for _ in range(reader.count()):
                start, end = reader.delete_range()
                if before or (ranges.ends and start <= ranges.ends[-1]):
                    ranges.add(start, end)
                else:  # the usual case: nothing was known, and the ranges ascend
                    ranges.starts.append(start)
                    ranges.ends.append(end)
            self.delete_ranges += len(ranges.starts) - before

    def deleted(self, client: int, start: int, end: int) -> bool:
        """Whether all of [start, end) of `client` is known to be deleted."""
        ranges = self.deletes.get(client)
        return ranges is not None and ranges.covers(start, end)

    def encode_deletes(self) -> bytes:
        """The delete set in the form that ends an update."""
        return encode_deletes({client: ranges.pairs() for client, ranges in self.deletes.items()})


def encode_deletes(deletes: dict[int, list[tuple[int, int]]]) -> bytes:
    """Encode client id -> (start, end) ranges as a delete set; clients without a range are left out."""
    out = bytearray()
    write_uint(out, sum(1 for ranges in deletes.values() if ranges))
    for client, ranges in deletes.items():
        if not ranges:
            continue
        write_uint(out, client)
        write_uint(out, len(ranges))
        for start, end in ranges:
            write_uint(out, start)
            write_uint(out, end - start)
    return bytes(out)
