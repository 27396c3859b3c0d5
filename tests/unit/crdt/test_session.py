"""One connection's side of the protocol: messages in, messages out."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count
from typing import Any

import pytest
from pycrdt import Doc

from crdt.awareness import Presence, encode_awareness, read_awareness
from crdt.block import Block
from crdt.errors import ProtocolError
from crdt.fold import fold
from crdt.replica import Limits, Replica
from crdt.session import Session
from crdt.wire import (
    AWARENESS,
    QUERY_AWARENESS,
    STEP1,
    STEP2,
    SYNC,
    UPDATE,
    awareness_message,
    read_messages,
    saved_message,
    sync_message,
)
from tests.unit.crdt.build import author, content, gc, section, state_vector, string, typed, update

GREETING = sync_message(STEP1, b"\x00")
DENIED = b"\x02\x00"


@dataclass
class Counted:
    """What a session counts."""

    unknown_messages: int = 0
    updates_in: int = 0
    updates_deduplicated: int = 0
    updates_held: int = 0
    updates_forbidden: int = 0
    presence_in: int = 0
    presence_dropped: int = 0
    refused: list[str] = field(default_factory=list)

    def refuse(self, rule: str) -> None:
        """Note a rule."""
        self.refused.append(rule)


class Peer:
    """A client document behind a session, and the wires between them."""

    _ids = count(1000)

    def __init__(self, room: Room, *, may_write: bool = True, whole_bytes: int = 64) -> None:
        self.doc: Doc[Any] = author(next(self._ids))
        self.counted = Counted()
        self.room = room
        self.session = Session(
            room.replica,
            room.presence,
            self.counted,
            "author",
            may_write=may_write,
            max_state_entries=99,
            whole_bytes=whole_bytes,
            diff_bytes=64,
        )
        self.got: list[bytes] = []
        self.synced = 0

    def send(self, *messages: bytes) -> None:
        """One frame to the server."""
        self.session.receive(b"".join(messages), 0.0)
        self.take(*self.session.out)
        self.session.out.clear()

    def take(self, *messages: bytes) -> None:
        """Messages of the server."""
        for message in messages:
            self.got.append(message)
            for kind, sub, payload in read_messages(message):
                if kind == SYNC and sub != STEP1:
                    self.doc.apply_update(payload)
                    self.synced += sub == STEP2

    def sync(self) -> None:
        """Ask for everything and get it."""
        self.send(sync_message(STEP1, self.doc.get_state()))
        self.pull()

    def pull(self) -> int:
        """Take all that is to be pulled; says how many times there was something."""
        times = 0
        while self.session.wants_more():
            self.room.flush()
            self.take(*self.session.pull())
            times += 1
        return times

    def type(self, value: str) -> bytes:
        """Edit, and return the message that says so."""
        return sync_message(UPDATE, typed(self.doc, value))

    @property
    def subs(self) -> list[int]:
        """Sub-types of the sync messages got so far."""
        return [sub for message in self.got for kind, sub, _ in read_messages(message) if kind == SYNC]


class Room:
    """A replica and its peers."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.replica = Replica(limits)
        self.presence = Presence(100, 1)
        self.peers: list[Peer] = []

    def enter(self, *, may_write: bool = True, whole_bytes: int = 64) -> Peer:
        """A new peer, not synced."""
        self.peers.append(Peer(self, may_write=may_write, whole_bytes=whole_bytes))
        return self.peers[-1]

    def flush(self) -> None:
        """Send what is pending to all who are live."""
        data = self.replica.flush()
        for peer in self.peers if data is not None else ():
            if peer.session.live:
                assert data is not None
                peer.take(sync_message(UPDATE, data))

    def compact(self, share: float = 1.0, chunk_bytes: int = 64) -> None:
        """Fold a share of the tail, and all blocks, into one block."""
        tail = self.replica.tail
        number = tail.first + int(len(tail.items) * share)
        covered = tail.items[: number - tail.first]
        block = fold([block.to_bytes() for block in self.replica.blocks], covered, chunk_bytes)
        self.replica.rebase([Block.from_bytes(block)], number)


def filled(times: int = 10) -> tuple[Room, Peer]:
    """A room whose document one peer has typed, a flush per update."""
    room = Room()
    peer = room.enter()
    peer.sync()
    for number in range(times):
        peer.send(peer.type(f"{number:02}" * 20))
        room.flush()
    return room, peer


def test_the_greeting_asks_and_shows_who_is_here() -> None:
    room = Room()
    room.presence.receive(encode_awareness([(7, 1, b"{}")]), "somebody", 0.0)
    peer = room.enter()
    peer.session.open()
    assert peer.session.out == [GREETING, awareness_message(encode_awareness([(7, 1, b"{}")]))]


def test_a_greeting_of_nobody_has_no_presence() -> None:
    peer = Room().enter()
    peer.session.open()
    assert peer.session.out == [GREETING]


def test_an_empty_document_is_answered_with_an_empty_step2() -> None:
    peer = Room().enter(may_write=False)
    peer.sync()
    assert peer.got == [bytes.fromhex("0001020000")]
    assert peer.session.live


def test_a_live_session_gets_what_others_type() -> None:
    room, first = filled()
    second = room.enter()
    second.sync()
    second.send(second.type("!"))
    room.flush()
    assert content(first.doc) == content(second.doc)
    assert second.synced == 1


def test_nothing_is_sent_before_the_client_asks() -> None:
    room, first = filled()
    second = room.enter()
    first.send(first.type("!"))
    room.flush()
    assert second.got == []
    assert not second.session.wants_more()
    assert second.session.pull() == []


def test_a_long_sync_is_paced_and_ends_with_step2() -> None:
    room, first = filled(30)
    room.compact(0.5)
    second = room.enter()
    second.send(sync_message(STEP1, b"\x00"))
    assert second.pull() > 5
    assert second.subs.count(STEP2) == 1
    assert second.subs[-1] == STEP2
    assert content(second.doc) == content(first.doc)


def talked(times: int, size: int) -> tuple[Room, Peer]:
    """A room in which two take turns, so that their text is not one struct, compacted into chunks."""
    room = Room()
    peers = [room.enter(), room.enter()]
    for peer in peers:
        peer.sync()
    for number in range(times):
        peers[number % 2].send(peers[number % 2].type(f"{number % 10}" * size))
        room.flush()
    room.compact(chunk_bytes=size)
    assert len(room.replica.blocks[0].chunks) > 5
    return room, peers[0]


@pytest.mark.parametrize("has_some", [False, True])
def test_a_sync_that_is_not_too_long_is_not_cut(has_some: bool) -> None:
    """Cut, it would show an editor half of what somebody did at once."""
    room, first = talked(20, 50)
    second = room.enter(whole_bytes=1 << 20)
    if has_some:
        second.doc.apply_update(room.replica.blocks[0].chunks[0].data)
    second.sync()
    # The block in one update, and the tail, in which there is nothing.
    assert second.subs == [UPDATE, STEP2]
    assert content(second.doc) == content(first.doc)


def test_a_sync_that_is_too_long_is_cut() -> None:
    room, first = talked(20, 50)
    second = room.enter(whole_bytes=room.replica.blocks[0].size - 1)
    second.sync()
    assert second.subs.count(UPDATE) > 5
    assert content(second.doc) == content(first.doc)


def test_what_is_sent_to_many_is_made_once() -> None:
    room, first = talked(20, 5_000)
    got = []
    for _ in range(3):
        peer = room.enter(whole_bytes=1 << 20)
        peer.sync()
        got.append([message for message in peer.got if len(message) > 64 * 1024])
        assert content(peer.doc) == content(first.doc)
    assert len(got[0]) == 1
    assert got[0][0] is got[1][0] is got[2][0]


def test_what_comes_during_a_sync_is_part_of_it() -> None:
    room, first = filled(12)
    room.compact(0.5)
    second = room.enter()
    second.send(sync_message(STEP1, b"\x00"))
    while second.session.wants_more():
        first.send(first.type("+"))
        room.flush()
        second.take(*second.session.pull())
    first.send(first.type("after"))
    room.flush()
    assert content(second.doc) == content(first.doc)
    assert second.synced == 1


@pytest.mark.parametrize("taken", range(0, 30, 3))
def test_a_rebase_in_the_middle_of_a_sync(taken: int) -> None:
    room, first = filled(20)
    room.compact(0.4)
    second = room.enter()
    second.send(sync_message(STEP1, b"\x00"))
    for _ in range(taken):
        second.take(*second.session.pull())
        if not second.session.wants_more():
            break
    first.send(first.type("x"))
    room.flush()
    room.compact(0.8)
    second.pull()
    assert content(second.doc) == content(first.doc)
    assert second.session.live


@pytest.mark.parametrize("compact", [None, "behind", "prepared", "both"])
def test_a_reader_that_fell_behind_gets_one_diff(compact: str | None) -> None:
    room, first = filled()
    second = room.enter()
    second.sync()
    second.session.fall_behind()
    before = len(second.got)
    for _ in range(5):
        first.send(first.type("more"))
        room.flush()
    assert len(second.got) == before
    if compact in ("behind", "both"):
        room.compact(0.9)
    second.session.catch_up()
    if compact in ("prepared", "both"):
        first.send(first.type("yet more"))
        room.flush()
        room.compact()
    second.pull()
    assert content(second.doc) == content(first.doc)
    assert second.subs[-1] == STEP2
    first.send(first.type("live"))
    room.flush()
    assert content(second.doc) == content(first.doc)


def test_a_reader_that_missed_nothing_gets_an_empty_step2() -> None:
    _, peer = filled(2)
    peer.got.clear()
    peer.session.fall_behind()
    peer.session.catch_up()
    peer.pull()
    assert peer.got == [sync_message(STEP2, b"\x00\x00")]


def test_asking_again_while_behind_starts_over() -> None:
    room, first = filled()
    second = room.enter()
    second.sync()
    second.session.fall_behind()
    first.send(first.type("more"))
    room.flush()
    second.send(sync_message(STEP1, b"\x00"))
    second.session.catch_up()
    second.pull()
    assert content(second.doc) == content(first.doc)


def test_resync_at_any_time_is_answered() -> None:
    _, peer = filled(3)
    for _ in range(3):
        peer.sync()
    assert peer.synced == 4
    assert peer.session.live


def test_the_answer_to_our_question_is_taken_like_an_update() -> None:
    room = Room()
    peer = room.enter()
    typed(peer.doc, "offline")
    peer.send(sync_message(STEP2, peer.doc.get_update(b"\x00")))
    room.flush()
    assert peer.session.answered
    assert room.replica.index.clocks == {peer.doc.client_id: 7}


def test_an_update_that_is_too_early_makes_us_ask_once() -> None:
    room = Room()
    peer = room.enter()
    lost, second, third = (peer.type(letter) for letter in "abc")
    peer.send(second)
    assert peer.got == [GREETING]
    peer.send(third)
    assert peer.got == [GREETING]
    assert peer.session.waits()
    peer.send(sync_message(STEP2, peer.doc.get_update(b"\x00")))
    assert not peer.session.waits()
    room.flush()
    assert room.replica.index.clocks == {peer.doc.client_id: 3}
    assert peer.counted.updates_held == 2
    assert lost
    peer.send(sync_message(UPDATE, update(section(9, 1, gc(1)))))
    assert peer.got == [GREETING, sync_message(STEP1, state_vector({peer.doc.client_id: 3}))]


def test_an_answer_that_lacks_something_itself_asks_nobody_again() -> None:
    peer = Room().enter()
    peer.send(sync_message(STEP2, update(section(9, 1, gc(1)))))
    assert peer.got == []
    assert peer.session.waits()


def test_too_much_that_waits_ends_the_connection() -> None:
    peer = Room(Limits(held_updates=1)).enter()
    peer.send(sync_message(UPDATE, update(section(9, 1, gc(1)))))
    with pytest.raises(ProtocolError) as refused:
        peer.send(sync_message(UPDATE, update(section(8, 1, gc(1)))))
    assert refused.value.rule == "held-overflow"


@pytest.mark.parametrize("sub", [STEP2, UPDATE])
def test_an_empty_update_is_nothing(sub: int) -> None:
    room = Room()
    peer = room.enter()
    peer.send(sync_message(sub, b"\x00\x00"))
    assert (room.replica.pending, peer.counted.updates_in, peer.got) == ([], 0, [])


def test_a_reader_that_types_is_told_once() -> None:
    room = Room()
    peer = room.enter(may_write=False)
    peer.send(peer.type("a"))
    peer.send(peer.type("b"))
    assert len(peer.got) == 1
    assert peer.got[0].startswith(DENIED)
    assert peer.counted.updates_forbidden == 2
    assert room.replica.pending == []


def test_nothing_is_called_saved_after_a_refused_write() -> None:
    peer = Room().enter(may_write=False)
    peer.send(saved_message(b"1"))
    peer.send(peer.type("a"))
    peer.send(saved_message(b"2"))
    assert peer.session.barriers == [b"1"]


def test_a_reader_that_repeats_the_document_is_not_told() -> None:
    room, first = filled(2)
    peer = room.enter(may_write=False)
    peer.sync()
    peer.got.clear()
    peer.send(sync_message(STEP2, first.doc.get_update()))
    assert peer.got == []
    assert peer.counted.updates_forbidden == 0


@pytest.mark.parametrize("may_write", [True, False])
def test_bytes_that_break_a_rule_end_the_connection(may_write: bool) -> None:
    peer = Room().enter(may_write=may_write)
    for message in (
        sync_message(UPDATE, b"\x01"),
        sync_message(STEP2, update(section(1, 0, gc(0)))),
        sync_message(STEP1, b"\x7f"),
        sync_message(STEP1, state_vector(dict.fromkeys(range(100), 1))),
        b"\x03" * 10_000,
    ):
        with pytest.raises(ProtocolError):
            peer.send(message)


def test_several_messages_in_one_frame_are_all_taken() -> None:
    room = Room()
    peer = room.enter()
    one, two = peer.type("a"), peer.type("b")
    peer.send(one, two, bytes.fromhex("660107"), awareness_message(encode_awareness([(5, 1, b"1")])))
    assert room.replica.index.clocks == {peer.doc.client_id: 2}
    assert peer.session.barriers == [b"\x07"]
    assert list(room.presence.entries) == [5]


def test_what_stood_before_a_broken_rule_has_been_done() -> None:
    room = Room()
    peer = room.enter()
    with pytest.raises(ProtocolError):
        peer.send(peer.type("a"), sync_message(UPDATE, b"\x01"))
    assert room.replica.index.clocks == {peer.doc.client_id: 1}


@pytest.mark.parametrize("tail", [b"\x00\x00", b"\x00", b"\x00\x02\x7f", b"\x01\x05\x00"])
def test_a_truncated_tail_is_ignored(tail: bytes) -> None:
    room = Room()
    peer = room.enter()
    peer.send(peer.type("a"), tail)
    assert room.replica.index.clocks == {peer.doc.client_id: 1}
    assert peer.counted.unknown_messages == 0


def test_an_unknown_kind_is_counted_and_the_rest_of_its_frame_left() -> None:
    room = Room()
    peer = room.enter()
    peer.send(b"\x63", peer.type("a"))
    assert peer.counted.unknown_messages == 1
    assert room.replica.pending == []
    assert peer.got == []


def test_a_query_is_answered_once_a_frame_and_not_over_a_full_link() -> None:
    room = Room()
    peer = room.enter()
    peer.send(bytes((QUERY_AWARENESS,)))
    assert peer.got == []
    room.presence.receive(encode_awareness([(7, 1, b"{}")]), "somebody", 0.0)
    peer.send(bytes((QUERY_AWARENESS,)) * 100)
    assert peer.got == [awareness_message(encode_awareness([(7, 1, b"{}")]))]
    peer.session.stalled = True
    peer.send(bytes((QUERY_AWARENESS,)))
    assert len(peer.got) == 1


def test_presence_is_counted() -> None:
    room = Room()
    one, two = room.enter(), room.enter()
    one.send(awareness_message(encode_awareness([(7, 1, b"{}")])))
    two.send(awareness_message(encode_awareness([(7, 1, b"{}"), (7, 2, b"{}"), (8, 1, b"NaN")])))
    two.send(awareness_message(b"\x09"))
    two.send(awareness_message(b"\x00"))
    assert two.counted.presence_in == 3
    assert two.counted.presence_dropped == 1
    assert two.counted.refused == ["foreign-id", "presence-json", "presence-count"]
    assert two.session.contested == [one.session]


def test_somebody_announced_as_gone_is_told_alone() -> None:
    room = Room()
    one = room.enter()
    one.send(awareness_message(encode_awareness([(7, 3, b"{}")])))
    room.presence.leave(one.session, 0.0, clean=True)
    two = room.enter()
    two.send(awareness_message(encode_awareness([(7, 3, b"{}")])))
    ((kind, _, payload),) = read_messages(two.got[0])
    assert (kind, read_awareness(payload)) == (AWARENESS, [(7, 3, b"null")])


def test_bytes_reach_others_as_they_came() -> None:
    room = Room()
    one, two = room.enter(), room.enter()
    two.sync()
    two.got.clear()
    data = update(section(1, 0, b"\x04\x81\x00\x01t\x01a"))
    one.send(sync_message(UPDATE, data))
    room.flush()
    assert two.got == [sync_message(UPDATE, data)]
    assert string("a") not in data


# messages that take long


def served(frames: list[bytes], large: int, *, may_write: bool = True, budget: int = 1) -> tuple[Any, ...]:
    """All that a session of a document with some text says and does about these frames."""
    replica, counted = Replica(), Counted()
    replica.receive(update(section(1, 0, string("abc")), section(2, 0, string("x", (1, 1)))), None)
    replica.flush()
    session = Session(replica, Presence(100, 1), counted, "a", may_write=may_write, max_state_entries=9, large=large)
    session.open()
    rule = ""
    try:
        for frame in frames:
            session.receive(frame, 0.0)
        while session.busy:
            session.work(0.0, budget)
    except ProtocolError as error:
        rule = error.rule
    pulled = []
    while session.wants_more():
        replica.flush()
        pulled += session.pull()
    known = (replica.index.clocks, replica.index.encode_deletes(), [held.data for held in replica.held])
    return rule, session.out, session.barriers, session.answered, pulled, counted, known, session.waiting, session.busy


OWN = update(section(7, 0, string("own", (2, 0)), gc(3)), deletes={1: [(0, 2)], 7: [(1, 1)]})
FRAMES = [
    [sync_message(STEP2, OWN), saved_message(b"\x01"), sync_message(STEP1, state_vector({1: 2}))],
    [sync_message(UPDATE, update(section(7, 1, gc(1)))), saved_message(b"\x01")],
    [sync_message(UPDATE, OWN) + saved_message(b"\x01") + sync_message(UPDATE, OWN) + saved_message(b"\x02")],
    [sync_message(UPDATE, update(section(1, 0, string("abc")))), b"\x03", b"\x03"],
    [sync_message(UPDATE, b"\x01\x01"), sync_message(UPDATE, OWN)],
    [sync_message(STEP1, state_vector(dict.fromkeys(range(10), 1)))],
    [sync_message(STEP1, b"\x00") + b"\x63", b"\x01\x00", b"\x01\x05", b""],
    [awareness_message(encode_awareness([(7, 1, b"{}")])), sync_message(STEP2, update(deletes={1: [(0, 1)]}))],
]


@pytest.mark.parametrize("may_write", [True, False])
@pytest.mark.parametrize("budget", [1, 1000])
@pytest.mark.parametrize("frames", FRAMES)
def test_a_message_that_takes_long_does_what_a_short_one_does(
    frames: list[bytes], budget: int, may_write: bool
) -> None:
    assert served(frames, 0, may_write=may_write, budget=budget) == served(frames, 1 << 30, may_write=may_write)


def busy(frame: bytes, *, may_write: bool = True) -> tuple[Session, Replica]:
    """A session that has just received something that takes long."""
    replica = Replica()
    session = Session(replica, Presence(100, 1), Counted(), "a", may_write=may_write, large=0)
    session.receive(frame, 0.0)
    assert session.busy
    return session, replica


def finish(session: Session) -> int:
    """Do all that is left; how many steps it took."""
    steps = 0
    while session.busy:
        session.work(0.0, 10)
        steps += 1
    return steps


def test_what_comes_meanwhile_waits_in_order() -> None:
    session, replica = busy(sync_message(UPDATE, update(section(1, 0, *[gc(1)] * 1000))))
    session.work(0.0, 10)
    later = sync_message(UPDATE, update(section(1, 1000, string("a", (1, 999)))))
    session.receive(later + saved_message(b"\x01"), 0.0)
    assert session.waiting >= len(later)
    assert replica.index.clocks == {}
    assert session.barriers == []
    assert finish(session) > 50
    assert replica.index.clocks == {1: 1001}
    assert not replica.held
    assert (session.barriers, session.waiting) == ([b"\x01"], 0)


def test_a_large_state_vector_is_read_in_steps() -> None:
    session, _ = busy(sync_message(STEP1, state_vector(dict.fromkeys(range(1000), 1))))
    assert not session.wants_more()
    assert finish(session) > 90
    assert session.wants_more()


def test_of_who_has_gone_only_the_edits_are_left_to_do() -> None:
    edit = update(section(1, 0, string("a")))
    others = [saved_message(b"\x01"), b"\x03", awareness_message(encode_awareness([(7, 1, b"{}")])), GREETING]
    session, replica = busy(b"".join([sync_message(UPDATE, edit), *others, sync_message(UPDATE, b"\x00\x00")]))
    session.work(0.0, 1)
    session.receive(sync_message(STEP2, update(section(1, 1, string("b", (1, 0))))), 0.0)
    session.hang_up()
    finish(session)
    assert replica.index.clocks == {1: 2}
    assert (session.barriers, session.presence.entries, session.out, session.wants_more()) == ([], {}, [], False)
    session, replica = busy(sync_message(UPDATE, edit) * 2, may_write=False)
    session.work(0.0, 1)
    session.hang_up()
    assert not session.busy


def test_a_refusal_in_the_middle_ends_it() -> None:
    session, replica = busy(sync_message(UPDATE, b"\x01\x02\x01\x00\x00\x01\x00\x00\x00"))
    session.receive(sync_message(UPDATE, update(section(1, 0, string("a")))), 0.0)
    with pytest.raises(ProtocolError, match="length"):
        finish(session)
    assert (session.busy, session.waiting) == (False, 0)
    assert replica.index.clocks == {}


def test_an_echo_of_presence_is_dropped_and_counted() -> None:
    room = Room()
    one, two = Peer(room), Peer(room)
    for peer, number in ((one, 1), (two, 2)):
        peer.send(awareness_message(encode_awareness([(number, 1, b"{}")])))
    (sent,) = room.presence.take()
    two.send(awareness_message(sent))
    assert (two.counted.presence_in, two.counted.presence_dropped, two.counted.refused) == (2, 2, [])
    assert room.presence.dirty == set()
