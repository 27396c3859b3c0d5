"""Presence by the rules of y-protocols, and who may speak for whom."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crdt.awareness import (
    CLAIM_SECONDS,
    MAX_ENTRIES,
    MAX_STATES,
    MESSAGE_BYTES,
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
    assert table.presence.owned[C] == 1


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
        assert {who: owners.count(who) for who in owners} == presence.owned
        assert all(count <= 1 for count in presence.owned.values())
    for owner in "abc":
        presence.leave(owner, now, clean=False)
    presence.sweep(now + 100, lambda _: 0.0)
    presence.sweep(now + 200, lambda _: 0.0)
    presence.sweep(now + 300, lambda _: 0.0)
    assert presence.entries == {}
    assert presence.owned == {}
