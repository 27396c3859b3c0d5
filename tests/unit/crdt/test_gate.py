"""The dependency gate: what is new and complete goes through, the rest waits, nothing is lost or doubled."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.errors import ProtocolError
from crdt.gate import Intake, Verdict, judge, split
from crdt.index import Index
from crdt.structs import Parts
from crdt.update import parse_update
from tests.fuzz.inputs import grammar_case
from tests.unit.crdt.build import gc, item, num, section, skip, string, update


def index_of(*updates: bytes) -> Index:
    """An index that knows these updates."""
    index = Index()
    for data in updates:
        index.add(parse_update(data))
    return index


def verdict(data: bytes, index: Index) -> Verdict:
    """What the gate says of an update."""
    return judge(parse_update(data), index)


ABC = update(section(1, 0, string("abc")), deletes={1: [(1, 1)]})

VERDICTS = [
    (b"\x00\x00", Verdict.KNOWN),
    (ABC, Verdict.KNOWN),
    (update(section(1, 1, gc(2))), Verdict.KNOWN),
    (update(deletes={1: [(1, 1)]}), Verdict.KNOWN),
    (update(section(1, 3, string("d", (1, 2)))), Verdict.READY),
    (update(section(2, 0, string("d", (1, 2)))), Verdict.READY),
    (update(section(2, 0, item(7, b"\x01")), deletes={2: [(0, 1)]}), Verdict.READY),
    (update(deletes={1: [(2, 1)]}), Verdict.READY),
    (update(deletes={1: [(0, 2)]}), Verdict.MIXED),
    (update(deletes={1: [(1, 1), (2, 1)]}), Verdict.MIXED),
    (update(section(1, 2, string("cd", (1, 1)))), Verdict.MIXED),
    (update(section(1, 3, string("d", (1, 2))), deletes={1: [(1, 1)]}), Verdict.MIXED),
    (update(section(1, 1, gc(1)), section(2, 0, gc(1))), Verdict.MIXED),
    (update(section(1, 4, string("d", (1, 2)))), Verdict.EARLY),
    (update(section(2, 0, string("d", (3, 0)))), Verdict.EARLY),
    (update(section(2, 0, string("d", None, (1, 3)))), Verdict.EARLY),
    (update(section(2, 0, string("d", parent=(3, 0)))), Verdict.EARLY),
    (update(section(1, 3, gc(1), skip(1), gc(1))), Verdict.EARLY),
    (update(deletes={1: [(2, 2)]}), Verdict.EARLY),
    (update(deletes={9: [(0, 1)]}), Verdict.EARLY),
]


@pytest.mark.parametrize(("data", "wanted"), VERDICTS)
def test_verdicts(data: bytes, wanted: Verdict) -> None:
    assert verdict(data, index_of(ABC)) is wanted


def test_sections_that_build_on_one_another_are_ready_after_the_walk() -> None:
    data = update(
        section(2, 0, string("x", (3, 0)), string("z", (3, 1))),
        section(3, 0, string("w", (1, 0)), string("y", (2, 0))),
    )
    index = index_of(ABC)
    assert verdict(data, index) is Verdict.EARLY
    cut = split(data, index)
    assert cut.ready == data
    assert cut.rest is None


def test_known_structs_are_cut_off() -> None:
    data = update(section(1, 0, string("ab"), string("c", (1, 1)), string("de", (1, 2))), deletes={1: [(0, 3)]})
    cut = split(data, index_of(ABC))
    assert cut.ready == update(section(1, 3, string("de", (1, 2))), deletes={1: [(0, 1), (2, 1)]})
    assert cut.rest is None


def test_of_a_struct_known_in_part_only_the_rest_is_new() -> None:
    cut = split(update(section(1, 1, string("bcd", (1, 0)))), index_of(ABC))
    assert cut.ready == update(section(1, 3, string("d", (1, 2))))


def test_what_stands_behind_a_hole_waits() -> None:
    data = update(section(1, 3, string("d", (1, 2)), skip(2), string("g", (1, 5))), deletes={1: [(2, 6)], 4: [(0, 2)]})
    cut = split(data, index_of(ABC))
    assert cut.ready == update(section(1, 3, string("d", (1, 2))), deletes={1: [(2, 2)]})
    assert cut.rest == update(section(1, 6, string("g", (1, 5))), deletes={1: [(4, 4)], 4: [(0, 2)]})
    assert cut.waits_for == (1, 5)


def test_what_builds_on_something_unknown_waits() -> None:
    data = update(section(2, 0, string("x", (1, 2)), string("y", (7, 3)), string("z", (2, 0))))
    cut = split(data, index_of(ABC))
    assert cut.ready == update(section(2, 0, string("x", (1, 2))))
    assert cut.rest == update(section(2, 1, string("y", (7, 3)), string("z", (2, 0))))
    assert cut.waits_for == (7, 3)


def test_structs_that_build_on_one_another_in_a_circle_wait_for_ever() -> None:
    data = update(section(2, 0, string("x", (3, 0))), section(3, 0, string("y", (2, 0))), section(4, 0, gc(1)))
    cut = split(data, index_of(ABC))
    assert cut.ready == update(section(4, 0, gc(1)))
    assert cut.rest is not None
    assert set(Parts(cut.rest).sections) == {2, 3}
    again = split(cut.rest, index_of(ABC, cut.ready))
    assert (again.ready, again.rest) == (None, cut.rest)


def test_a_missing_clock_outside_the_update_is_what_it_waits_for() -> None:
    """A section that waits for another one of the same update is no news: what both wait for is."""
    data = update(section(2, 0, string("x", (3, 0))), section(3, 0, string("y", (9, 4))))
    assert split(data, index_of(ABC)).waits_for == (9, 4)


def test_deletes_of_unknown_clocks_wait() -> None:
    cut = split(update(deletes={1: [(0, 1)], 5: [(3, 4)]}), index_of(ABC))
    assert cut.ready == update(deletes={1: [(0, 1)]})
    assert cut.rest == update(deletes={5: [(3, 4)]})
    assert cut.waits_for == (5, 6)


def test_a_delete_of_what_comes_in_the_same_update_goes_with_it() -> None:
    data = update(section(2, 0, gc(3)), deletes={2: [(0, 3)]})
    assert split(data, index_of(ABC)).ready == data


def test_empty_strings_go_no_further() -> None:
    """One of them, last of its client, makes Yjs throw when it looks for the clock before it."""
    data = update(section(1, 3, string("", (1, 2)), string("d", (1, 2)), string("", (1, 3))), section(5, 0, string("")))
    cut = split(data, index_of(ABC))
    assert cut.ready == update(section(1, 3, string("d", (1, 2))))
    assert cut.rest is None


def test_many_overlapping_deletes_cost_no_square() -> None:
    """Each of a hundred thousand ranges covers a hundred thousand known ones."""
    count = 100_000
    known = b"".join(num(2 * at) + b"\x01" for at in range(count))
    index = index_of(update(section(1, 0, gc(2 * count))), b"\x00\x01\x01" + num(count) + known)
    whole = num(0) + num(2 * count)
    data = b"\x00\x01\x01" + num(count) + whole * count
    cut = split(data, index)
    assert cut.ready == update(deletes={1: [(0, 2 * count)]})


@pytest.mark.parametrize("count", [2_000])
def test_waiting_sections_are_walked_once(count: int) -> None:
    """Each client's struct builds on the next client's: the worst order for a naive walk."""
    sections = [section(client, 0, string("x", (client + 1, 0))) for client in range(1, count)]
    data = update(*sections, section(count, 0, gc(1)))
    assert split(data, Index()).ready == data


structs = st.lists(
    st.tuples(
        st.sampled_from([2, 3, 4]),
        st.sampled_from(["item", "gc", "skip"]),
        st.integers(1, 4),
        st.sampled_from([2, 3, 4, 5]),
        st.integers(0, 9),
    ),
    max_size=14,
)


@given(structs, st.lists(st.tuples(st.sampled_from([2, 3, 5]), st.integers(0, 12), st.integers(1, 5)), max_size=6),
       st.integers(0, 2**32))  # fmt: skip
def test_both_parts_together_are_the_whole(
    drawn: list[tuple[int, str, int, int, int]], deleted: list[tuple[int, int, int]], seed: int
) -> None:
    """Whatever an update refers to: ready and rest share nothing, lack nothing new, and the ready part is complete."""
    bodies: dict[int, list[bytes]] = {}
    clocks = dict.fromkeys((2, 3, 4), 0)
    for client, kind, length, owner, clock in drawn:
        if kind == "item" and not (owner == client and clock >= clocks[client]):
            bodies.setdefault(client, []).append(string("x" * length, (owner, clock)))
        else:
            bodies.setdefault(client, []).append(skip(length) if kind == "skip" else gc(length))
        clocks[client] += length
    deletes: dict[int, list[tuple[int, int]]] = {}
    for client, clock, length in deleted:
        deletes.setdefault(client, []).append((clock, length))
    data = update(*(section(client, 0, *found) for client, found in bodies.items()), deletes=deletes)
    random = Random(seed)
    index = Index()
    index.clocks = {client: random.randint(0, 8) for client in (2, 3, 4, 5)}
    cut = split(data, index)
    have = {client: set(range(clock)) for client, clock in index.clocks.items()}
    if cut.ready is not None:
        ready = parse_update(cut.ready)
        assert all(index.clocks[client] >= start for client, start, _ in ready.ranges)
        for client, start, end in ready.ranges:
            have[client] |= set(range(start, end))
        assert all(max(have[client], default=-1) + 1 >= end for client, end in ready.needs.items())
        assert all(end <= max(have[client], default=-1) + 1 for client, _, end in ready.deletes)
        index.add(ready)
        assert verdict(cut.ready, index) is Verdict.KNOWN
    whole, rest = parse_update(data), parse_update(cut.rest or b"\x00\x00")
    for client, start, end in rest.ranges:
        assert not have[client] & set(range(start, end)) or start < index.clocks[client]
        have[client] |= set(range(start, end))
    assert all(set(range(start, end)) <= have[client] for client, start, end in whole.ranges)
    assert cut.rest is None or cut.waits_for is not None
    later = split(cut.rest, index) if cut.rest is not None else None
    assert later is None or later.ready is None


def taken(data: bytes, index: Index, random: Random, batch: int) -> tuple[list[bytes], bytes | None]:
    """What an intake hands over, with steps of any size, and what is left."""
    intake = Intake(data, None, index, 1000, batch)
    handed = []
    while not intake.finished or intake.ready is not None:
        if not intake.step(random.choice([1, 2, 5, 100])) or intake.ready is None:
            continue
        assert intake.is_current()
        ready, summary = intake.ready
        parsed = parse_update(ready)
        assert (summary.ranges, summary.bodies) == (parsed.ranges, parsed.bodies)
        assert summary.deletes_at == parsed.deletes_at
        assert summary.sections == parsed.sections
        assert len(summary.deletes) <= batch
        known = Index()
        known.add(summary)
        whole = Index()
        whole.add(parsed)
        assert known.encode_deletes() == whole.encode_deletes()
        index.add(summary)
        handed.append(ready)
        intake.proceed()
    return handed, intake.rest


@pytest.mark.parametrize("seed", range(6))
def test_in_steps_it_is_what_it_is_in_one_go(seed: int) -> None:
    random = Random(seed)
    split_up = 0
    for _ in range(400):
        indices = Index(), Index()
        for data in grammar_case(random) + grammar_case(random):
            if random.random() < 0.3:
                ends = [*indices[0].clocks.items(), (77, 3)]
                ranges = {
                    client: [(random.randrange(end), random.choice([1, 2])) for _ in ends] for client, end in ends
                }
                data = update(deletes=ranges)
            try:
                parse_update(data)
            except ProtocolError:
                continue
            cut = split(data, indices[0])
            if cut.ready is not None:
                indices[0].add(parse_update(cut.ready))
            batch = random.choice([1, 2, 1000])
            handed, rest = taken(data, indices[1], random, batch)
            assert indices[1].clocks == indices[0].clocks
            assert indices[1].encode_deletes() == indices[0].encode_deletes()
            assert rest == cut.rest
            assert all(not parse_update(later).ranges for later in handed[1:])
            split_up += len(handed) > 1
            if batch == 1000:
                assert handed == ([] if cut.ready is None else [cut.ready])
    assert split_up > 10


def test_what_has_become_known_meanwhile_is_looked_at_again() -> None:
    index = index_of(ABC)
    intake = Intake(update(section(1, 3, string("def", (1, 2))), section(2, 0, gc(1))), None, index)
    while not intake.step(1):
        pass
    index.add(parse_update(update(section(1, 3, string("d", (1, 2))))))
    assert not intake.is_current()
    intake.restart()
    while not intake.step(1):
        pass
    assert intake.is_current()
    assert intake.ready is not None
    assert intake.ready[0] == update(section(1, 4, string("ef", (1, 3))), section(2, 0, gc(1)))
    assert parse_update(intake.ready[0]).ranges == intake.ready[1].ranges


def test_many_deletes_are_handed_over_in_batches_behind_the_structs() -> None:
    index = index_of(ABC)
    data = update(section(2, 0, gc(100)), deletes={2: [(2 * at, 1) for at in range(40)], 9: [(0, 1)], 1: [(0, 1)]})
    handed, rest = taken(data, index, Random(1), 15)
    assert [len(parse_update(ready).deletes) for ready in handed] == [15, 15, 11]
    assert [len(parse_update(ready).ranges) for ready in handed] == [1, 0, 0]
    assert rest == update(deletes={9: [(0, 1)]})


def test_one_delete_over_many_known_ones_is_kept_whole() -> None:
    """The pieces that are missing would be as many as those that are there."""
    index = index_of(update(section(1, 0, gc(200))), update(deletes={1: [(2 * at, 1) for at in range(100)]}))
    assert split(update(deletes={1: [(0, 150)]}), index).ready == update(deletes={1: [(0, 150)]})
    assert split(update(deletes={1: [(0, 4)]}), index).ready == update(deletes={1: [(1, 1), (3, 1)]})


def test_is_known() -> None:
    for data, known in ((ABC, True), (update(section(1, 3, gc(1))), False), (update(deletes={7: [(0, 1)]}), False)):
        intake = Intake(data, None, index_of(ABC))
        assert not intake.is_known
        while not intake.step(1):
            pass
        assert intake.is_known is known
