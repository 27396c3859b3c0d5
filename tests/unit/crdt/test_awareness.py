"""Presence by the rules of y-protocols, and who may speak for whom."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.awareness import (
    CLAIM_SECONDS,
    ECHO_BYTES,
    ECHO_SECONDS,
    MAX_ENTRIES,
    MAX_MESSAGE,
    MAX_STATES,
    MESSAGE_BYTES,
    Entry,
    Heard,
    Presence,
    encode_awareness,
    read_awareness,
)
from crdt.errors import ProtocolError
from tests.unit.crdt.build import num

A, B, C = "connection a", "connection b", "connection c"


class Table:
    """A presence table whose users speak in JSON values."""

    def __init__(self, ids: int = 1) -> None:
        self.presence = Presence(200, ids)
        self.heard: dict[object, float] = {}

    def say(self, owner: object, client: int, clock: int, state: object, now: float = 0.0) -> Heard:
        """One entry of `owner`; None stands for null, bytes go out as they are."""
        raw = state if isinstance(state, bytes) else json.dumps(state).encode()
        self.heard[owner] = now
        return self.presence.receive(encode_awareness([(client, clock, raw)]), owner, now)

    def sweep(self, now: float) -> int:
        """Expire."""
        return self.presence.sweep(now, lambda owner: self.heard.get(owner, 0.0))

    def sent(self) -> list[tuple[int, int, object]]:
        """What goes out to everybody."""
        return [
            (client, clock, json.loads(raw))
            for update in self.presence.take()
            for client, clock, raw in sorted(read_awareness(update))
        ]

    def present(self) -> dict[int, object]:
        """Who is there, for a newcomer."""
        return {
            client: json.loads(raw) for update in self.presence.snapshot() for client, _, raw in read_awareness(update)
        }


def test_a_state_is_taken_sent_once_and_shown_to_newcomers() -> None:
    table = Table()
    assert table.say(A, 7, 1, {"x": 1}).changed == 1
    assert table.sent() == [(7, 1, {"x": 1})]
    assert table.sent() == []
    assert table.present() == {7: {"x": 1}}


def test_only_the_newest_state_goes_out() -> None:
    table = Table()
    for clock in range(1, 5):
        table.say(A, 7, clock, clock)
    assert table.sent() == [(7, 4, 4)]


def test_a_state_at_clock_0_is_kept_but_not_sent() -> None:
    """No client would apply it."""
    table = Table()
    assert table.say(A, 7, 0, {}).changed == 1
    assert table.sent() == []
    assert table.present() == {}
    assert table.say(A, 7, 1, {}).changed == 1
    assert table.sent() == [(7, 1, {})]


@pytest.mark.parametrize(("clock", "state"), [(4, {"x": 1}), (5, {"x": 1}), (4, None), (0, {})])
def test_echoes_and_stale_states_are_dropped_whoever_sends_them(clock: int, state: object) -> None:
    table = Table()
    table.say(A, 7, 5, {"x": 1})
    table.sent()
    for owner in (A, B):
        heard = table.say(owner, 7, clock, state)
        assert (heard.changed, heard.dropped, heard.refused) == (0, 1, {})
    assert table.sent() == []
    assert table.present() == {7: {"x": 1}}


def test_an_echo_does_not_make_an_owner() -> None:
    table = Table()
    table.say(A, 7, 5, 1)
    table.say(B, 7, 5, 1)
    table.presence.leave(B, 0.0, clean=True)
    assert table.present() == {7: 1}


def test_null_at_the_same_clock_removes() -> None:
    table = Table()
    table.say(A, 7, 5, 1)
    table.sent()
    assert table.say(A, 7, 5, None).changed == 1
    assert table.sent() == [(7, 5, None)]
    assert table.present() == {}
    assert table.say(A, 7, 5, None).dropped == 1


@pytest.mark.parametrize("clock", [5, 6, 99])
@pytest.mark.parametrize("state", [None, {"forged": True}])
def test_nobody_speaks_for_or_removes_somebody_else(clock: int, state: object) -> None:
    table = Table()
    table.say(A, 7, 5, 1)
    table.sent()
    assert table.say(B, 7, clock, state).refused == {"foreign-id": 1}
    assert table.sent() == []
    assert table.present() == {7: 1}


def test_a_tab_that_lost_its_socket_removes_nobody() -> None:
    """Through BroadcastChannel its sibling announces all remote users as gone, at their clocks."""
    table = Table()
    table.say(A, 1, 5, "a")
    table.say(B, 2, 9, "b")
    table.say(C, 3, 1, "c")
    table.sent()
    table.presence.receive(encode_awareness([(1, 5, b"null"), (2, 9, b"null")]), C, 0.0)
    assert table.sent() == []
    assert table.present() == {1: "a", 2: "b", 3: "c"}


def test_null_of_an_unknown_id_is_nothing() -> None:
    table = Table()
    assert table.say(A, 7, 5, None).dropped == 1
    assert table.presence.entries == {}


def test_one_connection_has_one_id() -> None:
    table = Table()
    table.say(A, 7, 1, 1)
    assert table.say(A, 8, 1, 1).refused == {"presence-ids": 1}
    assert table.say(A, 7, 2, 2).changed == 1
    table.say(A, 7, 3, None)
    assert table.say(A, 8, 1, 1).changed == 1
    assert table.present() == {8: 1}


def test_a_bridge_may_have_more() -> None:
    table = Table(ids=2)
    assert [bool(table.say(A, client, 1, 1).changed) for client in (7, 8, 9)] == [True, True, False]


def test_goodbye_removes_at_once() -> None:
    table = Table()
    table.say(A, 7, 5, 1)
    table.sent()
    table.presence.leave(A, 10.0, clean=True)
    assert table.sent() == [(7, 5, None)]
    assert table.presence.owned == {}


def test_a_broken_connection_has_a_grace_period() -> None:
    table = Table()
    table.say(A, 7, 5, 1)
    table.sent()
    table.presence.leave(A, 10.0, clean=False)
    assert table.sweep(11.9) == 0
    assert table.sent() == []
    assert table.sweep(12.0) == 1
    assert table.sent() == [(7, 5, None)]


@pytest.mark.parametrize("clock", [5, 6])
def test_a_quick_reconnect_does_not_flicker(clock: int) -> None:
    table = Table()
    table.say(A, 7, 5, 1, now=9.0)
    table.sent()
    table.presence.leave(A, 10.0, clean=False)
    table.say(B, 7, clock, 1, now=11.0)
    assert table.sweep(20.0) == 0
    assert all(state is not None for _, _, state in table.sent())
    table.presence.leave(B, 21.0, clean=True)
    assert table.sent() == [(7, clock, None)]


def test_after_a_restart_an_id_that_is_new_to_us_may_be_an_old_one() -> None:
    """The others saw it leave at its clock when they lost the server, and would not take it back at that clock."""
    presence = Presence(200, 1, timeout=30.0, forgot_at=100.0)
    assert presence.receive(encode_awareness([(7, 5, b"1")]), A, 101.0).revive == [(7, 5, b"null")]
    assert presence.receive(encode_awareness([(7, 6, b"1")]), A, 101.1).revive == []
    assert presence.receive(encode_awareness([(8, 0, b"{}")]), B, 102.0).revive == [], "a fresh client has clock 0"
    assert presence.receive(encode_awareness([(9, 5, b"1")]), C, 130.0).revive == [], "by now clients have renewed"


def test_somebody_who_was_announced_as_gone_is_told_so() -> None:
    """At the clock it was removed at no peer would take it back; told that it is gone, a client raises its clock."""
    table = Table()
    table.say(A, 7, 5, 1)
    table.presence.leave(A, 10.0, clean=False)
    table.sweep(12.0)
    table.sent()
    heard = table.say(B, 7, 5, 1, now=13.0)
    assert heard.revive == [(7, 5, b"null")]
    assert table.say(B, 7, 6, 1, now=13.0).revive == []
    assert table.sent() == [(7, 6, 1)]


def test_a_silent_state_expires_and_comes_back() -> None:
    table = Table()
    table.say(A, 7, 5, 1, now=100.0)
    table.sent()
    assert table.sweep(129.9) == 0
    assert table.sweep(130.0) == 1
    assert table.sent() == [(7, 5, None)]
    assert table.say(A, 7, 6, 1, now=131.0).changed == 1
    assert table.sent() == [(7, 6, 1)]


def test_who_is_gone_is_forgotten_after_the_timeout() -> None:
    table = Table()
    table.say(A, 7, 5, 1, now=100.0)
    table.presence.leave(A, 100.0, clean=True)
    table.sweep(129.0)
    assert 7 in table.presence.entries
    table.sweep(131.0)
    assert table.presence.entries == {}


# claims: a user whose old connection has not been missed yet


def test_a_reconnected_user_gets_its_id_when_the_old_connection_stays_silent() -> None:
    table = Table()
    table.say(A, 7, 5, "old", now=10.0)
    table.sent()
    heard = table.say(B, 7, 6, "new", now=20.0)
    assert heard.contested == [A]
    assert table.sweep(20.0 + CLAIM_SECONDS - 0.1) == 0
    assert table.sent() == []
    table.sweep(20.0 + CLAIM_SECONDS)
    assert table.sent() == [(7, 6, "new")]
    table.presence.leave(A, 30.0, clean=True)
    assert table.present() == {7: "new"}


def test_a_claim_fails_when_the_owner_shows_a_sign_of_life() -> None:
    table = Table()
    table.say(A, 7, 5, "true", now=10.0)
    table.say(B, 7, 6, "false", now=20.0)
    table.heard[A] = 20.5
    table.sweep(20.0 + CLAIM_SECONDS)
    assert table.present() == {7: "true"}


def test_a_claim_is_granted_when_the_owner_goes() -> None:
    table = Table()
    table.say(A, 7, 5, "old", now=10.0)
    table.say(B, 7, 6, "new", now=20.0)
    table.presence.leave(A, 20.1, clean=False)
    assert table.present() == {7: "new"}


def test_a_claim_goes_with_who_made_it() -> None:
    table = Table()
    table.say(A, 7, 5, "old", now=10.0)
    table.say(B, 7, 6, "new", now=20.0)
    table.presence.leave(B, 20.1, clean=True)
    table.presence.leave(A, 20.2, clean=True)
    assert table.present() == {}


def test_claiming_everybody_gets_no_more_ids_than_one_may_have() -> None:
    table = Table()
    for client, owner in ((1, A), (2, B), (3, "d")):
        table.say(owner, client, 5, client, now=10.0)
    for client in (1, 2, 3):
        table.say(C, client, 6, "ghost", now=11.0)
    table.presence.leave(A, 12.0, clean=True)
    table.presence.leave(B, 12.0, clean=True)
    table.sweep(20.0)
    assert list(table.present().values()).count("ghost") == 1
    assert len(table.presence.owned[C]) == 1


# what is refused


@pytest.mark.parametrize(
    ("state", "rule"),
    [
        (b"NaN", "presence-json"),
        (b'{"x":Infinity}', "presence-json"),
        (b'"\\ud800"', "presence-json"),
        (b"", "presence-json"),
        (b"{", "presence-json"),
        (b'"\xff"', "presence-utf8"),
        (b"[" * 33 + b"]" * 33, "presence-depth"),
        (b'"' + b"a" * 200 + b'"', "presence-size"),
    ],
)
def test_states_that_are_refused(state: bytes, rule: str) -> None:
    table = Table()
    table.say(A, 7, 5, 1)
    assert table.say(A, 7, 6, state).refused == {rule: 1}
    assert table.say(B, 8, 6, state).refused == {rule: 1}
    assert table.present() == {7: 1}
    table.say(B, 7, 6, state)
    assert table.presence.entries[7].claim is None


@pytest.mark.parametrize(
    "data",
    [b"", b"\x01", b"\x02\x07\x01\x01", num(2**40), b"\xff" * 1_000_000, b"\x01\x07\x01\x05abc"],
)
def test_bytes_that_are_no_awareness_update(data: bytes) -> None:
    presence = Presence(100, 1)
    with pytest.raises(ProtocolError):
        presence.receive(data, A, 0.0)
    assert presence.entries == {}


def test_an_update_about_nobody_is_nothing() -> None:
    assert Presence(100, 1).receive(b"\x00", A, 0.0).changed == 0


def test_an_update_about_too_many_is_refused_unread() -> None:
    with pytest.raises(ProtocolError) as refused:
        read_awareness(num(MAX_STATES + 1) + b"\x01\x01\x01" * (MAX_STATES + 1))
    assert refused.value.rule == "states"


def test_ids_announced_and_retracted_do_not_pile_up() -> None:
    presence = Presence(100, 1)
    refused = 0
    for first in range(1, MAX_ENTRIES + 10_001, MAX_STATES // 2):
        entries = [(client, 1, state) for client in range(first, first + MAX_STATES // 2) for state in (b"1", b"null")]
        refused += presence.receive(encode_awareness(entries), A, 0.0).refused.get("presence-full", 0)
    assert len(presence.entries) == MAX_ENTRIES
    assert refused == 10_000


def test_what_goes_out_is_cut_into_messages() -> None:
    presence = Presence(20_000, 1)
    for client in range(1, 31):
        presence.receive(encode_awareness([(client, 1, b'"' + b"a" * 9_998 + b'"')]), client, 0.0)
    updates = presence.take()
    assert [len(read_awareness(update)) for update in updates] == [7, 7, 7, 7, 2]
    assert max(map(len, updates)) < MESSAGE_BYTES + 20_000
    assert sorted(map(len, presence.snapshot())) == sorted(map(len, updates))


steps_of_presence = st.lists(
    st.tuples(
        st.sampled_from("abc"),
        st.sampled_from([1, 2, 3]),
        st.integers(0, 4),
        st.sampled_from([b"null", b"1", b"2", b"NaN"]),
        st.sampled_from("rlcs"),
    ),
    max_size=60,
)


@given(steps_of_presence)
def test_bookkeeping_of_owners_holds_whatever_happens(steps: list[tuple[str, int, int, bytes, str]]) -> None:
    presence = Presence(100, 1)
    now = 0.0
    for owner, client, clock, state, action in steps:
        now += 1.0
        if action == "r":
            presence.receive(encode_awareness([(client, clock, state)]), owner, now)
        elif action == "s":
            presence.sweep(now, lambda _: 0.0)
        else:
            presence.leave(owner, now, clean=action == "c")
        owners = [entry.owner for entry in presence.entries.values() if entry.owner is not None]
        assert {who: owners.count(who) for who in owners} == {who: len(ids) for who, ids in presence.owned.items()}
        assert all(presence.entries[client].owner == who for who, ids in presence.owned.items() for client in ids)
        assert all(len(ids) == 1 for ids in presence.owned.values())
        claims = {client: entry.claim[0] for client, entry in presence.entries.items() if entry.claim is not None}
        assert claims == {client: who for who, ids in presence.claims.items() for client in ids}
        assert all(presence.claims.values())
    for owner in "abc":
        presence.leave(owner, now, clean=False)
    presence.sweep(now + 100, lambda _: 0.0)
    presence.sweep(now + 200, lambda _: 0.0)
    presence.sweep(now + 300, lambda _: 0.0)
    assert presence.entries == {}
    assert presence.owned == {}


# echoes


def crowd(count: int = 3) -> tuple[Presence, list[bytes]]:
    """Connections 0, 1, ... that own the ids 100, 101, ..., and what was sent of them."""
    presence = Presence(200, 1)
    for number in range(count):
        presence.receive(encode_awareness([(100 + number, 1, b"{}")]), number, 0.0)
    return presence, presence.take()


def test_what_was_just_sent_is_known_when_it_comes_back() -> None:
    presence, (sent,) = crowd()
    for owner in range(3):
        assert presence.echoed(sent, owner) == 3
        assert presence.receive(sent, owner, 0.0).dropped == 3
    (snapshot,) = presence.snapshot()
    assert presence.echoed(snapshot, 1) == 3
    assert presence.echoed(encode_awareness([(100, 1, b"{}")]), 1) == 0


def test_an_echo_is_looked_at_where_it_may_say_something() -> None:
    """From one who has no id it may be a claim, and of an id without an owner its user's return."""
    presence, (sent,) = crowd()
    assert presence.echoed(sent, "newcomer") == 0
    assert presence.receive(sent, "newcomer", 0.0).contested == [0, 1, 2]
    presence, (sent,) = crowd()
    presence.leave(0, 1.0, clean=False)
    assert presence.echoed(sent, 1) == 0
    assert presence.receive(sent, "again", 1.0).dropped == 3
    assert presence.entries[100].owner == "again"


def test_echoes_are_forgotten_when_a_state_changes_without_its_clock() -> None:
    presence, (sent,) = crowd()
    presence.receive(encode_awareness([(100, 1, b"1")]), 0, 0.0)
    assert presence.echoed(sent, 0) == 0
    presence, (sent,) = crowd()
    presence.receive(encode_awareness([(100, 2, b"1")]), 0, 0.0)
    assert presence.echoed(sent, 0) == 3


def test_echoes_are_forgotten_after_a_while() -> None:
    presence, (sent,) = crowd()
    presence.sweep(10.0, lambda _: 10.0)
    assert presence.echoed(sent, 0) == 3
    presence.sweep(10.0 + ECHO_SECONDS / 2, lambda _: 10.0)
    assert presence.echoed(sent, 0) == 3
    presence.sweep(10.0 + ECHO_SECONDS, lambda _: 10.0)
    assert presence.echoed(sent, 0) == 0


def test_echoes_take_a_bounded_amount_of_memory() -> None:
    presence, _ = crowd()
    sent = 0
    for clock in range(2, 3 * ECHO_BYTES // 200):
        presence.receive(encode_awareness([(100, clock, b'"' + b"x" * 190 + b'"')]), 0, 0.0)
        sent += sum(presence.echoed(data, 0) for data in presence.take())
    assert ECHO_BYTES // 2 < sent * 200 < ECHO_BYTES * 2


def test_states_go_out_in_the_order_in_which_a_client_echoes_them() -> None:
    """New ids first, then those that changed, then those that are gone (y-protocols `applyAwarenessUpdate`)."""
    presence, _ = crowd(40)
    for number in range(40, 60):
        presence.receive(encode_awareness([(100 + number, 1, b"{}")]), number, 0.0)
    for number in range(10, 30):
        presence.receive(encode_awareness([(100 + number, 2, b"1")]), number, 0.0)
    for number in range(10):
        presence.leave(number, 0.0, clean=True)
    (sent,) = presence.take()
    order = [client for client, _, _ in read_awareness(sent)]
    assert [set(order[:20]), set(order[20:40]), set(order[40:])] == [
        set(range(140, 160)),
        set(range(110, 130)),
        set(range(100, 110)),
    ]


# a large room


class Unwalkable(dict[int, Entry]):
    """A table that nobody may walk through."""

    def __iter__(self) -> Iterator[int]:
        raise AssertionError("the whole table was looked at")

    items = values = keys = __iter__  # type: ignore[assignment]


def test_who_leaves_is_found_without_a_walk() -> None:
    presence, _ = crowd(50)
    presence.entries = Unwalkable(presence.entries)
    presence.receive(encode_awareness([(100, 1, b"{}")]), "claims", 0.0)
    presence.leave("claims", 1.0, clean=True)
    assert presence.entries[100].claim is None
    presence.leave(3, 1.0, clean=True)
    presence.leave(4, 1.0, clean=False)
    assert presence.dirty == {103}
    assert presence.sweep(2.0, lambda _: 0.0) == 0
    assert presence.sweep(3.5, lambda _: 0.0) == 1
    assert presence.dirty == {103, 104}


def test_what_is_sent_of_one_connection_is_bounded() -> None:
    presence = Presence(200, 1)
    with pytest.raises(ProtocolError, match="size"):
        presence.receive(b"\x01\x01\x01\x01" + bytes(MAX_MESSAGE), A, 0.0)
    large = Presence(MAX_MESSAGE, 1)
    assert large.receive(encode_awareness([(1, 1, b'"' + bytes(MAX_MESSAGE) + b'"')]), A, 0.0).changed == 0


def test_a_state_that_expired_is_sent_before_its_id_is_forgotten() -> None:
    """Even when nobody has swept for long."""
    table = Table()
    table.say(A, 7, 1, {})
    table.presence.leave(A, 1.0, clean=False)
    table.sent()
    assert table.sweep(1000.0) == 1
    assert table.sent() == [(7, 1, None)]
    assert 7 in table.presence.entries
    table.sweep(1000.5)
    assert table.presence.entries == {}
