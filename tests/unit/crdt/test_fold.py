"""Folding: one block that is the same document, in causal order, with nothing missing."""

from __future__ import annotations

import pytest
from pycrdt import Text

from crdt.block import Block, unpack
from crdt.errors import ProtocolError
from crdt.fold import MAX_RUN, build, fold, verify
from crdt.structs import Parts
from crdt.update import parse_update
from tests.unit.crdt.build import any_item, author, content, erased, gc, item, num, section, seen, string, typed, update
from tests.unit.crdt.test_block import history, without_pending


def structs(block: bytes) -> list[tuple[int, int, int]]:
    """(client, clock, length) of everything in a block."""
    return [
        (client, struct.clock, struct.length)
        for data in unpack(block)
        for client, found in Parts(data).sections.items()
        for struct in found
    ]


def test_typing_becomes_one_struct() -> None:
    doc = author(4)
    sent = [typed(doc, letter) for letter in "hello wörld 🎉"]
    block = fold([], sent)
    assert structs(block) == [(4, 0, 14)]
    assert seen(*unpack(block)) == "hello wörld 🎉"


def test_what_was_deleted_in_part_stays_apart() -> None:
    doc = author(4)
    sent = [typed(doc, letter) for letter in "abcdef"] + [erased(doc, 2, 4)]
    block = fold([], sent)
    assert structs(block) == [(4, 0, 2), (4, 2, 2), (4, 4, 2)]
    assert seen(*unpack(block)) == "abef"


def test_an_overwritten_value_is_not_joined_with_its_successor() -> None:
    values = [item(8, num(1) + b"\x7d\x01", parent="m", sub="k")]
    values += [item(8, num(1) + b"\x7d\x02", left=(1, 0))]
    block = fold([], [update(section(1, 0, *values), deletes={1: [(0, 1)]})])
    assert content(author(2, *unpack(block)))["m"] == {"k": 2}


@pytest.mark.parametrize(
    "second",
    [
        string("b", (1, 0), (2, 0)),
        string("b", (2, 0)),
        string("b", None, (2, 0)),
        any_item(b"\x7e"),
        item(1, num(1), left=(1, 0)),
    ],
)
def test_structs_that_do_not_continue_one_another_stay_apart(second: bytes) -> None:
    block = fold([], [update(section(2, 0, string("z")), section(1, 0, string("a"), second))])
    assert sorted(structs(block)) == [(1, 0, 1), (1, 1, 1), (2, 0, 1)]


def test_collected_and_deleted_runs_are_joined() -> None:
    parts = [gc(1), gc(2), item(1, num(1), parent="t"), item(1, num(2), left=(1, 3)), gc(4)]
    block = fold([], [update(section(1, 0, *parts), deletes={1: [(0, 10)]})])
    assert structs(block) == [(1, 0, 3), (1, 3, 3), (1, 6, 4)]


@pytest.mark.parametrize("typed_before", [False, True])
@pytest.mark.parametrize("unit", ["a", "é", "🎉"])
def test_a_long_paste_is_split_where_characters_end(unit: str, typed_before: bool) -> None:
    paste = unit * (3 * MAX_RUN // len(unit.encode()) + 7)
    doc = author(4)
    sent = [typed(doc, "x")] if typed_before else []
    sent += [typed(doc, paste)]
    block = fold([], sent, chunk_bytes=MAX_RUN)
    chunks = unpack(block)
    assert len(chunks) >= 3
    assert max(map(len, chunks)) <= 2 * MAX_RUN + 200
    without_pending(chunks)
    assert seen(*chunks) == ("x" if typed_before else "") + paste


def test_an_emoji_at_the_split() -> None:
    paste = "a" * (MAX_RUN - 2) + "🎉" + "b" * MAX_RUN
    block = fold([], [update(section(1, 0, string(paste)))])
    assert [length for _, _, length in structs(block)] == [MAX_RUN - 2, MAX_RUN - 2, 4]
    assert seen(*unpack(block)) == paste


def test_a_split_string_keeps_its_right_origin() -> None:
    paste = "a" * (MAX_RUN + 5)
    block = fold([], [update(section(2, 0, string("z")), section(1, 0, string(paste, None, (2, 0))))])
    found = [struct for data in unpack(block) for struct in Parts(data).sections.get(1, [])]
    assert [(struct.origin, struct.right) for struct in found] == [(None, (2, 0)), ((1, MAX_RUN - 1), (2, 0))]
    assert seen(*unpack(block)) == paste + "z"


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("chunk_bytes", [1, 300, 1 << 20])
def test_folding_in_steps_is_folding_at_once(seed: int, chunk_bytes: int) -> None:
    sent = history(seed + 50)
    half, most = len(sent) // 2, len(sent) - 3
    one = fold([], sent[:half], chunk_bytes)
    two = fold([], sent[half:most], chunk_bytes)
    whole = fold([one, two], sent[most:], chunk_bytes)
    assert Block.from_bytes(whole).state == Block.from_bytes(fold([], sent)).state
    without_pending(unpack(whole))
    wanted = content(author(9, *sent))
    assert content(author(9, *unpack(whole))) == wanted
    assert content(author(9, *unpack(one), *unpack(two), *sent[most:])) == wanted
    assert content(author(9, *unpack(fold([whole, whole], sent[::-1])))) == wanted


def test_a_segment_builds_on_the_blocks_before_it() -> None:
    doc = author(4)
    sent = [typed(doc, "abc"), typed(doc, "def"), erased(doc, 1, 4)]
    segment = fold([], sent[1:])
    assert Block.from_bytes(segment).state == {4: 6}
    assert structs(segment) == [(4, 3, 3)]
    assert seen(sent[0], *unpack(segment)) == "aef"


@pytest.mark.parametrize("bad", [b"", b"\x01", update(section(1, 0, gc(0)))])
def test_bad_inputs_are_refused(bad: bytes) -> None:
    for blocks, updates in (([bad], []), ([], [bad, bad])):
        with pytest.raises(ProtocolError):
            fold(blocks, updates)


def test_a_hole_is_refused() -> None:
    with pytest.raises(ProtocolError, match="hole"):
        fold([], [update(section(1, 0, gc(1))), update(section(1, 2, gc(1)))])


def test_a_circle_is_refused() -> None:
    with pytest.raises(ProtocolError, match="causality"):
        fold([], [update(section(2, 0, string("x", (3, 0))), section(3, 0, string("y", (2, 0))))])


def test_a_result_that_lacks_something_is_refused() -> None:
    whole = update(section(1, 0, string("ab")), section(2, 0, gc(1)), deletes={2: [(0, 1)], 1: [(0, 1)]})
    old = build(whole)
    verify(old, [old], [whole])
    for lost in (
        update(section(1, 0, string("ab")), deletes={1: [(0, 1)]}),
        update(section(1, 0, string("ab")), section(2, 0, gc(1)), deletes={1: [(0, 1)]}),
    ):
        for blocks, updates in (([old], []), ([], [whole])):
            with pytest.raises(ProtocolError, match="verify"):
                verify(build(lost), blocks, updates)


def test_deletes_of_earlier_blocks_come_last() -> None:
    block = fold([], [update(section(1, 5, gc(2)), deletes={1: [(0, 2), (5, 2)], 9: [(3, 1)]})])
    chunks = unpack(block)
    assert sorted(parse_update(chunks[-1]).deletes) == [(1, 0, 2), (1, 5, 7), (9, 3, 4)]


def test_long_typing_is_cut_into_runs() -> None:
    doc = author(4)
    sent = [typed(doc, "x" * 1000) for _ in range(200)]
    block = fold([], sent)
    lengths = [length for _, _, length in structs(block)]
    assert max(lengths) <= MAX_RUN
    assert sum(lengths) == 200_000
    assert str(author(5, *unpack(block)).get("t", type=Text)) == "x" * 200_000
