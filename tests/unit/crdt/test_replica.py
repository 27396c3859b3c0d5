"""A document as the server holds it: what comes in, what waits, what goes out."""

from __future__ import annotations

from itertools import islice
from random import Random
from typing import Any

import pytest
from pycrdt import Doc, Text

from crdt.block import Block
from crdt.errors import ProtocolError
from crdt.fold import fold
from crdt.gate import BATCH, Intake
from crdt.merge import HEAVY, merge
from crdt.replica import Limits, Outcome, Replica
from crdt.structs import Parts
from crdt.tail import SETTLED, SMALL, WIDTH
from crdt.update import parse_state_vector, parse_update
from tests.unit.crdt.build import author, content, erased, gc, section, seen, state_vector, string, typed, update

ME, YOU = "me", "you"


def flushed(replica: Replica) -> bytes:
    """What the room sends now."""
    data = replica.flush()
    assert data is not None
    return data


def tail(replica: Replica, known: dict[int, int] | None = None, limit: int = 1 << 20) -> list[bytes]:
    """The whole answer from the tail."""
    number, known, out = replica.tail.first, dict(known or {}), []
    while True:
        updates, number = replica.tail_updates(number, known, limit)
        out += updates
        if number == replica.tail.end:
            return out


def synced(replica: Replica, known: dict[int, int] | None = None, limit: int = 1 << 20) -> list[bytes]:
    """All updates of a sync."""
    return [*replica.base_updates(known or {}, limit), *tail(replica, known, limit)]


class Typist:
    """An honest client that types; `sent` has what it sent."""

    def __init__(self, client: int) -> None:
        self.doc: Doc[Any] = author(client)
        self.sent: list[bytes] = []

    def type(self, value: str) -> bytes:
        """Append to the text."""
        self.sent.append(typed(self.doc, value))
        return self.sent[-1]


def test_a_new_update_is_pending_until_it_is_flushed() -> None:
    replica, data = Replica(), update(section(1, 0, string("a")))
    assert replica.receive(data, ME) is Outcome.ACCEPTED
    assert replica.pending == [(data, ME)]
    assert flushed(replica) is data
    assert replica.pending == []
    assert replica.flush() is None
    assert replica.tail.end == 1
    assert parse_state_vector(replica.state_vector(), 9) == {1: 1}


def test_what_is_known_changes_nothing() -> None:
    replica, data = Replica(), update(section(1, 0, string("ab")), deletes={1: [(0, 1)]})
    replica.receive(data, ME)
    version = replica.version
    for again in (data, update(section(1, 0, string("a"))), b"\x00\x00", update(deletes={1: [(0, 1)]})):
        assert replica.receive(again, YOU) is Outcome.KNOWN
        assert replica.is_known(again)
    assert (replica.version, len(replica.pending)) == (version, 1)


def test_updates_of_one_flush_are_merged() -> None:
    replica, typist = Replica(), Typist(4)
    for letter in "hello":
        replica.receive(typist.type(letter), ME)
    data = flushed(replica)
    assert seen(data) == "hello"
    assert parse_update(data).ranges == [(4, 0, 5)]


@pytest.mark.parametrize("bad", [b"", b"\x01", update(section(1, 0, gc(0)))])
def test_refused_bytes_change_nothing(bad: bytes) -> None:
    replica = Replica()
    with pytest.raises(ProtocolError):
        replica.receive(bad, ME)
    assert (replica.version, replica.pending, replica.held) == (0, [], [])


def test_an_early_update_waits_and_goes_out_when_it_is_complete() -> None:
    replica, typist = Replica(), Typist(4)
    first, second, third = (typist.type(letter) for letter in "abc")
    assert replica.receive(third, ME) is Outcome.HELD
    assert replica.receive(second, ME) is Outcome.HELD
    assert replica.flush() is None
    assert replica.holds_from(ME)
    assert not replica.holds_from(YOU)
    assert replica.held_size == len(second) + len(third)
    assert replica.receive(first, YOU) is Outcome.ACCEPTED
    assert [source for _, source in replica.pending] == [YOU, ME, ME]
    assert seen(flushed(replica)) == "abc"
    assert (replica.held, replica.held_size) == ([], 0)


def test_the_complete_part_goes_out_at_once() -> None:
    replica = Replica()
    data = update(section(1, 0, string("a"), string("c", (9, 9))), deletes={1: [(0, 1)], 8: [(0, 1)]})
    assert replica.receive(data, ME) is Outcome.HELD
    assert flushed(replica) == update(section(1, 0, string("a")), deletes={1: [(0, 1)]})
    assert replica.receive(update(section(8, 0, gc(1))), YOU) is Outcome.ACCEPTED
    assert replica.receive(update(section(9, 0, gc(10))), YOU) is Outcome.ACCEPTED
    replica.flush()
    assert not replica.held
    assert replica.index.deleted(8, 0, 1)
    assert replica.index.clocks == {1: 2, 8: 1, 9: 10}


def test_everybody_who_sent_what_waits_is_remembered() -> None:
    """A barrier of any of them must not be confirmed before it is there."""
    replica, early = Replica(), update(section(1, 1, gc(1)))
    assert replica.receive(early, ME) is Outcome.HELD
    assert replica.receive(early, YOU) is Outcome.HELD
    assert replica.holds_from(ME)
    assert replica.holds_from(YOU)
    assert len(replica.held) == 1
    replica.receive(update(section(1, 0, gc(1))), "third")
    assert not replica.holds_from(ME)
    assert not replica.holds_from(YOU)
    assert [source for _, source in replica.pending] == ["third", ME]


def test_what_a_gone_sender_left_waits_until_its_place_is_needed() -> None:
    replica = Replica(Limits(held_updates=2))
    early = [update(section(client, 1, gc(1))) for client in (1, 2, 3)]
    replica.receive(early[0], ME)
    replica.receive(early[1], ME)
    replica.receive(early[1], YOU)
    replica.leave(ME)
    assert len(replica.held) == 2
    assert replica.receive(early[2], YOU) is Outcome.HELD
    assert [held.data for held in replica.held] == [early[1], early[2]]
    assert replica.held_size == len(early[1]) + len(early[2])
    replica.receive(update(section(2, 0, gc(1))), YOU)
    assert [source for _, source in replica.pending] == [YOU, ME], "whoever sent it first wrote it"


@pytest.mark.parametrize("limits", [Limits(held_updates=2), Limits(held_bytes=16)])
def test_what_waits_is_bounded(limits: Limits) -> None:
    replica = Replica(limits)
    early = [update(section(client, 1, gc(1))) for client in (1, 2, 3)]
    assert [replica.receive(data, ME) for data in early] == [Outcome.HELD, Outcome.HELD, Outcome.OVERFLOW]
    assert replica.receive(early[0], ME) is Outcome.HELD
    version = replica.version
    mixed = update(section(7, 0, gc(1), string("x", (8, 8))))
    assert replica.receive(mixed, ME) is Outcome.OVERFLOW
    assert (replica.version, replica.pending) == (version, [])


def test_limits_of_a_document() -> None:
    replica = Replica(Limits(max_update=40, max_bytes=30, max_clients=2))
    for data, rule in (
        (update(section(1, 0, string("a" * 60))), "update-size"),
        (update(section(1, 0, string("a" * 25))), "document-size"),
        (update(section(1, 0, gc(1)), section(2, 0, gc(1)), section(3, 0, gc(1))), "document-clients"),
    ):
        with pytest.raises(ProtocolError) as refused:
            replica.receive(data, ME)
        assert refused.value.rule == rule
    assert replica.receive(update(section(1, 0, gc(1)), section(2, 0, gc(1))), ME) is Outcome.ACCEPTED
    assert replica.receive(update(section(1, 1, gc(1)), section(2, 1, gc(1))), ME) is Outcome.ACCEPTED


def test_deletes_of_a_document_are_limited() -> None:
    replica = Replica(Limits(max_deletes=3))
    replica.receive(update(section(1, 0, gc(9)), deletes={1: [(0, 1), (2, 1)]}), ME)
    for receive in (replica.receive, lambda data, source: in_steps(replica, data, source, 1)):
        with pytest.raises(ProtocolError, match="document-deletes"):
            receive(update(deletes={1: [(4, 1), (6, 1)]}), ME)
    assert replica.receive(update(deletes={1: [(8, 1)]}), ME) is Outcome.ACCEPTED
    assert replica.receive(update(section(1, 9, gc(1))), ME) is Outcome.ACCEPTED


def test_a_returning_reader_gets_deletes_that_no_summary_lists() -> None:
    replica = Replica()
    replica.receive(update(section(1, 0, gc(1000))), ME)
    replica.receive(update(section(2, 0, gc(9)), deletes={1: [(3 * at, 1) for at in range(100)]}), ME)
    replica.flush()
    reader = Replica()
    reader.receive(update(section(1, 0, gc(1000)), section(2, 0, gc(9))), ME)
    for data in synced(replica, {1: 1000, 2: 9}):
        reader.receive(data, ME)
    assert reader.index.encode_deletes() == replica.index.encode_deletes()


def test_empty_strings_reach_nobody() -> None:
    replica = Replica()
    replica.receive(update(section(1, 0, string("a"))), ME)
    assert replica.receive(update(section(1, 1, string("", (1, 0)))), ME) is Outcome.KNOWN
    assert replica.receive(update(section(1, 1, string("", (1, 0)), string("b", (1, 0)))), ME) is Outcome.ACCEPTED
    assert replica.receive(update(section(2, 0, string("", (9, 9)))), ME) is Outcome.KNOWN
    assert flushed(replica) == update(section(1, 0, string("a"), string("b", (1, 0))))


@pytest.mark.parametrize("limit", [1, 200, 1 << 20])
def test_a_reader_gets_the_tail_in_causal_order_whatever_its_sizes(limit: int) -> None:
    """Fed out of order an engine has structs pending, and yrs loses some of them."""
    replica, one, two = Replica(), Typist(4), Typist(5)
    for number in range(40):
        typist, other = (one, two) if number % 2 else (two, one)
        data = typist.type("x" * (20_000 if number % 7 == 3 else 3))
        other.doc.apply_update(data)
        replica.receive(data, ME)
        replica.flush()
    updates = synced(replica, None, limit)
    reader = Replica()
    for data in updates:
        assert reader.receive(data, ME) in (Outcome.ACCEPTED, Outcome.KNOWN)
    assert seen(*updates) == str(one.doc.get("t", type=Text))


def test_a_returning_reader_gets_what_it_lacks() -> None:
    replica, one, two = Replica(), Typist(4), Typist(5)
    for data in (one.type("a" * 2000), two.type("b" * 2000)):
        replica.receive(data, ME)
    replica.flush()
    reader = author(99, *one.sent)
    answer = synced(replica, {4: 2000})
    assert sum(map(len, answer)) < 2100
    for data in answer:
        reader.apply_update(data)
    assert content(reader) == content(author(98, *one.sent, *two.sent))


def test_deletes_are_sent_to_those_who_have_all_structs() -> None:
    replica, typist = Replica(), Typist(4)
    replica.receive(typist.type("hello"), ME)
    replica.flush()
    replica.receive(erased(typist.doc, 0, 2), ME)
    replica.flush()
    assert seen(typist.sent[0], *synced(replica, {4: 5})) == "llo"


def test_a_full_sync_is_prepared_once() -> None:
    replica, typist = Replica(), Typist(4)
    for letter in "abc":
        replica.receive(typist.type(letter), ME)
        replica.flush()
    assert tail(replica)[0] is tail(replica)[0]
    replica.receive(typist.type("d"), ME)
    replica.flush()
    assert seen(*tail(replica)) == "abcd"


def test_what_is_heavy_is_not_merged_again_and_again() -> None:
    """Neither by its bytes nor by its deletes; the order stays."""
    replica = Replica()
    replica.receive(update(section(9, 0, gc(100_000))), ME)
    sent = 0
    for number in range(200):
        if number % 20 == 7:
            data = update(section(1, sent, string("x" * SETTLED)))
            sent += SETTLED
        elif number % 20 == 14:
            many = [(number * 100 + 2 * at, 1) for at in range(40)]
            data = update(deletes={9: many, **{1000 + client: [(0, 1)] for client in range(HEAVY)}})
            replica.receive(update(*(section(1000 + client, 0, gc(1)) for client in range(HEAVY))), ME)
            replica.flush()
        else:
            data = update(section(1, sent, string("x")))
            sent += 1
        replica.receive(data, ME)
        replica.flush()
    pieces = replica.tail.pieces()
    assert 20 <= len(pieces) <= 60
    assert len({id(piece.data) for piece in pieces} & {id(data) for data in replica.tail.items}) >= 11
    reader = Replica()
    for piece in pieces:
        assert reader.receive(piece.data, ME) is Outcome.ACCEPTED
    assert reader.index.clocks == replica.index.clocks
    assert reader.index.encode_deletes() == replica.index.encode_deletes()
    replica.tail.drop(100)
    assert b"".join(piece.data for piece in replica.tail.pieces()) != b""


def test_the_tail_from_any_number_on() -> None:
    """Whole, in order and without anything that stands before it, merged or as it came, small or not."""
    replica = Replica()
    for number in range(90):
        size = SMALL + 1 if number % 7 == 3 else 1
        at = replica.index.clocks.get(4, 0)
        replica.receive(update(section(4, at, string("x" * size))), ME)
        replica.flush()
    whole = replica.tail
    for first in (0, 40):
        whole.drop(first)
        assert [whole.piece(number).data for number in range(first, whole.end)] == whole.items
        for number in range(first, whole.end + 1):
            pieces = list(whole.since(number))
            assert sum(piece.count for piece in pieces) == whole.end - number
            rest = merge([piece.data for piece in pieces])
            assert rest == merge(whole.items[number - first :])
            for piece in pieces:
                assert piece.update.ranges == parse_update(piece.data).ranges
    assert len(list(whole.since(40))) < 2 * WIDTH


def test_an_empty_document_answers_with_an_empty_update() -> None:
    assert synced(Replica()) == [b"\x00\x00"]


def stored(texts: list[str]) -> tuple[Replica, Typist]:
    """A replica with one flush per text."""
    replica, typist = Replica(), Typist(4)
    for value in texts:
        replica.receive(typist.type(value), ME)
        replica.flush()
    return replica, typist


def test_loading_what_was_stored() -> None:
    replica, typist = stored(["ab", "cd", "ef"])
    block = Block.from_bytes(fold([], typist.sent[:2]))
    again = Replica()
    again.load([block], [typist.sent[2], typist.sent[0], typist.sent[2]])
    assert again.state_vector() == replica.state_vector()
    assert again.tail.end == 3
    assert seen(*synced(again)) == "abcdef"
    assert again.receive(typist.sent[1], ME) is Outcome.KNOWN


def test_stored_updates_may_come_in_any_order_within_a_batch() -> None:
    """Records are merged per author, so one of them may build on the next."""
    _, typist = stored(["ab", "cd", "ef"])
    replica = Replica()
    replica.load([], typist.sent[::-1])
    assert seen(*synced(replica)) == "abcdef"
    assert replica.tail.end == 3


def test_a_store_with_a_hole_is_not_served() -> None:
    _, typist = stored(["ab", "cd"])
    with pytest.raises(ProtocolError, match="hole"):
        Replica().load([], typist.sent[1:])


def test_what_was_stored_loads_whatever_the_limits_are_now() -> None:
    _, typist = stored(["ab" * 50, "cd"])
    replica = Replica(Limits(max_bytes=1, max_update=1, max_clients=0, held_updates=0))
    replica.load([], typist.sent)
    assert seen(*synced(replica)) == "ab" * 50 + "cd"
    with pytest.raises(ProtocolError):
        replica.receive(typist.type("more"), ME)


@pytest.mark.parametrize("covered", range(5))
def test_rebasing_changes_nothing_for_any_reader(covered: int) -> None:
    replica, typist = stored(["ab", "cd", "ef", "gh"])
    before = replica.version
    replica.rebase([Block.from_bytes(fold([], typist.sent[:covered]))], covered)
    assert replica.version > before
    assert replica.tail.first == covered
    assert seen(*synced(replica)) == "abcdefgh"
    for known in range(9):
        reader = author(99, *typist.sent[: known // 2])
        state = parse_state_vector(reader.get_state(), 9)
        assert seen(*typist.sent[: known // 2], *synced(replica, state)) == "abcdefgh"


@pytest.mark.parametrize("taken", range(4))
def test_a_sync_goes_on_when_the_blocks_are_replaced_under_it(taken: int) -> None:
    """Typed at the front, so that no two structs become one and every chunk is an update."""
    replica, doc = Replica(), author(4)
    sent = [typed(doc, letter * 50, 0) for letter in "abcdefgh"]
    for data in sent:
        replica.receive(data, ME)
        replica.flush()
    replica.rebase([Block.from_bytes(fold([], sent[:4], chunk_bytes=1))], 4)
    updates = replica.base_updates({}, 1)
    got = list(islice(updates, taken))
    replica.rebase([Block.from_bytes(fold([], sent[:6], chunk_bytes=1))], 6)
    got += updates
    assert len(got) >= 6
    assert seen(*got, *tail(replica)) == "".join(letter * 50 for letter in "hgfedcba")


@pytest.mark.parametrize("seed", range(12))
def test_delivered_in_any_order_with_duplicates_it_is_the_same_document(seed: int) -> None:
    random = Random(seed)
    typists = [Typist(client) for client in (4, 5, 6)]
    sent: list[bytes] = []
    for _ in range(30):
        typist = random.choice(typists)
        length = len(typist.doc.get("t", type=Text))
        if length > 3 and random.random() < 0.3:
            start = random.randrange(length - 2)
            sent.append(erased(typist.doc, start, start + 2))
        else:
            sent.append(typed(typist.doc, random.choice("abcdef") * random.randint(1, 3), random.randint(0, length)))
        for data in sent if random.random() < 0.5 else ():
            random.choice(typists).doc.apply_update(data)
    replica, live = Replica(), Doc[Any](client_id=99)
    shuffled = [*sent, *random.choices(sent, k=10)]
    random.shuffle(shuffled)
    for data in shuffled:
        assert replica.receive(data, ME) in (Outcome.ACCEPTED, Outcome.KNOWN, Outcome.HELD)
        if random.random() < 0.4 and (out := replica.flush()) is not None:
            live.apply_update(out)
    if (out := replica.flush()) is not None:
        live.apply_update(out)
    assert not replica.held
    wanted = content(author(98, *sent))
    assert content(live) == wanted
    assert content(author(97, *synced(replica))) == wanted
    assert live.get_state() == author(96, *sent).get_state() or parse_state_vector(live.get_state(), 9) == (
        parse_state_vector(author(96, *sent).get_state(), 9)
    )


def test_the_state_vector_holds_every_client() -> None:
    replica = Replica()
    replica.receive(update(section(7, 0, gc(3)), section(2**53 - 1, 0, gc(1))), ME)
    assert replica.state_vector() == state_vector({7: 3, 2**53 - 1: 1})


def test_struct_bytes_pass_unchanged() -> None:
    odd = b"\x84\x81\x80\x00\x80\x00\x03odd"
    replica = Replica()
    replica.receive(update(section(1, 0, string("a"))), ME)
    replica.receive(update(section(1, 1, odd)), ME)
    data = flushed(replica)
    assert data == update(section(1, 0, string("a"), odd))
    assert tail(replica) == [data]
    assert [struct.length for struct in Parts(data).sections[1]] == [1, 3]


def in_steps(replica: Replica, data: bytes, source: object, budget: int) -> Outcome:
    """Take an update in steps."""
    intake = replica.begin(data, source)
    while True:
        outcome = replica.advance(intake, budget)
        if outcome is not None:
            while replica.stirred:
                replica.retry(budget)
            return outcome


@pytest.mark.parametrize("seed", range(8))
def test_many_updates_in_steps_that_come_between_one_another_make_the_same_document(seed: int) -> None:
    """Also the same update twice at a time, and early ones."""
    random = Random(seed)
    typists = [Typist(client) for client in (4, 5, 6)]
    sent: list[bytes] = []
    for _ in range(40):
        typist = random.choice(typists)
        length = len(typist.doc.get("t", type=Text))
        if length > 3 and random.random() < 0.3:
            start = random.randrange(length - 2)
            sent.append(erased(typist.doc, start, start + 2))
        else:
            sent.append(typed(typist.doc, random.choice("abcdef") * random.randint(1, 3), random.randint(0, length)))
        for data in sent if random.random() < 0.5 else ():
            random.choice(typists).doc.apply_update(data)
    sent += [typist.doc.get_update() for typist in typists]
    replica, live = Replica(), Doc[Any](client_id=99)
    waiting = [*sent, *random.choices(sent, k=20)]
    random.shuffle(waiting)
    intakes: list[Intake] = []
    while waiting or intakes or replica.stirred:
        if waiting and len(intakes) < 4:
            intakes.append(replica.begin(waiting.pop(), random.choice([ME, YOU])))
        for intake in list(intakes):
            if replica.advance(intake, random.choice([1, 2, 9])) is not None:
                intakes.remove(intake)
        if random.random() < 0.2:
            replica.retry(random.choice([1, 20]))
        if random.random() < 0.2 and (out := replica.flush()) is not None:
            live.apply_update(out)
    if (out := replica.flush()) is not None:
        live.apply_update(out)
    assert not replica.held
    assert replica.held_size == 0
    wanted = content(author(98, *sent))
    assert content(live) == wanted
    assert content(author(97, *synced(replica))) == wanted
    assert parse_state_vector(replica.state_vector(), 9) == parse_state_vector(author(96, *sent).get_state(), 9)


@pytest.mark.parametrize("budget", [1, 1 << 40])
def test_outcomes_in_steps(budget: int) -> None:
    replica = Replica(Limits(held_updates=1, max_bytes=60))
    assert in_steps(replica, update(section(1, 0, gc(2))), ME, budget) is Outcome.ACCEPTED
    assert in_steps(replica, update(section(1, 0, gc(1))), ME, budget) is Outcome.KNOWN
    assert in_steps(replica, update(section(1, 0, gc(3)), section(2, 1, gc(1))), ME, budget) is Outcome.HELD
    assert replica.index.clocks == {1: 3}
    version = replica.version
    assert in_steps(replica, update(section(1, 0, gc(4)), section(3, 1, gc(1))), YOU, budget) is Outcome.OVERFLOW
    assert replica.version == version
    with pytest.raises(ProtocolError, match="document-size"):
        in_steps(replica, update(section(4, 0, string("x" * 80))), ME, budget)
    assert in_steps(replica, update(section(2, 0, gc(1))), YOU, budget) is Outcome.ACCEPTED
    assert not replica.held


def test_two_who_bring_the_same_do_not_bring_it_twice() -> None:
    """Both were ready when the other was accepted."""
    replica = Replica()
    data = update(section(1, 0, string("abc")), section(2, 0, string("x", (1, 1))), deletes={1: [(0, 1)]})
    one, two = replica.begin(data, ME), replica.begin(data, YOU)
    outcomes: set[Outcome | None] = set()
    while len(outcomes) < 3:
        outcomes |= {replica.advance(one, 1), replica.advance(two, 1)}
    assert outcomes == {None, Outcome.ACCEPTED, Outcome.KNOWN}
    assert flushed(replica) == data


def test_what_waited_is_looked_at_in_steps() -> None:
    replica = Replica()
    for client in range(10, 20):
        assert replica.receive(update(section(client, 0, string("x", (1, 0)), *[gc(1)] * 10_000)), ME) is Outcome.HELD
    assert replica.receive(update(section(1, 0, gc(1))), YOU, 1000) is Outcome.ACCEPTED
    assert len(replica.held) > 5
    steps = 0
    while replica.stirred:
        replica.retry(1000)
        steps += 1
    assert steps > 100
    assert (len(replica.held), replica.held_size) == (0, 0)
    assert len(replica.index.clocks) == 11
    assert len(replica.pending) == 11


def test_what_waited_and_has_no_room_in_the_document_is_forgotten() -> None:
    replica = Replica(Limits(max_clients=2))
    early = update(section(2, 0, string("x", (1, 1))))
    assert replica.receive(early, ME) is Outcome.HELD
    replica.receive(update(section(1, 0, gc(1)), section(3, 0, gc(1))), YOU)
    assert replica.receive(update(section(1, 1, gc(1))), YOU) is Outcome.ACCEPTED
    assert replica.index.clocks == {1: 2, 3: 1}
    assert (replica.held, replica.held_size) == ([], 0)


@pytest.mark.parametrize("budget", [1, 50, 1 << 40])
def test_stored_updates_in_steps(budget: int) -> None:
    """Early ones and such as hold nothing new among them; what lies beyond the limits too."""
    _, typist = stored(["ab", "cd", "ef"])
    many = update(section(9, 0, gc(2 * BATCH + 99)), deletes={9: [(2 * at, 1) for at in range(BATCH + 9)]})
    updates = [typist.sent[1], many, typist.sent[0], typist.sent[0], typist.sent[2]]
    replica = Replica(Limits(max_bytes=1, max_update=1, max_clients=0, held_updates=0, max_deletes=1))
    ends = []
    for data in updates:
        intake = replica.begin_load(data)
        while not replica.advance_load(intake, max(budget, len(data) // 50)):
            pass
        ends.append(replica.tail.end)
    replica.check_loaded()
    assert ends == [0, 2, 4, 4, 5]
    assert seen(*synced(replica)) == "abcdef"
    whole = Replica()
    whole.load([], updates)
    assert replica.index.clocks == whole.index.clocks
    assert replica.index.encode_deletes() == whole.index.encode_deletes()
    assert replica.held_size == 0


def test_stored_bytes_that_are_no_update_are_noticed_in_steps() -> None:
    replica = Replica()
    intake = replica.begin_load(b"\x01\x01\x01\x00\x00\x00\x00")
    with pytest.raises(ProtocolError, match="length"):
        replica.advance_load(intake, 9)


@pytest.mark.parametrize("budget", [1, 10])
def test_nothing_that_is_complete_is_left_waiting(budget: int) -> None:
    """However small the steps are, and whatever is accepted between them."""
    replica = Replica()
    for clock in range(60, 0, -1):
        assert replica.receive(update(section(1, clock, gc(1))), ME) is Outcome.HELD
    replica.receive(update(section(1, 0, gc(1))), YOU, 0)
    other = 0
    while replica.stirred:
        replica.retry(budget)
        if other < 20:
            replica.receive(update(section(2, other, gc(1))), YOU, 0)
            other += 1
    assert (replica.held, replica.held_size) == ([], 0)
    assert replica.index.clocks == {1: 61, 2: 20}
