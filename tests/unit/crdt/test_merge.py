"""Merging: joined bytes, structs untouched, and the same document as the updates one by one."""

from __future__ import annotations

from random import Random

import pytest
from pycrdt import Text

from crdt.errors import ProtocolError
from crdt.merge import FAN_IN, join, merge
from crdt.structs import Parts
from crdt.update import EMPTY_UPDATE, LISTED, Update, parse_update
from tests.unit.crdt.build import (
    any_item,
    author,
    erased,
    gc,
    item,
    num,
    section,
    seen,
    skip,
    string,
    text,
    typed,
    update,
)


def same_summary(data: bytes, summary: Update) -> bool:
    """Whether a summary says what parsing would say, references left aside."""
    parsed = parse_update(data)
    return all(
        getattr(parsed, name) == getattr(summary, name)
        for name in ("ranges", "deletes", "bodies", "sections", "deletes_at")
    )


def test_nothing_and_one() -> None:
    assert merge([]) == EMPTY_UPDATE
    data = update(section(1, 0, gc(1)))
    assert merge([data]) is data


def test_struct_bytes_are_joined_as_they_came() -> None:
    """Padded integers, a subdocument's options, a NaN: whatever they are, no byte of them is written anew."""
    options = b"\x76\x01" + text("meta") + b"\x7b\x7f\xf8\x00\x00\x00\x00\x00\x01"
    structs = [item(9, text("guid") + options), b"\x84\x81\x00\x80\x00" + text("pad"), any_item(b"\x7d\x80\x00")]
    updates = [update(section(1, 0, structs[0])), update(section(1, 1, structs[1])), update(section(1, 4, structs[2]))]
    joined, summary = join(updates, [parse_update(data) for data in updates])
    assert joined == update(section(1, 0, *structs))
    assert same_summary(joined, summary)
    assert merge([updates[2], updates[0], updates[1]]) == joined


def test_typing_of_several_is_joined_as_anything_else() -> None:
    """What goes on where it was takes a short way, to the same bytes and the same summary."""
    updates = [update(section(300 + number % 3, number // 3, gc(1))) for number in range(30)]
    updates.append(update(section(301, 10, gc(2), gc(1)), section(1 << 40, 0, gc(200))))
    parsed = [parse_update(data) for data in updates]
    joined, summary = join(updates, parsed)
    expected = [section(300, 0, *[gc(1)] * 10), section(301, 0, *[gc(1)] * 10, gc(2), gc(1))]
    expected += [section(302, 0, *[gc(1)] * 10), section(1 << 40, 0, gc(200))]
    assert joined == update(*expected)
    assert same_summary(joined, summary)
    assert join(updates[::-1], parsed[::-1])[0] == update(*expected[1::2], expected[2], expected[0])
    assert join([], [])[0] == EMPTY_UPDATE


def test_summaries_share_what_is_empty() -> None:
    """A keystroke neither deletes nor needs anything of others; one that does leaves the others alone."""
    plain = parse_update(update(section(1, 0, gc(1))))
    needing = parse_update(update(section(1, 0, string("a", (2, 7))), deletes={3: [(0, 1)]}))
    assert (needing.needs, needing.deletes) == ({2: 8}, [(3, 0, 1)])
    assert plain.needs is parse_update(update(section(2, 0, gc(1)))).needs
    assert plain.needs == {}
    assert plain.deletes == []


def test_sections_of_many_clients_and_deletes_are_united() -> None:
    updates = [
        update(section(5, 0, string("a")), deletes={5: [(3, 1)], 4: [(0, 1)]}),
        update(section(4, 7, gc(1)), section(5, 1, string("b", (5, 0))), deletes={5: [(4, 2)]}),
        update(deletes={5: [(0, 1)]}),
    ]
    joined, summary = join(updates, [parse_update(data) for data in updates])
    assert joined == update(
        section(5, 0, string("a"), string("b", (5, 0))),
        section(4, 7, gc(1)),
        deletes={5: [(0, 1), (3, 3)], 4: [(0, 1)]},
    )
    assert same_summary(joined, summary)


def test_a_hole_between_updates_becomes_a_skip() -> None:
    updates = [update(section(1, 0, gc(2))), update(section(1, 5, gc(1)))]
    joined, summary = join(updates, [parse_update(data) for data in updates])
    assert joined == update(section(1, 0, gc(2), skip(3), gc(1)))
    assert same_summary(joined, summary)
    assert summary.ranges == [(1, 0, 2), (1, 5, 6)]


def test_an_update_twice_is_there_once() -> None:
    data = update(section(1, 0, string("abc")))
    part = update(section(1, 0, string("ab")))
    assert merge([data, data]) == data
    assert merge([part, data]) == data
    assert merge([data, part]) == data


def test_updates_that_share_a_part_of_a_struct() -> None:
    first, second = update(section(1, 0, string("abc"))), update(section(1, 2, string("cde", (1, 1))))
    data, summary = join([first, second], [parse_update(first), parse_update(second)])
    assert same_summary(data, summary)
    assert seen(data) == seen(first, second) == "abcde"


def test_updates_with_skips_are_merged() -> None:
    first, second = (
        update(section(1, 0, string("a"), skip(1), string("c", (1, 1)))),
        update(section(1, 1, string("b", (1, 0)))),
    )
    assert seen(merge([first, second])) == seen(merge([second, first])) == "abc"


@pytest.mark.parametrize("seed", range(8))
def test_merged_in_any_order_it_is_the_same_document(seed: int) -> None:
    random = Random(seed)
    docs = [author(client) for client in (11, 12, 13)]
    sent: list[bytes] = []
    for _ in range(FAN_IN + 8):
        doc = random.choice(docs)
        length = len(doc.get("t", type=Text))
        if length > 2 and random.random() < 0.3:
            at = random.randrange(length - 1)
            sent.append(erased(doc, at, at + 1))
        else:
            sent.append(typed(doc, random.choice("abcdefg") * random.randint(1, 4), random.randint(0, length)))
        if random.random() < 0.4:
            receiver = random.choice(docs)
            for data in sent:
                receiver.apply_update(data)
    wanted = seen(*sent)
    shuffled = [*sent, *random.sample(sent, 5)]
    random.shuffle(shuffled)
    merged = merge(shuffled)
    assert seen(merge(sent)) == wanted
    assert seen(merged) == wanted
    assert merge([merge(sent[:20]), merge(sent[20:])]) == merge(sent)
    assert sorted(Parts(merged).deletes.items()) == sorted(Parts(merge(sent)).deletes.items())


def test_more_updates_than_the_engine_gets_at_once() -> None:
    """Overlapping updates go to pycrdt in a tree of fan-in 32."""
    whole = "".join(chr(97 + at % 26) for at in range(FAN_IN * 3))
    updates = [update(section(1, 0, string(whole[:2])))]
    updates += [update(section(1, at, string(whole[at : at + 2], (1, at - 1)))) for at in range(1, len(whole) - 1)]
    assert seen(merge(updates)) == whole


@pytest.mark.parametrize("bad", [b"", b"\x00", update(section(1, 0, gc(0)))])
def test_bytes_that_are_no_update_are_refused(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        merge([EMPTY_UPDATE, bad])


def test_deletes_of_many_ranges_are_united_at_once() -> None:
    count = 100_000
    backwards = b"".join(num(4 * at) + b"\x01" for at in range(count, 0, -1))
    data = b"\x00\x01" + num(1) + num(count) + backwards
    assert len(parse_update(merge([data, data])).deletes) == count


def test_summaries_keep_no_list_of_many_deletes() -> None:
    """The deletes are read from the bytes when they are needed: nothing else changes."""
    many = [(3 * at, 1) for at in range(LISTED + 1)]
    updates = [
        update(section(1, 0, gc(1000)), deletes={1: many}),
        update(section(2, 0, gc(9)), deletes={2: [(1, 2)], 1: [(999, 1)]}),
    ]
    parsed = [parse_update(data) for data in updates]
    wanted = join(updates, parsed)[0]
    for summary in parsed:
        summary.unlist_deletes()
    assert [(len(summary.deletes), summary.unlisted) for summary in parsed] == [(0, LISTED + 1), (2, 0)]
    data, joined = join(updates, parsed)
    assert data == wanted
    assert (joined.deletes, joined.unlisted) == ([], LISTED + 3)
    assert joined.deletes_in(data) == parse_update(data).deletes
