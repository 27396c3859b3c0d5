"""`auth.permissions`: which rooms a token opens, and which it must not."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from auth.permissions import access, matches
from auth.principal import Access
from auth.tokens import Claims
from crdt.ids import RoomId


def claims(rooms: str | tuple[str, ...], role: Access = Access.WRITE) -> Claims:
    return Claims("alice", "alice", rooms, role, 0)


OTHERS = [
    "Notes",
    "notes ",
    " notes",
    "notes/",
    "/notes",
    "notes//",
    "./notes",
    "notes/..",
    "x/../notes",
    "%6eotes",
    "notes%2f",
    "notes\x00",
    "notes\x00session",
    "{notes}",
    "notes:",
    "note",
    "notess",
    "\uff4eotes",
    "notes~",
    "notes~comment",
    "notes~comments~",
    "~comments",
    "*",
    "",
]


@pytest.mark.parametrize("room", OTHERS)
def test_an_exact_name_opens_no_other_room(room: str) -> None:
    assert access(claims("notes"), RoomId("notes")) is Access.WRITE
    assert access(claims("notes"), RoomId(room)) is Access.NONE
    assert access(claims(("notes",)), RoomId(room)) is Access.NONE


def test_unicode_forms_are_different_rooms() -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    assert access(claims(composed), RoomId(composed)) is Access.WRITE
    assert access(claims(composed), RoomId(decomposed)) is Access.NONE


@pytest.mark.parametrize("name", ["*", "**", "a*", "a/**", "\\*", "[a]", "?"])
def test_a_string_is_never_a_pattern(name: str) -> None:
    assert access(claims(name), RoomId(name)) is Access.WRITE
    for room in ("a", "ab", "a/b", "secret"):
        assert access(claims(name), RoomId(room)) is Access.NONE


@pytest.mark.parametrize(
    ("pattern", "fits", "fails"),
    [
        ("team/*", ["team/a", "team/", "team/a b"], ["team", "team/a/b", "teams/a", "xteam/a", "team/a/"]),
        ("team/**", ["team/a", "team/a/b", "team/"], ["team", "teams/a"]),
        ("**", ["", "a", "a/b"], []),
        ("*", ["", "a"], ["a/b", "/"]),
        ("*/notes", ["a/notes", "/notes"], ["a/b/notes", "notes"]),
        ("a*c*e", ["ace", "abcde", "acccee"], ["ac", "abcd", "a/ce"]),
        (r"a\*", ["a*"], ["a", "ab", "a\\*", "a\\"]),
        (r"a\\*", ["a\\", "a\\b"], ["a*", "a"]),
        ("a\\", ["a\\"], ["a"]),
        ("a.c", ["a.c"], ["abc"]),
        ("[ab]?", ["[ab]?"], ["a", "ab"]),
        ("***", ["", "a/b"], []),
    ],
)
def test_patterns(pattern: str, fits: list[str], fails: list[str]) -> None:
    assert [room for room in fits if not matches(pattern, room)] == []
    assert [room for room in fails if matches(pattern, room)] == []


@given(st.text("a/*\\", max_size=8), st.text("ab/*\\", max_size=8))
def test_patterns_agree_with_regular_expressions(pattern: str, room: str) -> None:
    parts = re.findall(r"\\.|\*\*|\*|[^\\*]|\\", pattern, re.DOTALL)
    special = {"**": ".*", "*": "[^/]*"}
    expression = "".join(special.get(part) or re.escape(part[-1]) for part in parts)
    assert matches(pattern, room) == bool(re.fullmatch(expression, room, re.DOTALL))


def test_no_pattern_takes_long() -> None:
    # A backtracking matcher would need about 10^20 steps here and the test's time limit would end it.
    assert not matches("*a" * 40 + "b", "a" * 1000)


@pytest.mark.parametrize(
    ("role", "in_room", "in_comments"),
    [
        (Access.READ, Access.READ, Access.READ),
        (Access.COMMENT, Access.COMMENT, Access.WRITE),
        (Access.WRITE, Access.WRITE, Access.WRITE),
        (Access.OWN, Access.OWN, Access.OWN),
    ],
)
@pytest.mark.parametrize("rooms", ["notes", ("notes",), ("**",), ("n*",)])
def test_commenting_writes_in_the_rooms_comments_only(
    role: Access, in_room: Access, in_comments: Access, rooms: str | tuple[str, ...]
) -> None:
    granted = claims(rooms, role)
    assert access(granted, RoomId("notes")) is in_room
    assert access(granted, RoomId("notes~comments")) is in_comments


def test_the_comments_alone_do_not_open_the_room() -> None:
    granted = claims("notes~comments", Access.WRITE)
    assert access(granted, RoomId("notes~comments")) is Access.WRITE
    assert access(granted, RoomId("notes")) is Access.NONE


def test_what_an_access_allows() -> None:
    assert [level.may_read for level in Access] == [False, True, True, True, True]
    assert [level.may_write for level in Access] == [False, False, False, True, True]
