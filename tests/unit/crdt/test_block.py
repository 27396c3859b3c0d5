"""Stored blocks: chunks that apply one by one, diffs cut by state vector, bytes that open or are refused."""

from __future__ import annotations

from random import Random
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Array, Doc, Map, Text

from crdt.block import NO_DELETES, Block, unpack
from crdt.errors import ProtocolError
from crdt.fold import fold
from crdt.gate import split
from crdt.index import Index
from crdt.update import parse_state_vector, parse_update
from tests.unit.crdt.build import author, content, gc, section, string, update

LETTERS = ("a", "bc", "é", "🎉", "👩‍👩‍👧", "漢字")


def history(seed: int, size: int = 60) -> list[bytes]:
    """What three clients send who edit text, map and array and hear one another now and then."""
    random = Random(seed)
    docs: list[Doc[Any]] = [author(client) for client in (200, 3, 2**40)]
    sent: list[bytes] = []
    for _ in range(size):
        doc = random.choice(docs)
        before = doc.get_state()
        kind = random.randrange(5)
        text = doc.get("t", type=Text)
        if kind == 0:
            doc.get("m", type=Map)[random.choice("xy")] = random.randint(0, 9)
        elif kind == 1:
            doc.get("a", type=Array).append({"v": random.choice(LETTERS)})
        else:
            value = str(text)
            at = random.randint(0, len(value))
            start, stop = len(value[:at].encode()), len(value[: at + 2].encode())
            if kind == 2 and stop > start:
                del text[start:stop]
            else:
                text.insert(start, random.choice(LETTERS) * random.choice([1, 1, 40]))
        sent.append(doc.get_update(before))
        for other in docs if random.random() < 0.3 else ():
            other.apply_update(doc.get_update(other.get_state()))
    return [data for data in sent if data != b"\x00\x00"]


def without_pending(updates: list[bytes]) -> Index:
    """Check that each update builds only on those before it; return the index."""
    index = Index()
    for data in updates:
        assert split(data, index).rest is None
        index.add(parse_update(data))
    return index


@pytest.mark.parametrize("chunk_bytes", [1, 64, 1000, 1 << 20])
@pytest.mark.parametrize("seed", range(4))
def test_chunks_apply_one_by_one(seed: int, chunk_bytes: int) -> None:
    sent = history(seed)
    chunks = unpack(fold([], sent, chunk_bytes))
    doc = author(1)
    index = Index()
    for data in chunks:
        assert split(data, index).rest is None
        doc.apply_update(data)
        index.add(parse_update(data))
        assert parse_state_vector(doc.get_state(), 99) == index.clocks
    assert content(doc) == content(author(2, *sent))
    assert (len(chunks) == 1) == (chunk_bytes > 10_000)


@pytest.mark.parametrize("seed", range(6))
def test_a_diff_by_state_vector_is_what_the_reader_lacks(seed: int) -> None:
    sent = history(seed)
    wanted = content(author(9, *sent))
    block = Block.from_bytes(fold([], sent, chunk_bytes=100))
    for known in range(0, len(sent), 3):
        for limit in (1, 500, 1 << 20):
            reader = author(10, *sent[:known])
            for data in block.updates(parse_state_vector(reader.get_state(), 99), limit):
                reader.apply_update(data)
            assert content(reader) == wanted
            assert parse_state_vector(reader.get_state(), 99) == block.state


def test_a_small_diff_is_cut_from_a_large_block_at_a_mark() -> None:
    structs = [string("a", (1, at - 1), (2, 0)) if at % 2 else gc(1) for at in range(1, 9000)]
    block = Block.from_bytes(fold([], [update(section(2, 0, string("z")), section(1, 0, string("b"), *structs))]))
    assert len(block.chunks) == 1
    marks = [mark for span in block.chunks[0].spans for mark in span.marks]
    assert len(marks) // 3 > 10
    for known in (1, 2, 777, 8990, 8999):
        (diff,) = block.updates({1: known, 2: 1}, 1 << 20)
        assert parse_update(diff).ranges == [(1, known, 9000)]
    assert list(block.updates({1: 9000, 2: 1}, 1 << 20)) == []
    assert list(block.updates({1: 10_000, 2: 1, 5: 5}, 1 << 20)) == []


@pytest.mark.parametrize("known", range(10))
def test_a_state_vector_inside_a_struct(known: int) -> None:
    """The whole struct is sent; a reader takes what it lacks of it. An emoji is two clocks."""
    value = "ab🎉cd🎉é"
    block = Block.from_bytes(fold([], [update(section(1, 0, string(value)))]))
    if known == 0:
        assert list(block.updates({1: 0}, 100)) == unpack(block.to_bytes())
        return
    diff = list(block.updates({1: known}, 100))
    prefix = value.encode("utf-16-le")[: known * 2].decode("utf-16-le", "ignore")
    reader = author(7, update(section(1, 0, string(prefix))))
    for data in diff:
        reader.apply_update(data)
    if len(prefix.encode("utf-16-le")) == known * 2:
        assert str(reader.get("t", type=Text)) == value
    assert (diff == []) == (known >= 9)


def test_deletes_go_to_everybody_who_has_something() -> None:
    block = Block.from_bytes(fold([], [update(section(1, 0, string("abc")), deletes={1: [(1, 1)]})]))
    assert list(block.updates({1: 3}, 100)) == [update(deletes={1: [(1, 1)]})]
    assert list(block.updates({5: 1}, 100))[-1].endswith(update(deletes={1: [(1, 1)]})[1:])


@pytest.mark.parametrize("chunk_bytes", [1, 64, 1 << 20])
@pytest.mark.parametrize("seed", range(4))
def test_a_block_as_one_update(seed: int, chunk_bytes: int) -> None:
    sent = history(seed)
    block = Block.from_bytes(fold([], sent, chunk_bytes))
    assert content(author(9, block.whole())) == content(author(10, *sent))
    assert sorted(parse_update(block.whole()).deletes) == sorted(parse_update(fold_one(sent)).deletes)


def fold_one(sent: list[bytes]) -> bytes:
    """Everything in one chunk."""
    (chunk,) = unpack(fold([], sent, 1 << 30))
    return chunk


def test_what_a_reader_may_lack_is_not_underestimated() -> None:
    sent = history(5)
    block = Block.from_bytes(fold([], sent, chunk_bytes=100))
    for known in range(0, len(sent), 3):
        state = parse_state_vector(author(10, *sent[:known]).get_state(), 99)
        pieces = sum(len(data) for data in block.updates(state, 1 << 30))
        assert block.lacking(state) + 40 * (1 + len(block.state)) >= pieces
    assert block.lacking(block.state) == len(block.deletes)


def test_an_empty_block() -> None:
    block = Block.from_bytes(fold([], []))
    assert (block.chunks, block.state, block.size, block.deletes) == ([], {}, 0, NO_DELETES)
    assert list(block.updates({}, 1)) == list(block.updates({1: 1}, 1)) == []


def test_bytes_are_read_back() -> None:
    data = fold([], history(3), chunk_bytes=200)
    block = Block.from_bytes(data)
    assert block.to_bytes() == data
    assert block.size == sum(map(len, unpack(data)))
    assert without_pending(unpack(data)).clocks == block.state


def test_blocks_of_another_version_are_refused() -> None:
    with pytest.raises(ProtocolError, match="format 2"):
        Block.from_bytes(msgpack.packb((2, NO_DELETES, [])))


GOOD = fold([], [update(section(1, 0, string("abc")), deletes={1: [(0, 1)]})])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff",
        GOOD[:-1],
        GOOD + b"\x00",
        msgpack.packb(1),
        msgpack.packb([1]),
        msgpack.packb([1, b"\x00", 5]),
        msgpack.packb([1, b"\x00", [1]]),
        msgpack.packb([1, b"\x00", [[b"\x00\x00", [[1, 2]]]]]),
        msgpack.packb([1, b"\x00", [[7, []]]]),
        msgpack.packb({"a": 1}),
        b"\x91" * 2000,
    ],
)
def test_bytes_that_are_no_block_are_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError) as refused:
        Block.from_bytes(data)
    assert refused.value.rule == "block"


@given(st.binary(max_size=80), st.integers(0, len(GOOD)))
def test_any_bytes_open_or_are_refused(data: bytes, at: int) -> None:
    for candidate in (data, GOOD[:at] + data[:3] + GOOD[at + len(data[:3]) :]):
        try:
            Block.from_bytes(candidate)
        except ProtocolError as error:
            assert error.rule == "block"  # noqa: PT017
