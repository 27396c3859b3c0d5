"""Updates taken apart and put together again."""

from __future__ import annotations

from crdt.structs import Parts, Section, cut_front, write_update, write_with_bodies
from crdt.update import parse_update
from tests.unit.crdt.build import any_item, gc, section, skip, string, update

MIXED = update(
    section(9, 4, string("hé", (9, 3), (2, 1)), skip(3), gc(2), string("x", parent=(2, 0))),
    section(2, 0, any_item(b"\x7e\x7f", 2)),
    deletes={9: [(5, 1), (4, 1), (20, 2), (21, 5)], 2: [(0, 1)]},
)


def test_structs_know_their_bytes_and_references() -> None:
    parts = Parts(MIXED)
    assert [(s.clock, s.length, s.ref, s.references()) for s in parts.sections[9]] == [
        (4, 2, 4, [(9, 3), (2, 1)]),
        (9, 2, 0, []),
        (11, 1, 4, [(2, 0)]),
    ]
    first = parts.sections[9][0]
    assert MIXED[first.start : first.end] == string("hé", (9, 3), (2, 1))
    assert MIXED[first.content : first.end] == b"\x03h\xc3\xa9"


def test_deletes_come_ascending_and_disjoint() -> None:
    assert Parts(MIXED).deletes == {9: [(4, 6), (20, 26)], 2: [(0, 1)]}


def test_empty_strings_are_left_out() -> None:
    parts = Parts(
        update(section(1, 0, string("a"), string("", (1, 0)), string("b", (1, 0))), section(2, 0, string("")))
    )
    assert [struct.clock for struct in parts.sections[1]] == [0, 1]
    assert parts.sections[2] == []


def test_what_is_known_of_a_struct_is_cut_off() -> None:
    """As Yjs writes the rest of an item: what was cut off is its left origin, half a character becomes U+FFFD."""
    cases = [
        (string("abcd", (7, 3), (8, 4)), 2, string("cd", (1, 11), (8, 4))),
        (string("abcd", parent=(7, 0)), 1, string("bcd", (1, 10))),
        (string("a\U0001f389b", (7, 3)), 1, string("\U0001f389b", (1, 10))),
        (string("a\U0001f389b", (7, 3)), 2, string("\ufffdb", (1, 11))),
        (gc(5), 3, gc(2)),
        (any_item(b"\x7e\x77\x01x\x7f", 3), 2, bytes((0x88, 1, 11, 1)) + b"\x7f"),
        (bytes((0x81, 7, 3, 9)), 4, bytes((0x81, 1, 13, 5))),
    ]
    for struct, offset, rest in cases:
        parts = Parts(update(section(7, 0, gc(4)), section(8, 0, gc(5)), section(1, 10, struct)))
        assert cut_front(parts.data, 1, parts.sections[1][0], offset) == rest, struct


def test_written_sections_say_where_their_structs_stand() -> None:
    one, two = Section(200, 5), Section(3, 0)
    one.pieces += [gc(1), memoryview(string("abc", (200, 5)))]
    one.count = 2
    two.pieces.append(gc(7))
    two.count = 1
    data, bodies = write_with_bodies([one, two], b"\x00")
    assert (
        data
        == write_update([one, two], b"\x00")
        == update(section(200, 5, gc(1), string("abc", (200, 5))), section(3, 0, gc(7)))
    )
    assert bodies == parse_update(data).bodies
