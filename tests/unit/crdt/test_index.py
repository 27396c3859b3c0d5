"""Known clocks and deletes, against plain sets."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.index import FEW, Index, RangeSet, coalesce, encode_deletes
from crdt.update import UpdateReader, parse_update
from tests.unit.crdt.build import gc, section, string, update

Ranges = list[tuple[int, int]]
ranges = st.lists(
    st.tuples(st.integers(0, 60), st.integers(1, 12)).map(lambda pair: (pair[0], pair[0] + pair[1])), max_size=40
)


def clocks(pairs: Ranges) -> set[int]:
    """The single clocks in some ranges."""
    return {clock for start, end in pairs for clock in range(start, end)}


def is_normal(pairs: Ranges) -> bool:
    """Ascending, disjoint, not adjacent, not empty."""
    return all(start < end for start, end in pairs) and all(a[1] < b[0] for a, b in pairwise(pairs))


@given(ranges, ranges)
def test_a_range_set_is_a_set_of_clocks(first: Ranges, second: Ranges) -> None:
    one, all_at_once = RangeSet(), RangeSet()
    for start, end in first:
        one.add(start, end)
        all_at_once.add(start, end)
    for start, end in second:
        one.add(start, end)
    all_at_once.add_all(list(second))
    wanted = clocks(first + second)
    assert clocks(one.pairs()) == wanted
    assert one.pairs() == all_at_once.pairs() == coalesce(first + second)
    assert is_normal(one.pairs())
    assert len(one) == len(one.pairs())


@given(ranges, st.integers(0, 70), st.integers(1, 20))
def test_questions_to_a_range_set(added: Ranges, start: int, length: int) -> None:
    found = RangeSet()
    found.add_all(added)
    asked, known = set(range(start, start + length)), clocks(added)
    end = start + length
    assert found.covers(start, end) == (asked <= known)
    assert found.overlaps(start, end) == bool(asked & known)
    assert clocks(found.missing(start, end)) == asked - known
    assert clocks(found.within(start, end)) == asked & known
    assert is_normal(found.within(start, end))
    assert is_normal(found.missing(start, end))


def test_many_ranges_in_descending_order_cost_no_square() -> None:
    """Three million of them fit into one message; inserted at the front one by one they would take hours."""
    count = 200_000
    found = RangeSet()
    found.add(0, 1)
    found.add_all([(4 * at, 4 * at + 2) for at in range(count, 0, -1)])
    assert len(found) == count + 1
    assert count > FEW


def test_the_index_notes_clocks_and_deletes() -> None:
    index = Index()
    index.add(parse_update(update(section(1, 0, string("abc")), section(2, 0, gc(4)), deletes={2: [(0, 2)]})))
    index.add(parse_update(update(section(1, 3, string("d", (1, 2))), deletes={2: [(2, 1)], 1: [(0, 1)]})))
    assert index.clocks == {1: 4, 2: 4}
    assert {client: found.pairs() for client, found in index.deletes.items()} == {1: [(0, 1)], 2: [(0, 3)]}
    assert index.deleted(2, 0, 3)
    assert not index.deleted(2, 0, 4)
    assert not index.deleted(3, 0, 1)


@given(st.dictionaries(st.integers(1, 9), ranges, max_size=4))
def test_deletes_in_any_order_and_number(deletes: dict[int, Ranges]) -> None:
    data = update(
        deletes={client: [(s, e - s) for s, e in pairs] for client, pairs in deletes.items() if pairs},
    )
    index = Index()
    index.add(parse_update(data))
    assert {client: clocks(found.pairs()) for client, found in index.deletes.items()} == {
        client: clocks(pairs) for client, pairs in deletes.items() if pairs
    }
    again = Index()
    again.add_state({1: 5}, index.encode_deletes())
    assert again.clocks == {1: 5}
    assert again.encode_deletes() == index.encode_deletes()


def test_clients_without_a_range_are_not_written() -> None:
    encoded = encode_deletes({1: [], 2: [(3, 5)]})
    assert UpdateReader(encoded).deletes() == [(2, 3, 5)]
    assert encode_deletes({1: []}) == b"\x00"


@pytest.mark.parametrize("seed", range(5))
def test_many_ranges_into_many(seed: int) -> None:
    """More than `FEW` at once, into whatever is there: before, behind, between and over it."""
    random = Random(seed)
    for _ in range(300):
        found = RangeSet()
        every: Ranges = []
        for _ in range(random.randint(1, 3)):
            span = random.choice([30, 200, 3000])
            new = [(start, start + random.randint(1, 3)) for start in random.choices(range(span), k=FEW + 5)]
            found.add_all(list(new))
            every += new
            assert found.pairs() == coalesce(list(every))


def test_ranges_are_counted() -> None:
    index = Index()
    index.add(parse_update(update(section(1, 0, gc(1000)), section(2, 0, gc(9)))))
    index.add(parse_update(update(deletes={1: [(3 * at, 1) for at in range(100)], 2: [(0, 1)]})))
    index.add(parse_update(update(deletes={1: [(0, 300)], 2: [(3, 1), (8, 1)]})))
    index.add_state({}, b"\x01\x02\x01\x05\x01")
    assert index.delete_ranges == sum(len(ranges) for ranges in index.deletes.values()) == 5


@pytest.mark.parametrize("seed", range(5))
def test_the_state_of_blocks_one_after_the_other(seed: int) -> None:
    random = Random(seed)
    for _ in range(100):
        index = Index()
        every: Ranges = []
        for _ in range(random.randint(1, 3)):
            some = [
                (start, start + random.randint(1, 3)) for start in random.choices(range(60), k=random.randint(1, 9))
            ]
            written = coalesce(list(some)) if random.random() < 0.7 else some
            index.add_state({7: 60}, encode_deletes({7: written}))
            every += some
        assert index.deletes[7].pairs() == coalesce(every)
        assert index.delete_ranges == len(index.deletes[7])
