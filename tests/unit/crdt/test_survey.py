"""An update validated in steps: the verdict of the validator, whatever the steps."""

from __future__ import annotations

from random import Random

import pytest

from crdt.errors import ProtocolError
from crdt.survey import Survey
from crdt.update import parse_update
from tests.fuzz.inputs import damaged, grammar_case, real_updates
from tests.unit.crdt.build import any_item, embed, gc, item, num, section, skip, string, text, update
from tests.unit.crdt.test_update import REFUSED

MANY = 1 << 40


def surveyed(data: bytes, budget: int, max_clients: int = MANY) -> Survey:
    """The survey of an update, taken in steps of `budget`."""
    survey = Survey(data, max_clients)
    while not survey.step(budget):
        pass
    return survey


def rule_of(data: bytes, budget: int) -> str:
    """The rule by which it is refused; empty when it is not."""
    try:
        surveyed(data, budget)
    except ProtocolError as error:
        return error.rule
    return ""


@pytest.mark.parametrize("budget", [1, 3, MANY])
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name: str, budget: int) -> None:
    data, rule = REFUSED[name]
    assert rule_of(data, budget) == rule


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_verdict_of_the_validator(seed: int) -> None:
    random = Random(seed)
    real = real_updates()
    accepted = 0
    for _ in range(1500):
        data = random.choice(real) if random.random() < 0.4 else random.choice(grammar_case(random))
        if random.random() < 0.4:
            data = damaged(random, data)
        try:
            wanted, summary = "", parse_update(data)
        except ProtocolError as error:
            wanted, summary = error.rule, None
        found = rule_of(data, random.choice([1, 2, 10, MANY]))
        # A second section of a client is noticed before what it holds is.
        assert found == wanted or (wanted and found == "duplicate-client"), data.hex()
        if summary is None:
            continue
        accepted += 1
        survey = surveyed(data, random.choice([1, 2, 10, MANY]))
        assert survey.needs == summary.needs
        assert survey.deletes_at == summary.deletes_at
        assert survey.deletes == len(summary.deletes)
        assert len(survey.parts) == summary.sections
        ends = {client: end for client, _, end in summary.ranges}
        assert {part.client: part.end for part in survey.parts if part.client in ends} == ends
        bodies = [(part.count, part.offset, part.stop) for part in survey.parts]
        assert all(body in bodies for body in summary.bodies)
    assert accepted > 300


def test_a_step_is_bounded_inside_a_struct_too() -> None:
    values = b"\x75\x03\x7e\x7e\x7e" * 500
    long = "[" + "[]," * 20_000 + "[]]"
    data = update(
        section(1, 0, any_item(values, 500), embed(long), item(9, text("g") + b"\x76\x01" + text("k") + b"\x7e")),
        section(2, 0, *[gc(1)] * 500),
        deletes={1: [(0, 1)] * 500},
    )
    survey = Survey(data, MANY)
    steps = 0
    while not survey.step(10):
        steps += 1
    assert steps > (2000 + 20_000 + 500 + 500) / 10
    assert [part.end for part in survey.parts] == [502, 500]


def test_what_is_plain() -> None:
    data = update(
        section(1, 0, gc(1), string("a")),
        section(2, 0, gc(1), skip(1), gc(1)),
        section(3, 0, string("", parent="t")),
        section(4, 0, gc(2), skip(4)),
    )
    parts = surveyed(data, MANY).parts
    assert [part.plain for part in parts] == [True, False, False, False]
    assert [part.end for part in parts] == [2, 3, 0, 2]


def test_no_more_clients_than_a_document_may_have() -> None:
    sections = [section(client, 0, gc(1)) for client in range(5)]
    surveyed(update(*sections), 1, max_clients=5)
    for data in (update(*sections, section(9, 0, gc(1))), update(deletes={client: [(0, 1)] for client in range(6)})):
        with pytest.raises(ProtocolError, match="document-clients"):
            surveyed(data, 1, max_clients=5)


def test_references_to_more_clients_than_there_can_be_are_not_all_kept() -> None:
    data = update(section(9, 0, *(string("a", (client, 0)) for client in range(8))))
    survey = surveyed(data, 1, max_clients=5)
    assert survey.overgrown
    assert len(survey.needs) == 6
    assert not surveyed(data, 1, max_clients=20).overgrown


def test_a_count_is_not_believed() -> None:
    with pytest.raises(ProtocolError, match="count"):
        surveyed(num(1) + num(1 << 30) + num(1) + num(0), 1)
