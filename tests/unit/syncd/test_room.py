"""One room: flushing, slow readers, saving, presence, rebasing."""

from __future__ import annotations

import asyncio

import pytest

from crdt.fold import fold
from crdt.ids import RoomId
from crdt.merge import HEAVY
from crdt.update import parse_update
from crdt.wire import STEP2, sync_message
from persistence.api import EMPTY_ROOM, Record, StoredBlock
from persistence.memory import MemoryStore
from syncd.connection import KEEPALIVE
from syncd.frames import frame
from syncd.room import Pace, _records
from tests.unit.crdt.build import gc, section, update
from tests.unit.syncd.room_rig import SLOW, Rig, until


async def opened(pace: Pace = SLOW) -> Rig:
    """An empty room, loaded."""
    rig = Rig(pace)
    await rig.load()
    return rig


async def test_a_large_stored_update_is_read_in_turns() -> None:
    store = MemoryStore()
    rig = Rig()
    rig.room.turns.length = 0.0
    large = update(section(1, 0, *[gc(1)] * 30_000))
    small = update(section(1, 30_000, gc(1)))
    await store.append([Record(rig.room.name, data, "ann", 0) for data in (small, large, small)])
    loading = asyncio.create_task(rig.load(await store.load(rig.room.name)))
    turns = 0
    while not loading.done():
        await asyncio.sleep(0)
        turns += 1
    await loading
    assert turns > 20
    assert rig.room.replica.index.clocks == {1: 30_001}
    assert rig.room.saved == rig.room.replica.tail.end
    await rig.save(store)
    covered = await store.load(rig.room.name)
    block = fold([], [stored.data for stored in covered.updates])
    rig.room.rebase(StoredBlock(1, 3, block))
    assert rig.room.replica.tail.items == []
    assert rig.room.records == 0


async def test_the_frame_of_a_large_message_is_made_once_and_not_kept_for_nobody() -> None:
    rig = await opened()
    client = rig.enter()
    large, other = bytes(70_000), bytes(70_001)
    assert rig.room.framed(large) == frame(large)
    assert rig.room.framed(large) is rig.room.framed(large)
    assert rig.room.framed(other) == frame(other)
    assert rig.room.framed(b"small") == frame(b"small")
    last = rig.room.framed(large)
    assert client.connection is not None
    client.connection.closed(1000, clean=True)
    assert rig.room.framed(large) is not last


async def test_the_first_update_after_a_quiet_time_goes_out_at_once() -> None:
    rig = await opened()
    one, two = rig.enter(), rig.enter()
    one.type("a")
    assert two.read() == "a"
    assert two.kinds() == ["ask", "step2", "update"]


async def test_within_the_window_updates_gather_and_go_out_as_one() -> None:
    rig = await opened()
    one, two = rig.enter(), rig.enter()
    one.type("a")
    for letter in "bcd":
        one.type(letter)
    two.type("é")
    assert two.kinds()[2:] == ["update"]
    rig.room.flush()
    assert two.kinds()[2:] == ["update", "update"]
    assert sorted(two.read()) == sorted(one.read()) == sorted("abcdé")
    assert rig.stats.flushes == 2
    assert rig.stats.updates_in == 5


async def test_the_window_ends_by_itself() -> None:
    rig = await opened(Pace(0.002, 0.002))
    one, two = rig.enter(), rig.enter()
    for letter in "abc":
        one.type(letter)
    await until(lambda: two.read() == "abc")
    assert rig.stats.flushes == 2
    rig.room.close()


async def test_all_readers_share_one_object() -> None:
    rig = await opened()
    clients = [rig.enter() for _ in range(5)]
    clients[0].type("a")
    assert len({id(client.link.frames[-1]) for client in clients[1:]}) == 1
    assert rig.stats.frames_out >= 5


async def test_a_client_gets_nothing_back_that_it_alone_has_sent() -> None:
    rig = await opened()
    one, two = rig.enter(), rig.enter()
    one.type("a")
    assert (one.kinds()[2:], two.kinds()[2:]) == ([], ["update"])
    one.type("b")
    two.type("c")
    rig.room.flush()
    assert (one.kinds()[2:], two.kinds()[2:]) == (["update"], ["update", "update"])
    assert rig.stats.updates_out == 3


async def test_a_lone_writer_hears_of_the_server_all_the_same() -> None:
    """y-websocket gives up on a socket that has been silent for 30 s."""
    rig = await opened()
    one = rig.enter()
    for letter in "abc":
        one.type(letter)
        rig.room.flush()
    assert one.connection is not None
    one.connection.keep_alive(one.connection.last_sent + 20.0, 15.0)
    assert one.link.frames[-1] == KEEPALIVE


async def test_presence_goes_along_with_the_flush_that_is_due() -> None:
    rig = await opened()
    one, two, three = rig.enter(), rig.enter(), rig.enter(greet=False)
    one.type("a")
    one.announce(b'{"x":1}')
    one.type("b")
    one.announce(b'{"x":2}')
    frames = [len(client.link.frames) for client in (one, two, three)]
    rig.room.flush()
    assert [len(client.link.frames) for client in (one, two, three)] == [before + 1 for before in frames]
    assert two.read() == "ab"
    for client in (one, two, three):
        assert client.presence()[-1] == (100, 2, b'{"x":2}')
    assert rig.stats.frames_out == sum(len(client.link.sent) for client in (one, two, three))


@pytest.mark.parametrize(
    ("readers", "cost", "window"),
    [(10, 0.0, 0.001), (30, 0.0, 0.0085), (50, 0.0, 0.016), (9999, 0.0, 0.016), (0, 0.01, 0.03), (0, 9.0, 0.05)],
)
async def test_windows(readers: int, cost: float, window: float) -> None:
    assert Pace().window(readers, cost) == pytest.approx(window)


async def test_a_slow_reader_gets_one_diff_and_ends_identical() -> None:
    rig = await opened()
    one, slow, other = rig.enter(), rig.enter(capacity=200), rig.enter()
    assert slow.connection is not None
    for number in range(50):
        one.type(f"{number:010}" * 3)
        rig.room.flush()
    assert slow.connection.paused
    assert slow.link.waiting < 400
    assert rig.stats.slow_readers == 1
    assert len(other.read()) == 1500
    before = len(slow.link.sent)
    for _ in range(100):
        slow.link.drain()
    assert slow.read() == other.read() == one.read()
    assert len(slow.link.sent) - before < 15
    assert rig.stats.slow_readers == 0
    assert 1 <= rig.stats.catch_ups <= 2
    one.type("live again")
    rig.room.flush()
    assert slow.read() == one.read()


async def test_nothing_new_while_behind_is_one_small_answer() -> None:
    rig = await opened()
    one, slow = rig.enter(), rig.enter()
    assert slow.connection is not None
    one.type("a")
    slow.connection.pause()
    slow.connection.resume()
    assert slow.kinds()[-1] == "step2"
    one.type("b")
    rig.room.flush()
    assert slow.read() == "ab"


async def test_what_was_pending_when_a_link_filled_is_not_sent_twice_nor_lost() -> None:
    rig = await opened()
    one, slow = rig.enter(), rig.enter()
    assert slow.connection is not None
    one.type("a")
    one.type("b")
    slow.connection.pause()
    assert slow.read() == "ab"
    one.type("c")
    rig.room.flush()
    slow.connection.resume()
    assert slow.read() == "abc"


# saving


async def test_a_barrier_is_confirmed_when_everything_before_it_is_durable() -> None:
    rig, store = await opened(), MemoryStore()
    one = rig.enter()
    one.type("a")
    one.barrier(1)
    one.type("b")
    one.barrier(2)
    assert [kind for kind in one.kinds() if kind.startswith("saved")] == []
    assert rig.room.has_unsaved()
    await rig.save(store)
    assert one.kinds()[-2:] == ["saved 1", "saved 2"]
    assert not rig.room.has_unsaved()
    assert len((await store.load(RoomId("r"))).updates) == 1


async def test_a_barrier_behind_nothing_new_is_confirmed_at_once() -> None:
    rig = await opened()
    one = rig.enter(may_write=False)
    one.barrier(7)
    assert one.kinds()[-1] == "saved 7"


async def test_a_barrier_waits_for_what_its_client_built_on() -> None:
    rig, store = await opened(), MemoryStore()
    one, two = rig.enter(), rig.enter()
    one.type("a")
    two.read()
    two.barrier(9)
    assert "saved 9" not in two.kinds()
    await rig.save(store)
    assert "saved 9" in two.kinds()


async def test_a_barrier_of_a_client_with_something_held_back_waits_for_it() -> None:
    rig, store = await opened(), MemoryStore()
    one = rig.enter()
    lost = one.typed("a")
    one.type("b")
    one.barrier(1)
    one.barrier(2)
    rig.enter().type("z")
    await rig.save(store)
    assert "saved 1" not in one.kinds()
    one.send(lost)
    one.barrier(3)
    assert "saved 1" not in one.kinds()
    await rig.save(store)
    await rig.save(store)
    assert [kind for kind in one.kinds() if kind.startswith("saved")] == ["saved 1", "saved 2", "saved 3"]
    assert one.connection is not None
    assert one.connection.open_barriers == 0


async def test_a_held_update_counts_for_everybody_who_sent_it() -> None:
    rig, store = await opened(), MemoryStore()
    one, two = rig.enter(), rig.enter()
    lost = one.typed("a")
    early = one.typed("b")
    one.send(early)
    two.send(early)
    two.barrier(5)
    assert "saved 5" not in two.kinds()
    one.send(lost)
    await rig.save(store)
    assert "saved 5" in two.kinds()


async def test_barriers_of_somebody_who_left_are_forgotten() -> None:
    rig, store = await opened(), MemoryStore()
    one, two = rig.enter(), rig.enter()
    one.type("a")
    one.barrier(1)
    two.barrier(2)
    assert one.connection is not None
    one.connection.closed(1000, clean=True)
    await rig.save(store)
    assert "saved 1" not in one.kinds()
    assert two.kinds()[-1] == "saved 2"


async def test_a_store_that_keeps_nothing_confirms_nothing() -> None:
    rig, store = await opened(), MemoryStore()
    rig.room.durable = False
    one = rig.enter()
    one.barrier(1)
    one.type("a")
    one.barrier(2)
    await rig.save(store)
    assert not [kind for kind in one.kinds() if kind.startswith("saved")]


async def test_the_log_gets_one_record_per_author() -> None:
    rig = await opened()
    one, two = rig.enter(author="ann"), rig.enter(author="bob")
    for letter in "abc":
        one.type(letter)
        two.type(letter)
    rig.room.flush()
    records, number, count = rig.room.take_unlogged()
    assert [author for _, author in records] == ["ann", "bob"]
    assert (number, count) == (rig.room.replica.tail.end, 6)
    assert rig.room.take_unlogged() == ([], number, 0)
    assert rig.notes == [rig.room]
    one.type("d")
    rig.room.flush()
    assert rig.notes == [rig.room, rig.room]


def test_a_heavy_update_is_a_record_of_its_own() -> None:
    light = [update(section(1, clock, gc(1))) for clock in range(3)]
    heavy = update(*(section(1000 + client, 0, gc(1)) for client in range(HEAVY + 1)))
    records = _records([(data, parse_update(data)) for data in (*light[:2], heavy, light[2])])
    assert [len(parse_update(data).ranges) for data in records] == [1, HEAVY + 1, 1]
    assert heavy in records


async def test_records_are_of_bounded_size() -> None:
    updates = [update(section(client, 0, b"\x03\x01\x01t\xe0\xa7\x12" + bytes(300_000))) for client in range(1, 9)]
    records = _records([(data, parse_update(data)) for data in updates])
    assert len(records) == 3
    assert max(map(len, records)) < 1_100_000
    assert _records([]) == []


async def test_who_joins_a_large_document_shares_turns_with_others() -> None:
    """Each gets a piece in turn; a small document is not behind all the large ones."""
    rig = await opened()
    writer = rig.enter()
    for letter in "abcdefghij" * 40:
        writer.type(letter * 10)
        rig.room.flush()
    rig.room.turns.length = 0.0
    joiners = [rig.enter() for _ in range(3)]
    assert all("step2" not in joiner.kinds() for joiner in joiners)
    sizes: list[list[int]] = []
    while not rig.room.turns.idle:
        await asyncio.sleep(0)
        sizes.append([len(joiner.link.frames) for joiner in joiners])
    last = sizes[-1]
    first_done = next(now for now in sizes if any(got == all_of_it for got, all_of_it in zip(now, last, strict=True)))
    assert min(first_done) > max(last) / 2, "when one has everything, the others have most"
    assert len(sizes) > 10
    for joiner in joiners:
        assert joiner.kinds().count("step2") == 1
        assert joiner.read() == writer.read()


# presence


async def test_presence_goes_to_everybody_its_sender_included() -> None:
    """Stock clients live on hearing something every 30 s, and their own echo is what a lone client hears."""
    rig = await opened()
    one, two = rig.enter(), rig.enter()
    one.announce(b'{"x":1}')
    assert one.presence() == two.presence() == [(100, 1, b'{"x":1}')]
    two.announce()
    assert len(one.presence()) == 1
    rig.room.flush_presence()
    assert one.presence()[1:] == [(101, 1, b"{}")]


async def test_presence_goes_around_a_full_link_and_comes_when_there_is_room() -> None:
    rig = await opened()
    one, slow = rig.enter(), rig.enter()
    assert slow.connection is not None
    slow.connection.pause()
    one.announce()
    for _ in range(5):
        slow.send(b"\x03")
    assert slow.presence() == []
    slow.connection.resume()
    assert slow.presence() == [(100, 1, b"{}")]


@pytest.mark.parametrize("clean", [True, False])
async def test_who_leaves_is_announced(clean: bool) -> None:
    rig = await opened(Pace(1000, 1000, 1000, presence=0.0))
    one, two = rig.enter(), rig.enter()
    one.announce()
    assert one.connection is not None
    one.connection.closed(None, clean=clean)
    if not clean:
        assert len(two.presence()) == 1
        (entry,) = rig.room.presence.entries.values()
        rig.room.sweep_presence(entry.gone + 2.0)
    assert two.presence()[1:] == [(100, 1, b"null")]


async def test_the_owner_of_a_claimed_id_is_pinged() -> None:
    rig = await opened()
    one, two = rig.enter(), rig.enter()
    one.announce()
    two.clock = 1
    two.announce(number=100)
    assert (one.link.pings, two.link.pings) == (1, 0)
    (entry,) = rig.room.presence.entries.values()
    assert entry.claim is not None
    assert one.connection is not None
    one.connection.heard = entry.claim[3] + 1
    rig.room.sweep_presence(entry.claim[3] + 10)
    assert entry.owner is one.connection.session


# asking, leaving


async def test_what_its_sender_lacks_too_is_asked_of_the_others_who_may_write() -> None:
    rig = await opened()
    one, two, reader = rig.enter(), rig.enter(), rig.enter(may_write=False)
    one.send(sync_message(STEP2, update(section(9, 1, gc(1)))))
    assert one.kinds().count("ask") == 1
    assert two.kinds().count("ask") == 2
    assert reader.kinds().count("ask") == 1
    one.send(sync_message(STEP2, update(section(8, 1, gc(1)))))
    assert two.kinds().count("ask") == 2


async def test_an_empty_room_is_idle() -> None:
    rig = await opened()
    one = rig.enter()
    assert rig.room.idle_since == 0.0
    assert one.connection is not None
    one.connection.closed(1000, clean=True)
    assert rig.room.idle_since > 0
    assert not rig.room.connections


# blocks


async def stored(store: MemoryStore, texts: list[str]) -> Rig:
    """A room with one stored record per text."""
    rig = await opened()
    one = rig.enter()
    for value in texts:
        one.type(value)
        await rig.save(store)
    return rig


async def test_a_stored_room_is_served_again() -> None:
    store = MemoryStore()
    await stored(store, ["a", "b", "c"])
    again = Rig()
    await again.load(await store.load(RoomId("r")))
    assert again.room.loaded
    assert (again.room.records, again.room.position, again.room.saved) == (3, 3, 3)
    assert again.enter().read() == "abc"
    assert not again.room.has_unsaved()


@pytest.mark.parametrize("last", [1, 2, 3])
async def test_a_block_takes_the_place_of_what_it_covers(last: int) -> None:
    store = MemoryStore()
    rig = await stored(store, ["a", "b", "c"])
    updates = [found.data for found in (await store.load(RoomId("r"))).updates]
    rig.room.rebase(StoredBlock(1, last, fold([], updates[:last])))
    assert rig.room.records == 3 - last
    assert rig.room.replica.tail.first == last
    assert rig.enter().read() == "abc"


async def test_segments_follow_one_another() -> None:
    store = MemoryStore()
    rig = await stored(store, ["a", "b", "c"])
    updates = [found.data for found in (await store.load(RoomId("r"))).updates]
    rig.room.rebase(StoredBlock(1, 1, fold([], updates[:1])))
    rig.room.rebase(StoredBlock(2, 3, fold([], updates[1:])))
    assert rig.enter().read() == "abc"
    rig.room.rebase(StoredBlock(1, 3, fold([], updates)))
    assert len(rig.room.replica.blocks) == 1
    assert rig.enter().read() == "abc"


async def test_a_block_that_does_not_continue_what_is_here_is_left_alone() -> None:
    """The room was loaded while the block before it was being written: what that one covers is still in the tail."""
    store = MemoryStore()
    rig = await stored(store, ["a", "b", "c"])
    updates = [found.data for found in (await store.load(RoomId("r"))).updates]
    rig.room.rebase(StoredBlock(3, 3, fold([], updates[2:])))
    assert rig.enter().read() == "abc"
    assert rig.room.records == 3


async def test_an_unknown_room_is_empty() -> None:
    rig = Rig()
    await rig.load(EMPTY_ROOM)
    assert rig.room.loaded
    assert rig.enter().read() == ""
