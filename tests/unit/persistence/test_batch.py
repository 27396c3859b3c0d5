"""What is new in a batch: repeated, overtaken and missing updates."""

import random

import pytest
from pycrdt import Doc, Text, merge_updates

from crdt.block import unpack
from crdt.errors import ProtocolError
from crdt.fold import fold
from persistence.batch import Batch
from persistence.sandbox_child import JOBS

# A Yjs client that deletes half of an emoji, inserts beside it, and deletes again (seed lc24-405 of tests/oracle).
# After the last update the state vector of Yjs is 24, that of a yrs document 23.
HALF_AN_EMOJI = [
    bytes.fromhex(text.replace("C", "dcc293f80e"))
    for text in (
        "0101C000401017403e2808d00",
        "0001C010001",
        "0103C0184C000161c5C00C010b7b22696d616765223a347d84C01016100",
        "0103C04c6C00C02046c696e6b127b2268726566223a2278222c226e223a317dc6C02C01046c696e6b046e756c6cc4C01C0302c39f00",
        "0001C010403",
        "0101C0785C030b7b22696d616765223a397d00",
        "0103C08c4C05C0102c39fc4C05C0803e2808dc5C09C080b7b22696d616765223a347d01C010701",
        "0104C0bc6C09C0a05636f6c6f720622626c75652286C0705636f6c6f72046e756c6cc4C08C0108f09f8e89f09f8e89"
        "c4C08C0d0761f09f8e89626100",
        "0001C010e01",
        "0101C16c4C15C0d04f09d949801C0208031102",
    )
]


def typed(client: int, words: list[str], after: tuple[bytes, ...] = ()) -> list[bytes]:
    """One update per word, appended by one client to a text that starts with what `after` makes."""
    doc: Doc[Text] = Doc(client_id=client)
    for update in after:
        doc.apply_update(update)
    text = doc.get("t", type=Text)
    updates: list[bytes] = []
    doc.observe(lambda event: updates.append(event.update))
    for word in words:
        text.insert(len(str(text)), word)
    return updates


def read(updates: list[bytes]) -> str:
    doc: Doc[Text] = Doc()
    for update in updates:
        doc.apply_update(update)
    return str(doc.get("t", type=Text))


FIRST, SECOND, THIRD = typed(1, ["one ", "two ", "three "])
OTHER = typed(2, ["other "])[0]


def test_what_older_blocks_hold_is_left_out() -> None:
    base = fold([], [FIRST, SECOND])
    log = [merge_updates(FIRST, OTHER), THIRD]
    with pytest.raises(ProtocolError, match="hole"):
        fold([], log)  # an old piece and a new piece of client 1, without what is between
    batch = Batch([base], log)
    segment = fold([], batch.fresh)
    batch.verify([base, segment])
    assert read(unpack(base) + unpack(segment)) == read([FIRST, SECOND, OTHER, THIRD])


def test_what_was_logged_twice_goes_in_once() -> None:
    assert Batch([], [FIRST, FIRST, SECOND, FIRST, SECOND]).fresh == [FIRST, SECOND]


@pytest.mark.parametrize("seed", range(5))
def test_updates_that_overtook_one_another_are_put_in_order(seed: int) -> None:
    log = [FIRST, SECOND, THIRD, *typed(3, ["a", "b", "c"], (FIRST, SECOND))]
    shuffled = log.copy()
    random.Random(seed).shuffle(shuffled)
    batch = Batch([], shuffled)
    assert sorted(batch.fresh) == sorted(log)
    assert read(batch.fresh) == read(log)


def test_what_builds_on_nothing_is_refused() -> None:
    with pytest.raises(ProtocolError, match="hole"):
        Batch([], [FIRST, THIRD])


def test_a_block_that_lacks_a_struct_or_a_delete_does_not_pass() -> None:
    deleted = bytes.fromhex("000101010002")  # client 1, clocks 0 and 1
    batch = Batch([], [FIRST, SECOND, deleted])
    batch.verify([fold([], [FIRST, SECOND, deleted])])
    for lacking in ([FIRST], [FIRST, SECOND]):
        with pytest.raises(ProtocolError, match="lacks something"):
            batch.verify([fold([], lacking)])


def test_half_an_emoji_is_no_poison() -> None:
    folded = JOBS["fold"]([], HALF_AN_EMOJI, [])
    assert JOBS["check"]([folded], []) == b""


def test_the_check_refuses_what_a_document_refuses() -> None:
    with pytest.raises(ProtocolError):
        JOBS["check"]([], [FIRST, b"\x01\x01"])
