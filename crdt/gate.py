"""The dependency gate: which part of an update is new, and which must wait for something that is not known yet.

Nothing reaches readers, the log or an engine before everything it builds on is known: fed out of order, yrs loses
characters for good and every Yjs client carries the rest as pending until the hole is filled.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from crdt.index import Index, RangeSet, coalesce, encode_deletes
from crdt.json_text import UNLIMITED
from crdt.survey import Part, Survey
from crdt.update import Update, UpdateReader
from crdt.varint import write_uint
from crdt.walk import Walk

STEPPED: Final = 16 * 1024
"""Bytes from which an update is taken in steps. A smaller one holds up nobody for more than a few milliseconds."""

BATCH: Final = 16_384
"""Delete ranges that are handed over together. A transaction with more is seen in several pieces."""


class Verdict(IntEnum):
    """What the gate says of an update."""

    KNOWN = 0  # nothing in it is new
    READY = 1  # all of it can be applied, and it is new to the last struct and delete
    MIXED = 2  # all of it can be applied, some of it is known already
    EARLY = 3  # some of it builds on what is not known


def judge(update: Update, index: Index) -> Verdict:
    """Decide in one pass over the update's summary, without looking at its structs again."""
    clocks = index.clocks
    new = known = False
    for client, start, end in update.ranges:
        have = clocks.get(client, 0)
        if start > have:
            return Verdict.EARLY
        if end <= have:
            known = True
        else:
            new = True
            known = known or start < have
    if update.needs and _lacks(update, clocks):
        return Verdict.EARLY
    ends: dict[int, int] | None = None
    for client, start, end in update.deletes:
        if end > clocks.get(client, 0):
            if ends is None:
                ends = {owner: last for owner, _, last in update.ranges}
            if end > ends.get(client, 0):
                return Verdict.EARLY
        ranges = index.deletes.get(client)
        if ranges is None or not ranges.overlaps(start, end):
            new = True
        else:
            known = True
            new = new or not ranges.covers(start, end)
    if not new:
        return Verdict.KNOWN
    return Verdict.MIXED if known else Verdict.READY


def _lacks(update: Update, clocks: dict[int, int]) -> bool:
    """Whether a reference leads outside what is known. References between sections of one update are looked at struct
    by struct (`split`), because two sections that wait for each other can never be applied."""
    return any(clocks.get(client, 0) < end for client, end in update.needs.items())


# Stages of an intake, in this order; after `_TAKE` may come `_DELETES` again.
_SURVEY: Final = 0
_WALK: Final = 1
_DELETES: Final = 2
_READY: Final = 3
_REST: Final = 4
_TAKE: Final = 5


class Intake:
    """One update on its way through the validator and the gate, in steps that others may come between.

    Call `step` until it says True. When `ready` is there then, add it to the index and call `proceed`, or if it is not
    `is_current` any more call `restart`. Over when `finished`.

    The structs of an update are handed over together: who sees half of a transaction may take it for nonsense. Deletes
    in great numbers are handed over in several updates.

    Args:
        data: the update.
        source: who sent it.
        index: what is known.
        max_clients: how many clients it may name.
        batch: delete ranges that are handed over together.

    Attributes:
        ready: an update of what is new and can be applied, with its summary, or None.
        rest: once finished: update of what must wait, or None.
        waits_for: one (client, clock) that the rest lacks; until that is known, trying again is useless.
        finished: nothing follows what is in `ready`.
        handed: how many times something was ready and taken.
    """

    __slots__ = (
        "_batch",
        "_deletes",
        "_encoder",
        "_index",
        "_stage",
        "_survey",
        "_walk",
        "data",
        "finished",
        "handed",
        "ready",
        "rest",
        "source",
        "waits_for",
    )

    def __init__(
        self, data: bytes, source: object, index: Index, max_clients: int = UNLIMITED, batch: int = UNLIMITED
    ) -> None:
        self.data = data
        self.source = source
        self.ready: tuple[bytes, Update] | None = None
        self.rest: bytes | None = None
        self.waits_for: tuple[int, int] | None = None
        self.finished = False
        self.handed = 0
        self._index = index
        self._batch = batch
        self._stage = _SURVEY
        self._survey = Survey(data, max_clients)
        self._walk = Walk(self._survey, index)
        self._deletes = _Deletes(self._survey, self._walk, index)
        self._encoder = _Encoder(data, [], rest=False)

    def step(self, budget: int) -> bool:
        """Go on; whether there is something to take, or nothing more to come.

        Args:
            budget: structs or delete ranges, roughly.

        Raises:
            ProtocolError: when the update breaks a rule; nothing of it has been handed over then.
        """
        if self._stage == _SURVEY:
            if self._survey.step(budget):
                self._stage = _WALK
        elif self._stage == _WALK:
            if self._walk.step(budget):
                self._deletes = _Deletes(self._survey, self._walk, self._index)
                self._stage = _DELETES
        elif self._stage == _DELETES:
            if self._deletes.step(budget, self._batch):
                self._write_ready()
        elif self._stage == _READY:
            if self._encoder.step(budget):
                self.ready = self._encoder.finish(self._deletes.batch)
                self._stage = _REST if self._deletes.ended else _TAKE
        elif self._stage == _REST:
            self._write_rest(budget)
        return self._stage == _TAKE

    def restart(self) -> None:
        """Look at the index again: something that was ready has become known by another way."""
        for part in self._survey.parts:
            part.reset()
        self._walk = Walk(self._survey, self._index)
        self.ready = self.rest = self.waits_for = None
        self.finished = False
        self._stage = _WALK

    def is_current(self) -> bool:
        """Whether what is ready is still new."""
        return self.handed > 0 or self._walk.is_current()

    @property
    def is_near(self) -> bool:
        """Whether a few steps more bring something to take."""
        return self._stage >= _READY

    @property
    def is_known(self) -> bool:
        """Whether nothing in it is new; for those who ask before they take anything."""
        return self.finished and self.handed == 0 and self.ready is None and self.rest is None

    def proceed(self) -> None:
        """What was ready has been taken."""
        self.handed += 1
        self.ready = None
        if not self.finished:
            self._stage = _DELETES
            self._deletes.batch = {}

    def _write_ready(self) -> None:
        """A batch of deletes is complete: together with the structs, which go with the first one, it is ready."""
        deletes = self._deletes
        parts = [] if self.handed else self._walk.taken
        if not parts and not deletes.batch:
            self._stage = _REST if deletes.ended else _DELETES
            self._encoder = _Encoder(self.data, list(self._walk.blocked.values()), rest=True)
            return
        self._stage = _READY
        if deletes.ended and deletes.whole and not self._walk.known and not self._walk.blocked and not self.handed:
            self._encoder = _Encoder(self.data, self._survey.parts, rest=False, whole_to=self._survey.deletes_at)
        else:
            self._encoder = _Encoder(self.data, parts, rest=False)

    def _write_rest(self, budget: int) -> None:
        deletes = self._deletes
        encoder = self._encoder
        if not encoder.rest:
            encoder = self._encoder = _Encoder(self.data, list(self._walk.blocked.values()), rest=True)
        if not encoder.step(budget):
            return
        if encoder.parts or deletes.late_clients:
            self.waits_for = deletes.first_late if not encoder.parts else _missing(encoder.parts)
            self.rest = encoder.finish_rest(deletes)
        self.finished = True
        self._stage = _TAKE


def _missing(parts: list[Part]) -> tuple[int, int] | None:
    """One id that a blocked part lacks; if it can be, one that does not wait for another blocked part."""
    blocked = {part.client for part in parts}
    for part in parts:
        if part.lacks is not None and (part.lacks[0] == part.client or part.lacks[0] not in blocked):
            return part.lacks
    return parts[0].lacks


class _Deletes:
    """Sorts the delete set of an update into what is known, what is new and what must wait.

    Attributes:
        batch: client id -> new ranges, ascending and disjoint once a step has said True.
        ended: the whole set has been seen.
        whole: every range so far was new.
        late, late_clients: deletes of clocks that are not known yet, encoded client by client.
        first_late: one clock they wait for.
    """

    __slots__ = (
        "_client",
        "_clients",
        "_ends",
        "_have",
        "_index",
        "_known",
        "_late",
        "_late_ranges",
        "_ranges",
        "_reader",
        "_size",
        "batch",
        "ended",
        "first_late",
        "late",
        "late_clients",
        "whole",
    )

    def __init__(self, survey: Survey, walk: Walk, index: Index) -> None:
        self.batch: dict[int, list[tuple[int, int]]] = {}
        self.ended = False
        self.whole = True
        self.late = bytearray()
        self.late_clients = 0
        self.first_late: tuple[int, int] | None = None
        self._index = index
        self._ends = walk.ends
        self._reader = UpdateReader(survey.data, survey.deletes_at)
        self._clients = -1  # to come; not read yet
        self._ranges = 0  # to come, of `_client`
        self._client = 0
        self._have = 0
        self._known: RangeSet | None = None
        self._late = bytearray()
        self._late_ranges = 0
        self._size = 0

    def step(self, budget: int, batch: int) -> bool:
        """Read on; whether the batch is full or the set has ended."""
        if self._clients < 0:
            self._clients = self._reader.count()
        while budget > 0:
            if self._size >= batch:
                self._close_batch()
                return True
            if self._ranges:
                now = min(self._ranges, budget, batch - self._size)
                self._read(now)
                budget -= now
                continue
            self._close_client()
            if self._clients == 0:
                self.ended = True
                self._close_batch()
                return True
            self._next_client()
            budget -= 1
        return False

    def _next_client(self) -> None:
        self._clients -= 1
        self._client = self._reader.client()
        self._ranges = self._reader.count()
        self._have = max(self._index.clocks.get(self._client, 0), self._ends.get(self._client, 0))

    def _read(self, count: int) -> None:
        """Sort so many ranges of the client."""
        reader = self._reader
        have = self._have
        known = self._index.deletes.get(self._client)
        fresh: list[tuple[int, int]] = []
        for _ in range(count):
            start, end = reader.delete_range()
            if end > have:
                self._wait(max(start, have), end)
                if start >= have:
                    continue
                end = have
            if known is None or not known.overlaps(start, end):
                fresh.append((start, end))
            else:
                self.whole = False
                fresh.extend(known.news(start, end))
        self._ranges -= count
        if fresh:
            self._size += len(fresh)
            found = self.batch.get(self._client)
            if found is None:
                self.batch[self._client] = fresh
            else:
                found.extend(fresh)

    def _wait(self, start: int, end: int) -> None:
        """A delete of clocks that are not known."""
        self.whole = False
        write_uint(self._late, start)
        write_uint(self._late, end - start)
        self._late_ranges += 1
        first = self.first_late
        if first is None or (first[0] == self._client and end <= first[1]):
            self.first_late = (self._client, end - 1)

    def _close_client(self) -> None:
        if self._late_ranges:
            write_uint(self.late, self._client)
            write_uint(self.late, self._late_ranges)
            self.late += self._late
            self.late_clients += 1
            self._late = bytearray()
            self._late_ranges = 0

    def _close_batch(self) -> None:
        for client, ranges in self.batch.items():
            self.batch[client] = coalesce(ranges)
        self._size = 0


class _Encoder:
    """Writes an update of what was taken of parts, or of what is left of them, a bounded number of parts at a time.

    Args:
        whole_to: offset of the delete set in `data` when the update can go on as it came, else 0.
    """

    __slots__ = ("_at", "_data", "_out", "_summary", "_whole_to", "parts", "rest")

    def __init__(self, data: bytes, parts: list[Part], *, rest: bool, whole_to: int = 0) -> None:
        self.parts = parts
        self.rest = rest
        self._data = data
        self._whole_to = whole_to
        self._at = 0
        self._out = bytearray()
        self._summary = Update()

    def step(self, budget: int) -> bool:
        """Write on; whether all parts are written."""
        out = self._out
        if self._at == 0:
            write_uint(out, len(self.parts))
        end = min(self._at + budget, len(self.parts))
        view = memoryview(self._data)
        for at in range(self._at, end):
            part = self.parts[at]
            if self.rest:
                write_uint(out, part.left)
                write_uint(out, part.client)
                write_uint(out, part.clock)
                out += view[part.pos : part.stop]
            else:
                self._take(part, view)
        self._at = end
        return end == len(self.parts)

    def _take(self, part: Part, view: memoryview) -> None:
        summary = self._summary
        summary.ranges.append((part.client, part.start, part.until))
        if self._whole_to:
            summary.bodies.append((part.count, part.offset, part.stop))
            return
        out = self._out
        write_uint(out, part.taken)
        write_uint(out, part.client)
        write_uint(out, part.start)
        offset = len(out)
        if part.head is not None:
            out += part.head
        out += view[part.run : part.run_end]
        summary.bodies.append((part.taken, offset, len(out)))

    def finish(self, deletes: dict[int, list[tuple[int, int]]]) -> tuple[bytes, Update]:
        """The update of what was taken, with these deletes, and its summary."""
        summary = self._summary
        summary.sections = len(self.parts)
        summary.deletes = [(client, start, end) for client, ranges in deletes.items() for start, end in ranges]
        if self._whole_to:
            summary.deletes_at = self._whole_to
            return self._data, summary
        summary.deletes_at = len(self._out)
        self._out += encode_deletes(deletes)
        return bytes(self._out), summary

    def finish_rest(self, deletes: _Deletes) -> bytes:
        """The update of what is left, with the deletes that are late."""
        write_uint(self._out, deletes.late_clients)
        self._out += deletes.late
        return bytes(self._out)


class Split:
    """An update cut in two: what can be applied now and what waits.

    Attributes:
        ready: update of what is new and can be applied, or None.
        rest: update of what must wait, or None.
        waits_for: one (client, clock) that the rest lacks; until that is known, trying again is useless.
    """

    __slots__ = ("ready", "rest", "waits_for")

    def __init__(self, ready: bytes | None, rest: bytes | None, waits_for: tuple[int, int] | None) -> None:
        self.ready = ready
        self.rest = rest
        self.waits_for = waits_for


def split(data: bytes, index: Index) -> Split:
    """Cut an update into its new, applicable part and the rest, in one go.

    Raises:
        ProtocolError: when it is not valid.
    """
    intake = Intake(data, None, index)
    while not intake.step(UNLIMITED):
        pass
    return Split(None if intake.ready is None else intake.ready[0], intake.rest, intake.waits_for)
