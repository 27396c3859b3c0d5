"""The dependency gate: which part of an update is new, and which must wait for something that is not known yet.

Nothing reaches readers, the log or an engine before everything it builds on is known: fed out of order, yrs loses
characters for good and every Yjs client carries the rest as pending until the hole is filled.
"""

from __future__ import annotations

from enum import IntEnum

from crdt.index import Index
from crdt.structs import Parts, Struct, select
from crdt.update import Update


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
    for client, start, end in update.deletes:
        if end > clocks.get(client, 0) and end > _end_of(update, client):
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


def _end_of(update: Update, client: int) -> int:
    for owner, _, end in update.ranges:
        if owner == client:
            return end
    return 0


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
    """Cut a valid update into its new, applicable part and the rest, walking the structs in causal order."""
    parts = Parts(data)
    clocks = dict(index.clocks)
    at = dict.fromkeys(parts.sections, 0)
    waits_for = _advance(parts, clocks, at)
    chosen: dict[int, list[Struct]] = {}
    waiting: dict[int, list[Struct]] = {}
    for client, structs in parts.sections.items():
        have = index.clocks.get(client, 0)
        chosen[client] = [struct for struct in structs[: at[client]] if struct.clock + struct.length > have]
        waiting[client] = structs[at[client] :]
    deletes, late = _split_deletes(parts, index, clocks)
    if late and waits_for is None:
        client, ranges = next(iter(late.items()))
        waits_for = (client, ranges[0][1] - 1)
    ready = select(parts, chosen, deletes, index.clocks) if deletes or any(chosen.values()) else None
    rest = select(parts, waiting, late, {}) if late or any(waiting.values()) else None
    return Split(ready, rest, waits_for)


def _advance(parts: Parts, clocks: dict[int, int], at: dict[int, int]) -> tuple[int, int] | None:
    """Move `at` and `clocks` over every struct whose references are known; return one missing id, if any.

    A section that is blocked is tried again only when the client it waits for has moved, so the walk is linear in the
    number of structs.
    """
    waiting: dict[int, list[int]] = {}
    missing: tuple[int, int] | None = None
    work = list(parts.sections)
    while work:
        client = work.pop()
        structs = parts.sections[client]
        before = position = at[client]
        while position < len(structs):
            lack = lacking(structs[position], client, clocks)
            if lack is not None:
                waiting.setdefault(lack[0], []).append(client)
                break
            end = structs[position].clock + structs[position].length
            if clocks.get(client, 0) < end:
                clocks[client] = end
            position += 1
        at[client] = position
        if position > before:
            work.extend(waiting.pop(client, ()))
    for client, structs in parts.sections.items():
        if at[client] < len(structs):
            lack = lacking(structs[at[client]], client, clocks)
            if lack is not None and (missing is None or lack[0] not in parts.sections):
                missing = lack
    return missing


def lacking(struct: Struct, client: int, clocks: dict[int, int]) -> tuple[int, int] | None:
    """One id that `struct` needs and `clocks` does not have."""
    if struct.clock > clocks.get(client, 0):
        return (client, struct.clock - 1)
    for owner, clock in struct.references():
        if clocks.get(owner, 0) <= clock:
            return (owner, clock)
    return None


def _split_deletes(
    parts: Parts, index: Index, clocks: dict[int, int]
) -> tuple[dict[int, list[tuple[int, int]]], dict[int, list[tuple[int, int]]]]:
    """New deletes of known clocks, and deletes of clocks that are not known yet."""
    now: dict[int, list[tuple[int, int]]] = {}
    late: dict[int, list[tuple[int, int]]] = {}
    for client, ranges in parts.deletes.items():
        have = clocks.get(client, 0)
        known = index.deletes.get(client)
        for start, end in ranges:
            if start < have:
                cut = min(end, have)
                fresh = [(start, cut)] if known is None else known.missing(start, cut)
                if fresh:
                    now.setdefault(client, []).extend(fresh)
            if end > have:
                late.setdefault(client, []).append((max(start, have), end))
    return now, late
