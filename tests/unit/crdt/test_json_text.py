"""JSON scanned in pieces: the same verdict as when it is parsed, whatever the pieces."""

from __future__ import annotations

import json
from random import Random

import pytest

from crdt.errors import ProtocolError
from crdt.json_text import LONG, MAX_DEPTH, MAX_NUMBER, JsonScanner, check_json
from crdt.update import parse_update
from tests.unit.crdt.build import embed, section, update

ATOMS = [
    "{", "}", "[", "]", ",", ":", " ", "\n", "\t", "\x0b", "\xa0", "\\", '"', "-", "1 2", "NaN", "Infinity", "😀",
    "1", "-0", "01", "00", "1.5", "1.", ".5", "1e5", "1E+5", "1e", "1e999", "-1e999", "1e-999", "true", "false", "null",
    "1" * MAX_NUMBER, "1" * (MAX_NUMBER + 1), "-" + "1" * MAX_NUMBER, "1." + "1" * 298, "1." + "1" * 299, "[]", "{}",
    '""', '"a"', '"é"', '"\\""', '"\\x"', '"\x01"', '"\\u0041"', '"\\ud83d\\ude00"', '"\\uD83d\\uDe00"', '{"a":1}',
    '"\\ud83d"', '"\\udc00"', '"\\ud83d\\u0041"', '"\\uD83d\\uDe"', " " * 5000, '"' + "a" * 5000 + '"',
]  # fmt: skip


def scanned(raw: bytes, budget: int) -> str:
    """The verdict of the scanner: empty, or the broken rule."""
    try:
        scanner = JsonScanner(b"xx" + raw + b"xx", 2, 2 + len(raw))
        while scanner.step(budget) <= 0:
            pass
    except ProtocolError as error:
        return error.rule
    return ""


def parsed(raw: bytes) -> str:
    """The verdict of the parser."""
    try:
        check_json(raw)
    except ProtocolError as error:
        return error.rule
    return ""


def value(random: Random, depth: int = 0) -> str:
    """Something like JSON."""
    kind = random.random()
    if depth > 3 or kind < 0.4:
        return random.choice(ATOMS)
    count = random.randrange(4)
    if kind < 0.7:
        return f"[{random.choice([',', ' , ']).join(value(random, depth + 1) for _ in range(count))}]"
    names = ('"k"', '"\\n"', value(random, depth + 1))
    return "{" + ",".join(f"{random.choice(names)}:{value(random, depth + 1)}" for _ in range(count)) + "}"


@pytest.mark.parametrize("seed", range(4))
def test_scanned_in_pieces_it_is_what_it_is_when_parsed(seed: int) -> None:
    random = Random(seed)
    accepted = 0
    for _ in range(2_000):
        raw = value(random).encode()
        if random.random() < 0.1:
            depth = random.choice([MAX_DEPTH - 1, MAX_DEPTH, MAX_DEPTH + 1])
            raw = b"[" * depth + raw + b"]" * depth
        if random.random() < 0.1:
            at = random.randrange(len(raw))
            raw = raw[:at] + bytes((random.randrange(256),)) + raw[at + 1 :]
        wanted = parsed(raw)
        found = scanned(raw, random.choice([1, 2, 7, 1 << 40]))
        assert found == wanted or {found, wanted} == {"json", "depth"}, raw
        accepted += not wanted
    assert accepted > 300


def test_half_a_surrogate_pair_does_not_hide_behind_a_second_entry() -> None:
    with pytest.raises(ProtocolError, match="json"):
        check_json(b'{"a":"\\ud83d","a":1}')


def test_a_long_number_is_no_number() -> None:
    for raw in ("1" * 301, "1." + "0" * 299, "-1e" + "0" * 298):
        assert parsed(raw.encode()) == scanned(raw.encode(), 9) == "json"


@pytest.mark.parametrize("budget", [1, 100])
def test_a_step_is_bounded(budget: int) -> None:
    """A step passes over as many tokens as it may, and a token is a bounded number of bytes."""
    raw = json.dumps([["a" * 100_000, 1], " " * 100_000, [[]] * 1000]).encode()
    scanner = JsonScanner(raw, 0, len(raw))
    steps = 0
    while scanner.step(budget) <= 0:
        steps += 1
    assert steps > 3000 / budget


def test_a_long_value_in_an_update_is_scanned() -> None:
    long = "[" + "[]," * LONG + "[]]"
    assert parse_update(update(section(1, 0, embed(long)))).ranges == [(1, 0, 1)]
    with pytest.raises(ProtocolError, match="json"):
        parse_update(update(section(1, 0, embed(long[:-1] + "}"))))
