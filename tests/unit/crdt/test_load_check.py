"""What is known to kill, hang or poison a document engine: refused at the door, or harmless behind it."""

from __future__ import annotations

import os
import signal

import pytest

from crdt.errors import ProtocolError
from crdt.load_check import load_check
from crdt.replica import Outcome, Replica
from crdt.update import parse_update
from tests.fuzz import engine
from tests.fuzz.engine import Verdict, attempt
from tests.unit.crdt.build import any_item, author, item, section, seen, string, typed, update

NESTED = "010101000801017401" + "7501" * 26_100 + "7e00"

REPRODUCERS: dict[str, tuple[list[str], list[str | None]]] = {
    "segfault over a pending GC": (["01010101000100", "010101008401010300000000"], [None, "origin"]),
    "segfault by nesting": ([NESTED], ["depth"]),
    "nesting that only Yjs cannot read": (["010101000801017401" + "7501" * 5000 + "7e00"], ["depth"]),
    "snapshot divides by zero": (["01010001000000"], ["length"]),
    "content JSON destroys the merged room": (["01010000020100000000"], ["content-json"]),
    "section without structs": (["01010100000000", "0100010000"], ["length", "empty-section"]),
    "panic in apply": (["010200000001000000"], ["length"]),
    "unreachable": (["01010214000100", "02010200c4000000000300000001023a000000"], [None, "length"]),
    "snapshot panics on reload": (
        ["030202000004050100027b7d0102020003030200040100010028010000027b000000000000000077000a0000"],
        ["duplicate-client"],
    ),
    "reading an array loops for ever": (["020101000401016106c3a9f09f8e8900010000"], ["empty-section"]),
    "allocation by a map's count": (["01010100080101740176808080800100"], ["count"]),
    "allocation by a delete count": (["000101ffffffff0f"], ["count"]),
    "deletes lost": (
        ["01010103840101016100", "01010102440100016200", "0101010004010174016700", "01010101840100016400"],
        [None, None, None, None],
    ),
}


@pytest.mark.parametrize("name", REPRODUCERS)
def test_known_reproducers(name: str) -> None:
    raw, rules = REPRODUCERS[name]
    updates = [bytes.fromhex(data) for data in raw]
    for data, rule in zip(updates, rules, strict=True):
        if rule is None:
            parse_update(data)
            continue
        with pytest.raises(ProtocolError) as refused:
            parse_update(data)
        assert refused.value.rule == rule
    assert attempt(updates) == Verdict(0, "")
    assert attempt(updates[::-1]) == Verdict(0, "")


def test_structs_that_arrive_backwards_lose_nothing() -> None:
    """The smallest loss of yrs: fed in this order it reads `bgd`; behind the gate it reads what Yjs reads."""
    updates = [bytes.fromhex(data) for data in REPRODUCERS["deletes lost"][0]]
    replica = Replica()
    outcomes = [replica.receive(data, None) for data in updates]
    assert outcomes == [Outcome.HELD, Outcome.HELD, Outcome.ACCEPTED, Outcome.ACCEPTED]
    flushed = replica.flush()
    assert flushed is not None
    assert seen(flushed) == "bgda"


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(
            [update(section(1, 0, string("a")), section(2, 0, string("b", parent=(1, 0))))], id="text as parent"
        ),
        pytest.param(
            [update(section(1, 0, any_item(b"\x7d\x01")), section(2, 0, string("b", (1, 0))))], id="mixed list"
        ),
        pytest.param([update(section(1, 0, string("é🎉")), section(2, 0, string("x", (1, 1))))], id="inside an emoji"),
        pytest.param([update(section(1, 0, string("é🎉")), deletes={1: [(2, 1)]})], id="half an emoji deleted"),
        pytest.param([update(section(1, 0, string("ab")), section(2, 0, string("x", (1, 1), (1, 0))))], id="crossed"),
        pytest.param([update(section(1, 0, item(8, b"\x01\x7e", parent="m", sub="k")))], id="key in a map"),
    ],
)
def test_odd_but_valid_updates_harm_nothing(case: list[bytes]) -> None:
    for data in case:
        parse_update(data)
    verdict = attempt(case)
    assert verdict.status in (0, 3), verdict


def test_what_loads() -> None:
    doc = author(4)
    load_check([typed(doc, "é🎉"), typed(doc, "x")])
    load_check([])


def test_what_does_not_load_is_a_protocol_error(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ProtocolError, match="count"):
        load_check([b"\x01\x01"])
    monkeypatch.setattr("crdt.load_check.parse_update", lambda _: None)
    with pytest.raises(ProtocolError) as refused:
        load_check([b"\x01\x01"])
    assert refused.value.rule == "load"


def test_the_judge_notices_a_child_that_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    def die(_: engine.Case) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    monkeypatch.setattr(engine, "run", die)
    assert engine.attempt([b""]).status == -signal.SIGKILL

    def refuse(_: engine.Case) -> None:
        raise ProtocolError("rule", "why")

    monkeypatch.setattr(engine, "run", refuse)
    assert engine.judge([[b"a"]]) == [([b"a"], Verdict(3, "rule: why"))]
    assert engine.judge([[b"a"], [b"b"]]) == [([b"a"], Verdict(3, "rule: why")), ([b"b"], Verdict(3, "rule: why"))]
