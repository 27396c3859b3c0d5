"""The walk over an update's structs: how far it comes, whatever the steps, and that it is linear."""

from __future__ import annotations

import pytest

from crdt.index import Index
from crdt.survey import Survey
from crdt.update import parse_update
from crdt.walk import Walk
from tests.unit.crdt.build import any_item, gc, item, num, section, skip, string, update

MANY = 1 << 40


def walked(data: bytes, known: dict[int, int] | Index, budget: int = MANY) -> tuple[Walk, Survey, int]:
    """A walk over an update, the survey before it, and the number of steps."""
    survey = Survey(data, MANY)
    while not survey.step(MANY):
        pass
    if isinstance(known, Index):
        index = known
    else:
        index = Index()
        index.clocks = known
    walk = Walk(survey, index)
    steps = 1
    while not walk.step(budget):
        steps += 1
    return walk, survey, steps


@pytest.mark.parametrize("budget", [1, 2, 7, MANY])
def test_what_can_be_applied(budget: int) -> None:
    data = update(
        section(1, 0, string("ab"), string("cd", (1, 1)), string("ef", (2, 1))),
        section(2, 0, string("x", (3, 0)), string("y", (1, 3)), string("z", (9, 0))),
        section(3, 0, gc(1), skip(2), gc(1)),
        section(4, 0, gc(5)),
        section(5, 3, gc(1)),
    )
    walk, survey, _ = walked(data, {1: 1, 3: 1, 4: 5, 5: 1}, budget)
    assert {part.client: (part.start, part.until, part.taken) for part in walk.taken} == {1: (1, 6, 3), 2: (0, 2, 2)}
    assert walk.known
    assert {part.client: part.lacks for part in survey.parts} == {1: None, 2: (9, 0), 3: (3, 2), 4: None, 5: (5, 2)}
    assert {part.client: part.left for part in survey.parts} == {1: 0, 2: 1, 3: 1, 4: 0, 5: 1}


def test_what_lacks_nothing_is_not_looked_at() -> None:
    """Validated, new and without a reference to anything unknown: not one struct has to be read again."""
    data = update(section(1, 0, *[gc(1)] * 1000), section(2, 4, *[string("a", (1, 1))] * 1000))
    walk, _, steps = walked(data, {1: 0, 2: 4}, 1)
    assert steps > 100
    walk, _, steps = walked(data, {1: 2, 2: 4}, 1)
    assert steps < 20
    assert [(part.start, part.until) for part in walk.taken] == [(2, 1000), (4, 1004)]


def test_values_that_are_known_are_cut_off_in_steps() -> None:
    data = update(section(1, 0, any_item(b"\x7e" * 1000, 1000)))
    walk, _, steps = walked(data, {1: 900}, 10)
    assert steps > 180
    part = walk.taken[0]
    assert part.head is not None
    assert bytes(part.head) + data[part.run : part.run_end] == b"\x88" + num(1) + num(899) + num(100) + b"\x7e" * 100
    assert (part.start, part.until) == (900, 1000)
    data = update(section(1, 0, item(8, num(3) + b"\x7e\x7f\x78", right=(2, 1))))
    walk, _, _ = walked(data, {1: 1, 2: 2}, 1)
    head = walk.taken[0].head
    assert head is not None
    assert bytes(head) + data[walk.taken[0].run : walk.taken[0].run_end] == b"\xc8\x01\x00\x02\x01\x02\x7f\x78"


def test_it_is_not_current_when_what_it_took_has_become_known() -> None:
    data = update(section(1, 0, gc(2)), section(2, 0, gc(2)))
    known = {1: 0, 2: 2}
    index = Index()
    index.clocks = known
    walk, _, _ = walked(data, index)
    index.add(parse_update(update(section(2, 2, gc(7)), section(3, 0, gc(9)))))
    assert walk.is_current()
    index.add(parse_update(update(section(1, 0, gc(1)))))
    assert not walk.is_current()


def test_who_waits_is_woken_once() -> None:
    """Two clients wait for each other struct by struct, and a thousand wait for the end: a walk that asks the thousand
    every time reads a million structs."""
    count = 1000
    first = [string("a", (2, clock - 1) if clock else (5, 0)) for clock in range(count)]
    second = [string("b", (1, clock)) for clock in range(count)]
    waiting = [section(10 + number, 0, string("c", (1, count - 1))) for number in range(count)]
    data = update(section(1, 0, *first), section(2, 0, *second), *waiting)
    walk, _, steps = walked(data, {5: 1}, 1)
    assert len(walk.taken) == count + 2
    assert steps < 12 * count
