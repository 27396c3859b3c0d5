"""Long strings in pieces: what they are when decoded at once."""

from __future__ import annotations

from random import Random

import pytest

from crdt.errors import ProtocolError
from crdt.gate import split
from crdt.index import Index
from crdt.long_text import LONG, PIECE, TextScanner
from crdt.structs import Struct, cut_front
from crdt.update import UpdateReader, parse_update
from tests.unit.crdt.build import item, num, section, string, text, update

BIG = 2**31 - 1


def scanned(raw: bytes, budget: int, stop: int = -1) -> TextScanner:
    """The scanner at its end."""
    scanner = TextScanner(b"xx" + raw + b"\xff", 2, 2 + len(raw), stop)
    while scanner.step(budget) <= 0:
        pass
    return scanner


def some(random: Random, characters: int) -> str:
    """Characters of one to four bytes."""
    return "".join(
        random.choices("aé漢🎉", weights=random.choice([(9, 1, 1, 1), (0, 0, 0, 1), (1, 0, 0, 0)]), k=characters)
    )


@pytest.mark.parametrize("seed", range(5))
def test_units_and_where_they_stand(seed: int) -> None:
    random = Random(seed)
    for size in (0, 1, 5, PIECE, PIECE + 1, 3 * PIECE):
        value = some(random, size)
        units = value.encode("utf-16-le")
        found = scanned(value.encode(), random.choice([1, 70, 1 << 40]))
        assert (found.units, found.pos) == (len(units) // 2, 2 + len(value.encode()))
        if not size:
            continue
        stop = random.randrange(found.units)
        at = scanned(value.encode(), random.choice([1, 70, 1 << 40]), stop)
        rest = value.encode()[at.pos - 2 :].decode()
        assert ("\ufffd" if at.torn else "") + rest == units[2 * stop :].decode("utf-16-le", "replace")


@pytest.mark.parametrize("bad", [b"\xff", b"\xc3", b"\x80" * 9, b"\xed\xa0\x80", b"\xf0\x9f\x98", b"\xc0\x80"])
@pytest.mark.parametrize("before", [0, PIECE - 3, PIECE - 2, PIECE - 1, PIECE, LONG])
def test_what_is_not_utf8_is_refused_wherever_it_stands(bad: bytes, before: int) -> None:
    for raw in (b"a" * before + bad, b"a" * before + bad + b"a" * LONG):
        with pytest.raises(ProtocolError, match="utf8"):
            scanned(raw, 1)
        with pytest.raises(ProtocolError, match="utf8"):
            parse_update(update(section(1, 0, item(4, num(len(raw)) + raw))))


def test_a_long_string_counts_and_has_its_limit() -> None:
    value = "é🎉" * LONG
    assert parse_update(update(section(1, 7, string(value)))).ranges == [(1, 7, 7 + 3 * LONG)]
    parse_update(update(section(1, BIG - 3 * LONG, string(value))))
    with pytest.raises(ProtocolError, match="clock"):
        parse_update(update(section(1, BIG - 3 * LONG + 1, string(value))))


@pytest.mark.parametrize("known", [1, 2, 3, 50_001, 98_303])
def test_a_long_string_is_cut_like_a_short_one(known: int) -> None:
    value = "a🎉" * (LONG // 2)
    data = update(section(1, 0, item(4, text(value), right=(2, 1))))
    index = Index()
    index.clocks = {1: known, 2: 2}
    reader = UpdateReader(data, 4)
    reader.read_struct(1, 0)
    wanted = cut_front(data, 1, Struct(reader, 0), known)
    assert split(data, index).ready == update(section(1, known, wanted))
