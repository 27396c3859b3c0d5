"""One client: limits, keepalive, refusals, what comes before its room is loaded."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from crdt.replica import Limits
from crdt.wire import MAX_MESSAGES, STEP1, UPDATE, sync_message
from syncd.close_codes import CloseCode
from syncd.connection import EARLY_BYTES, MAX_BARRIERS, REFUSAL_DELAY, WAITING_BYTES, Connection
from syncd.metrics import Stats
from tests.unit.crdt.build import gc, section, string, update
from tests.unit.syncd.room_rig import Client, FakeStore, Rig


async def opened(limits: Limits | None = None) -> Rig:
    """An empty room, loaded."""
    rig = Rig(limits=limits)
    await rig.load()
    return rig


def of(client: Client) -> Connection:
    """The client's connection."""
    assert client.connection is not None
    return client.connection


async def test_what_comes_before_the_room_is_loaded_is_done_afterwards() -> None:
    rig = Rig()
    client = rig.enter(greet=False)
    client.ask()
    client.type("early")
    client.barrier(1)
    assert client.link.sent == []
    await rig.load()
    rig.greet(client)
    assert client.kinds()[:2] == ["ask", "step2"]
    assert rig.enter().read() == "early"


async def test_too_much_before_the_room_is_loaded_ends_the_connection() -> None:
    rig = Rig()
    client = rig.enter(greet=False)
    client.send(bytes(EARLY_BYTES // 2))
    client.send(bytes(EARLY_BYTES // 2 + 1))
    assert [close[0] for close in client.link.closes] == [CloseCode.TRY_LATER]
    client.send(b"more")
    assert len(client.link.closes) == 1


async def test_who_left_before_the_room_was_loaded_is_not_answered() -> None:
    rig = Rig()
    client = rig.enter(greet=False)
    client.ask()
    of(client).closed(1001, clean=True)
    assert rig.room.connections == set()
    assert rig.gone == [(of(client), 1001)]


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (sync_message(UPDATE, b"\x01"), CloseCode.INVALID),
        (sync_message(UPDATE, update(section(1, 0, gc(0)))), CloseCode.INVALID),
        (sync_message(STEP1, b"\x7f"), CloseCode.INVALID),
        (b"\x03" * (MAX_MESSAGES + 1), CloseCode.INVALID),
        (sync_message(UPDATE, update(section(1, 0, string("a" * 200)))), CloseCode.DOCUMENT_FULL),
        (sync_message(UPDATE, update(section(1, 1, gc(1)))), CloseCode.TRY_LATER),
    ],
)
@pytest.mark.parametrize("may_write", [True, False])
async def test_refused_bytes_end_this_connection_alone(message: bytes, code: CloseCode, may_write: bool) -> None:
    rig = await opened(Limits(held_updates=0, max_bytes=100))
    bad, good = rig.enter(may_write=may_write), rig.enter()
    bad.send(message)
    if not may_write and code is not CloseCode.INVALID:
        assert bad.link.closes == []
        return
    assert bad.kinds()[-1] == "denied"
    ((sent, reason, delay),) = bad.link.closes
    assert sent == code
    assert 0 < len(reason.encode()) <= 123
    assert delay == (0.0 if code.retry else REFUSAL_DELAY)
    assert sum(rig.stats.refused.values()) == 1
    assert rig.gone == [(of(bad), code)]
    good.type("b")
    assert good.read() == "b"
    before = len(bad.link.sent)
    bad.type("a")
    assert len(bad.link.sent) == before


async def test_a_reader_that_types_stays_and_is_told() -> None:
    rig = await opened()
    reader, other = rig.enter(may_write=False), rig.enter()
    reader.type("a")
    assert reader.kinds()[-1] == "denied"
    assert reader.link.closes == []
    assert other.read() == ""
    assert rig.stats.updates_forbidden == 1


async def test_too_many_messages_a_second_end_the_connection() -> None:
    rig = await opened()
    client = rig.enter(rate=0.001)
    for _ in range(3):
        client.send(b"\x63")
    assert [close[0] for close in client.link.closes] == [CloseCode.TOO_FAST]


async def test_a_burst_passes_and_the_bucket_fills_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr("syncd.connection.time.monotonic", lambda: clock[0])
    rig = await opened()
    client = rig.enter(rate=10)
    for _ in range(39):
        client.send(b"\x63")
    assert client.link.closes == []
    clock[0] += 1.0
    for _ in range(10):
        client.send(b"\x63")
    assert client.link.closes == []
    client.send(b"\x63")
    assert [close[0] for close in client.link.closes] == [CloseCode.TOO_FAST]


async def test_barriers_that_wait_are_bounded() -> None:
    rig = await opened()
    client = rig.enter()
    client.type("a")
    for _ in range(MAX_BARRIERS):
        client.barrier(1)
    assert client.link.closes == []
    client.barrier(1)
    assert [close[0] for close in client.link.closes] == [CloseCode.TOO_FAST]


async def test_a_counter_that_is_too_long_is_not_echoed() -> None:
    rig = await opened()
    client = rig.enter()
    client.send(b"\x66\x41" + bytes(65))
    client.send(b"\x66\x40" + bytes(64))
    assert [len(message) for message in client.link.messages[2:]] == [66]


# life and death


async def test_a_quiet_connection_is_fed_and_probed_and_a_dead_one_dropped() -> None:
    rig = await opened()
    client = rig.enter()
    connection = of(client)
    connection.heard = connection.last_sent = 1000.0
    rig.room.last_sent = 0.0
    connection.keep_alive(1019.0, 20.0)
    assert (client.link.pings, client.kinds()[2:]) == (0, [])
    connection.keep_alive(1020.0, 20.0)
    assert (client.link.pings, client.kinds()[2:]) == (1, ["presence"])
    assert client.presence() == []
    connection.keep_alive(1025.0, 20.0)
    assert (client.link.pings, client.kinds()[2:]) == (2, ["presence"])
    connection.keep_alive(1050.1, 20.0)
    assert client.link.aborted


async def test_what_the_room_sends_feeds_a_live_client_only() -> None:
    rig = await opened()
    live, new = rig.enter(), rig.enter(greet=False)
    rig.greet(new)
    for client in (live, new):
        of(client).heard = of(client).last_sent = 1000.0
    rig.room.last_sent = 1015.0
    of(live).keep_alive(1020.0, 20.0)
    of(new).keep_alive(1020.0, 20.0)
    assert "presence" not in live.kinds()
    assert "presence" in new.kinds()


async def test_a_full_link_is_not_fed() -> None:
    rig = await opened()
    client = rig.enter()
    of(client).pause()
    of(client).heard = of(client).last_sent = 1000.0
    of(client).keep_alive(1030.0, 20.0)
    assert client.kinds()[2:] == []


async def test_a_pong_is_a_sign_of_life() -> None:
    rig = await opened()
    client = rig.enter()
    of(client).heard = 0.0
    of(client).pong_received()
    assert of(client).heard > 0.0


async def test_the_end_is_counted_once() -> None:
    rig = await opened()
    client = rig.enter()
    of(client).closed(None, clean=False)
    of(client).closed(1000, clean=True)
    assert rig.stats.closes == {1006: 1}
    assert len(rig.gone) == 1


async def test_a_refused_client_on_a_full_link_is_not_counted_as_slow() -> None:
    """The refusal itself may be what fills the link."""
    rig = await opened()
    client = rig.enter(capacity=20)
    client.send(sync_message(UPDATE, b"\x01"))
    assert of(client).paused
    assert rig.stats.slow_readers == 0
    client.link.drain()
    assert rig.stats.slow_readers == 0


async def test_a_slow_reader_that_goes_is_not_counted_any_more() -> None:
    rig = await opened()
    client = rig.enter()
    of(client).pause()
    assert rig.stats.slow_readers == 1
    of(client).closed(1006, clean=False)
    assert rig.stats.slow_readers == 0
    of(client).resume()
    of(client).pause()
    assert rig.stats.slow_readers == 0


async def test_a_link_that_is_full_from_the_start() -> None:
    rig = await opened()
    writer = rig.enter()
    writer.type("hello")
    slow = rig.enter(capacity=30, greet=False)
    of(slow).pause()
    rig.greet(slow)
    slow.ask()
    assert "step2" not in slow.kinds()
    writer.type("!")
    rig.room.flush()
    for _ in range(10):
        slow.link.drain()
    assert slow.read() == "hello!"
    assert rig.stats.slow_readers == 0


async def test_a_paced_sync_stops_when_the_link_is_full_and_goes_on() -> None:
    rig = await opened()
    writer = rig.enter()
    for number in range(40):
        writer.type(f"{number:03}" * 50)
        rig.room.flush()
    slow = rig.enter(capacity=600)
    sizes = [slow.link.waiting]
    while of(slow).paused:
        slow.link.drain()
        sizes.append(slow.link.waiting)
    assert len(sizes) > 5
    assert max(sizes) < 3_000
    assert slow.read() == writer.read()


# messages that take long


def large(number: int, structs: int = 40_000) -> bytes:
    """A message with an update of very many structs, which belong to `number`."""
    return sync_message(UPDATE, update(section(number, 0, *[gc(1)] * structs)))


async def opened_for_long() -> Rig:
    """An empty room, loaded, with turns of one step."""
    rig = await opened()
    rig.room.turns.length = 0.0
    return rig


async def finished(client: Client) -> int:
    """Wait until the client's messages are done; how many iterations of the loop that took."""
    turns = 0
    while of(client) in of(client).room.working:
        await asyncio.sleep(0)
        turns += 1
    return turns


async def test_others_are_served_while_a_large_message_is_dealt_with() -> None:
    """Their messages are dealt with between two turns, in the same room and in its order; nobody waits for the end."""
    rig = await opened_for_long()
    sender, writer, reader = rig.enter(), rig.enter(), rig.enter()
    sender.send(large(9))
    served = 0
    clocks = rig.room.replica.index.clocks
    while of(sender) in rig.room.working:
        assert 9 not in clocks
        writer.type("x")
        rig.room.flush()
        assert reader.read() == "x" * (served + 1)
        served += 1
        await asyncio.sleep(0)
    assert served > 30
    assert clocks[9] == 40_000
    rig.room.flush()
    assert reader.read() == "x" * served


async def test_a_large_update_is_flushed_alone() -> None:
    """Merging it with what others typed meanwhile would take long; and it is a record of its own in the log."""
    rig = await opened_for_long()
    sender, writer, reader = rig.enter(), rig.enter(), rig.enter()
    ranges = [(2 * at, 1) for at in range(10_000)]
    message = sync_message(UPDATE, update(section(9, 0, gc(30_000)), deletes={9: ranges}))
    sender.send(message)
    while of(sender) in rig.room.working:
        writer.type("x")
        await asyncio.sleep(0)
    assert message in reader.link.messages
    taken, _, _ = rig.room.take_unlogged()
    assert any(message.endswith(data) and len(data) > 10_000 for data, _ in taken)


async def test_one_turn_at_a_time_however_many_have_large_messages() -> None:
    rig = await opened_for_long()
    senders = [rig.enter() for _ in range(5)]
    for number, sender in enumerate(senders):
        sender.send(large(number + 1))
    assert rig.room.working == {of(sender) for sender in senders}
    turns = 0
    while rig.room.working:
        before = [of(sender).heard for sender in senders]
        await asyncio.sleep(0)
        assert sum(of(sender).heard > heard for sender, heard in zip(senders, before, strict=True)) <= 1
        turns += 1
    assert turns > 5 * 30
    assert rig.room.replica.index.clocks == dict.fromkeys(range(1, 6), 40_000)


async def test_what_the_sender_sends_meanwhile_is_done_behind_it() -> None:
    rig = await opened_for_long()
    sender, reader = rig.enter(), rig.enter()
    sender.send(large(9))
    sender.type("behind")
    sender.barrier(1)
    assert reader.read() == ""
    await finished(sender)
    rig.room.flush()
    assert reader.read() == "behind"
    assert "saved 1" not in sender.kinds()
    await rig.save(FakeStore())
    assert "saved 1" in sender.kinds()


async def test_the_socket_is_not_read_while_much_waits() -> None:
    rig = await opened_for_long()
    sender = rig.enter()
    sender.send(large(9))
    reading = [sender.link.reading]
    sender.send(sync_message(UPDATE, bytes(WAITING_BYTES)))
    reading.append(sender.link.reading)
    assert await finished(sender) > 30
    assert [*reading, sender.link.reading] == [True, False, True]
    assert sender.link.closes, "it was no update"


async def test_what_arrived_before_its_sender_went_counts() -> None:
    rig = await opened_for_long()
    sender, reader = rig.enter(), rig.enter()
    sender.send(large(9))
    sender.type("last words")
    sender.announce()
    sender.barrier(1)
    of(sender).closed(1001, clean=True)
    assert rig.room.has_unsaved(), "the room must stay"
    assert await finished(sender) > 30
    rig.room.flush()
    assert reader.read() == "last words"
    assert rig.room.presence.snapshot() == []
    assert rig.room.replica.index.clocks[9] == 40_000
    early = sync_message(UPDATE, update(section(50, 1, gc(1)), section(51, 0, *[gc(1)] * 20_000)))
    reader.send(early)
    of(reader).closed(1001, clean=True)
    await finished(reader)
    assert [held.senders for held in rig.room.replica.held] == [[]]


async def test_who_is_thrown_out_has_nothing_left_to_do() -> None:
    rig = await opened_for_long()
    sender = rig.enter()
    sender.send(large(9))
    of(sender).refuse(CloseCode.TOO_FAST, "too many messages")
    assert await finished(sender) <= 2
    assert rig.room.replica.index.clocks == {}
    assert len(rig.gone) == 1


async def test_bad_bytes_at_the_end_of_a_large_message() -> None:
    rig = await opened_for_long()
    sender = rig.enter()
    sender.send(sync_message(UPDATE, update(section(9, 0, *[gc(1)] * 40_000)) + b"\x00"))
    sender.send(large(10))
    await finished(sender)
    assert [close[0] for close in sender.link.closes] == [CloseCode.INVALID]
    assert rig.stats.refused == {"trailing": 1}
    assert rig.room.replica.index.clocks == {}


class Broken(Stats):
    """Counters of which one is broken."""

    def __getattribute__(self, name: str) -> Any:
        if name == "updates_in":
            raise RuntimeError("planted")
        return super().__getattribute__(name)


async def test_an_error_of_ours_ends_the_connection_and_no_other() -> None:
    rig = await opened_for_long()
    sender, writer = rig.enter(), rig.enter()
    session = of(sender).session
    assert session is not None
    session.counters = Broken()
    sender.send(large(9))
    await finished(sender)
    assert [close[0] for close in sender.link.closes] == [CloseCode.INTERNAL_ERROR]
    writer.type("x")
    assert rig.enter().read() == "x"


async def test_what_waited_is_looked_at_in_turns() -> None:
    rig = await opened_for_long()
    early, writer = rig.enter(), rig.enter()
    for number in range(10, 14):
        early.send(sync_message(UPDATE, update(section(number, 0, string("x", (2, 0)), *[gc(1)] * 7000))))
    assert len(rig.room.replica.held) == 4
    writer.send(sync_message(UPDATE, update(section(2, 0, gc(1)))))
    assert rig.room.has_unsaved()
    turns = 0
    while rig.room.replica.stirred:
        writer.type("x")
        await asyncio.sleep(0)
        turns += 1
    assert turns > 20
    assert rig.room.replica.held == []
    assert len(rig.room.replica.index.clocks) == 6
