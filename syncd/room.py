"""One open document: what its connections send is applied, flushed to all of them at once, and handed to the log.

The way of a keystroke: `Connection.message_received` -> `Session.receive` -> `Replica.receive` -> `Room.wake` ->
`Room.flush`. There is no task, await or queue in between. Saving goes beside it: `LogWriter` collects what was flushed
(`take_unlogged`), and `logged` confirms the barriers that it covers.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from crdt.awareness import Presence
from crdt.block import Block
from crdt.gate import STEPPED
from crdt.ids import RoomId
from crdt.merge import is_heavy, join
from crdt.replica import SHARED_FROM, Limits, Replica
from crdt.session import Session
from crdt.update import Update
from crdt.wire import UPDATE, awareness_message, sync_message
from persistence.api import FIRST_POSITION, StoredBlock, StoredRoom
from syncd.frames import frame
from syncd.metrics import Stats
from syncd.turns import Turns

if TYPE_CHECKING:
    from syncd.connection import Connection

logger = logging.getLogger(__name__)

RECORD_BYTES: Final = 1 << 20
"""Bytes of one author's updates above which they go to the log as several records."""

RETRY_STEP: Final = 1_000
"""Structs of held updates that are looked at between two looks at the clock."""

LOAD_STEP: Final = 1_000
"""Structs of a stored update that are read between two looks at the clock."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often a room flushes; all in seconds.

    What an update costs is the waking of processes: in a small room gathering would cost as much as it spares, and only
    make people wait. With the number of readers the window grows to one frame of a display.

    Attributes:
        least: window of a room with up to `few` readers.
        most: window of a room with `crowd` readers or more.
        overload: the longest window, reached when flushing itself takes long.
        few, crowd: numbers of readers.
        presence: window of presence, which nobody needs faster than a display shows it.
    """

    least: float = 0.001
    most: float = 0.016
    overload: float = 0.050
    few: int = 10
    crowd: int = 50
    presence: float = 0.016

    def window(self, readers: int, last_cost: float) -> float:
        """Seconds between two flushes for so many readers, when the last flush took `last_cost` seconds."""
        growth = min(max(readers - self.few, 0) / (self.crowd - self.few), 1.0)
        return min(max(self.least + (self.most - self.least) * growth, last_cost * 3), self.overload)


class Room:
    """State and connections of one room on this node.

    Args:
        name: the room.
        limits: bounds of the document.
        presence: its presence table.
        stats: counters of the node.
        pace: flush windows.
        durable: whether the store keeps what it is given; if not, nothing is ever confirmed as saved.
        on_unlogged: called when the room has something for the log, and again when that becomes urgent.
        turns: where what takes long gets its turns.

    Attributes:
        connections: everybody in the room.
        loaded: whether the stored state is here; nobody is answered before.
        records: updates in the store that no block covers.
        saved: tail number up to which everything is durable.
        working: connections with messages that are not done yet, some of them perhaps gone.
        idle_since: when the last connection left, seconds of the loop's clock; 0.0 while there is one.
    """

    __slots__ = (
        "_asked",
        "_barriers",
        "_blocks",
        "_cost",
        "_frame",
        "_framed_message",
        "_last_flush",
        "_last_presence",
        "_live",
        "_loop",
        "_marks",
        "_on_unlogged",
        "_postponing",
        "_presence_timer",
        "_readers",
        "_stirring",
        "_timer",
        "connections",
        "durable",
        "generation",
        "idle_since",
        "last_sent",
        "loaded",
        "logging",
        "name",
        "pace",
        "position",
        "presence",
        "records",
        "replica",
        "saved",
        "stats",
        "turns",
        "unlogged",
        "unlogged_since",
        "working",
    )

    def __init__(
        self,
        name: RoomId,
        limits: Limits,
        presence: Presence,
        stats: Stats,
        pace: Pace,
        on_unlogged: Callable[[Room], None],
        *,
        durable: bool = True,
        turns: Turns | None = None,
    ) -> None:
        self.name = name
        self.turns = Turns() if turns is None else turns
        self.working: set[Connection] = set()
        self._stirring = False
        self.replica = Replica(limits)
        self.presence = presence
        self.stats = stats
        self.pace = pace
        self.durable = durable
        self.generation = 0
        self.loaded = False
        self.connections: set[Connection] = set()
        self.saved = 0
        self.position = 0
        self.records = 0
        self.idle_since = 0.0
        self.last_sent = 0.0
        self.logging = False
        self.unlogged: list[tuple[bytes, Update, str]] = []
        self.unlogged_since = 0.0
        self._loop = asyncio.get_running_loop()
        self._on_unlogged = on_unlogged
        self._live: set[Connection] = set()
        self._readers: tuple[Connection, ...] | None = ()
        self._timer: asyncio.TimerHandle | None = None
        self._presence_timer: asyncio.TimerHandle | None = None
        self._last_flush = 0.0
        self._last_presence = 0.0
        self._cost = 0.0
        self._frame = self._framed_message = b""
        self._asked = 0.0
        self._blocks: list[tuple[StoredBlock, Block]] = []
        self._marks: deque[tuple[int, int]] = deque()
        self._postponing: set[Connection] = set()
        self._barriers: deque[tuple[int, Connection, bytes]] = deque()

    # -- state

    async def load(self, stored: StoredRoom) -> None:
        """Take over what the store has; others get their turn while a long log is read.

        Raises:
            ProtocolError: when the stored bytes are not what we wrote: then nobody may be served from them.
        """
        self.generation = stored.generation
        self._blocks = [(block, Block.from_bytes(block.data)) for block in stored.blocks]
        self.replica.load_blocks([block for _, block in self._blocks])
        self._drop_block_bytes()
        replica = self.replica
        yielded = time.monotonic()
        for update in stored.updates:
            if len(update.data) < STEPPED:
                replica.load_update(update.data)
            else:
                intake = replica.begin_load(update.data)
                while not replica.advance_load(intake, LOAD_STEP):
                    if time.monotonic() - yielded > self.turns.length:
                        await asyncio.sleep(0)
                        yielded = time.monotonic()
            self._marks.append((replica.tail.end, update.position))
            if time.monotonic() - yielded > self.turns.length:
                await asyncio.sleep(0)
                yielded = time.monotonic()
        replica.check_loaded()
        self.position = stored.updates[-1].position if stored.updates else stored.covered
        self.records = len(stored.updates)
        self.saved = replica.tail.end
        self.loaded = True

    def _drop_block_bytes(self) -> None:
        """Keep the opened blocks only, not the stored bytes beside them."""
        self._blocks = [(StoredBlock(block.first, block.last, b""), opened) for block, opened in self._blocks]

    def rebase(self, block: StoredBlock) -> None:
        """Serve from a block that compaction wrote in place of the blocks and updates it covers.

        One that does not continue what is here is left alone: a compaction that was under way while the room was loaded
        may have written a block before it that the room still has as updates.
        """
        kept = [pair for pair in self._blocks if pair[0].last < block.first]
        if block.first != (kept[-1][0].last + 1 if kept else FIRST_POSITION):
            return
        self._blocks = [*kept, (block, Block.from_bytes(block.data))]
        self._drop_block_bytes()
        covered = self.replica.tail.first
        while self._marks and self._marks[0][1] <= block.last:
            covered = self._marks.popleft()[0]
        self.replica.rebase([opened for _, opened in self._blocks], covered)
        self.records = len(self._marks)

    @property
    def held_bytes(self) -> int:
        """Bytes of updates that wait for what they build on."""
        return self.replica.held_size

    # -- flushing

    def wake(self) -> None:
        """Something is pending: flush now after a quiet window, else at the end of the running one."""
        if self._timer is not None:
            return
        now = time.monotonic()
        due = self._last_flush + self.pace.window(len(self._live), self._cost)
        if now >= due:
            self.flush()
        else:
            self._timer = self._loop.call_at(due, self.flush)

    def flush(self) -> None:
        """Send what is pending to every live connection, as one update in one frame, encoded once.

        Presence that is due goes along in the same write. A connection gets back nothing that it alone has sent.
        """
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        replica = self.replica
        if not replica.pending:
            return
        started = time.monotonic()
        self._note_unlogged(started)
        writer = self._only_writer()
        update = replica.flush()
        assert update is not None, "something was pending"
        message = sync_message(UPDATE, update)
        readers = self._readers
        if readers is None:
            readers = self._readers = tuple(self._live)
        whole = frame(message)
        presence: list[bytes] = []
        beside = b""
        if self.presence.dirty:
            presence = self._take_presence(started)
            beside = b"".join(map(frame, presence))
            whole += beside
        sent = 0
        for connection in readers:
            if connection.session is not writer:
                connection.link.send(whole)
                sent += 1
        if presence:
            live = self._live
            others = [each for each in self.connections if each not in live or each.session is writer]
            self._count_presence(presence, sent + self._send_to(others, beside))
        stats = self.stats
        stats.flushes += 1
        stats.flush_bytes += len(update)
        stats.flush_readers += sent
        stats.updates_out += sent
        stats.frames_out += sent
        stats.bytes_out += sent * len(message)
        if writer is None:
            self.last_sent = started
        self._last_flush = started
        self._cost = time.monotonic() - started

    def _only_writer(self) -> object:
        """Who sent all that is pending; None when it was more than one."""
        pending = self.replica.pending
        writer = pending[0][1]
        for at in range(1, len(pending)):
            if pending[at][1] is not writer:
                return None
        return writer

    def _note_unlogged(self, now: float) -> None:
        unlogged = self.unlogged
        if not unlogged:
            self.unlogged_since = now
        pending, summaries = self.replica.pending, self.replica.summaries
        for at in range(len(pending)):
            data, source = pending[at]
            assert isinstance(source, Session), "only sessions send updates into an open room"
            unlogged.append((data, summaries[at], source.author))
        self.stats.unsaved_updates += len(pending)
        if not self.logging:
            self.logging = True
            self._on_unlogged(self)

    def wake_presence(self) -> None:
        """Presence changed: send it with the flush that is due, else now after a quiet window or at the end of one."""
        if self._presence_timer is not None or self._timer is not None or not self.presence.dirty:
            return
        now = time.monotonic()
        due = self._last_presence + max(self.pace.presence, self._cost * 3)
        if now >= due:
            self.flush_presence()
        else:
            self._presence_timer = self._loop.call_at(due, self.flush_presence)

    def sweep_presence(self, now: float) -> None:
        """Expire presence that is due."""
        # When a network fails, everybody in a room claims his own id back at once.
        heard: dict[object, float] = {}
        if self.presence.claims:
            heard = {connection.session: connection.heard for connection in self.connections}
        self.presence.sweep(now, lambda owner: heard.get(owner, 0.0))
        self.wake_presence()

    def flush_presence(self) -> None:
        """Send the changed states to everybody whose link has room; the others get the whole table when it has."""
        now = time.monotonic()
        presence = self._take_presence(now)
        if presence:
            self._count_presence(presence, self._send_to(self.connections, b"".join(map(frame, presence))))
            self.last_sent = now

    def _take_presence(self, now: float) -> list[bytes]:
        """The messages of the changed states."""
        if self._presence_timer is not None:
            self._presence_timer.cancel()
            self._presence_timer = None
        self._last_presence = now
        return [awareness_message(update) for update in self.presence.take()]

    @staticmethod
    def _send_to(connections: Iterable[Connection], frames: bytes) -> int:
        """Send to those whose link has room; how many they are."""
        sent = 0
        for connection in connections:
            if not connection.paused:
                connection.link.send(frames)
                sent += 1
        return sent

    def framed(self, message: bytes) -> bytes:
        """The frame of a message to one connection; of a large one, made once for all who are sent it in a row."""
        if len(message) < SHARED_FROM:
            return frame(message)
        if self._framed_message is not message:
            self._framed_message = message
            self._frame = frame(message)
        return self._frame

    def _count_presence(self, messages: list[bytes], readers: int) -> None:
        stats = self.stats
        stats.presence_out += readers * len(messages)
        stats.frames_out += readers * len(messages)
        stats.bytes_out += readers * sum(map(len, messages))

    # -- connections

    def join(self, connection: Connection) -> None:
        """Add a connection."""
        self.connections.add(connection)
        self.idle_since = 0.0

    def leave(self, connection: Connection, now: float, clean: bool) -> None:
        """Remove a connection and, after a grace period unless it said goodbye, its presence."""
        self.connections.discard(connection)
        self.set_live(connection, False)
        if connection.session is not None:
            self.replica.leave(connection.session)
            self.presence.leave(connection.session, now, clean)
            self.wake_presence()
        self._postponing.discard(connection)
        if self._barriers:
            self._barriers = deque(entry for entry in self._barriers if entry[1] is not connection)
        if not self.connections:
            self.idle_since = now
            self.replica.forget_prepared()
            self._framed_message = self._frame = b""
            self._hasten()

    def set_live(self, connection: Connection, live: bool) -> None:
        """Add a connection to those that receive what is flushed, or remove it."""
        if live:
            self._live.add(connection)
        else:
            self._live.discard(connection)
        self._readers = None

    def ask_others(self, asker: Connection) -> None:
        """Something is missing that its sender does not have either: ask everybody else, at most once a second."""
        now = time.monotonic()
        if now - self._asked < 1.0:
            return
        self._asked = now
        for connection in tuple(self.connections):
            session = connection.session
            if connection is not asker and session is not None and session.may_write and not connection.paused:
                session.ask()
                connection.send_replies()

    def stir(self) -> None:
        """Something that was held back may be complete: look at it, in turns."""
        if not self._stirring and self.replica.stirred:
            self._stirring = True
            self.turns.add(self)

    def turn(self, until: float) -> bool:
        """Look at a part of what is held back; whether there is more to look at."""
        self._stirring = False
        while self.replica.stirred:
            self.replica.retry(RETRY_STEP)
            if time.monotonic() >= until:
                break
        if self.replica.pending:
            self.wake()
        self._stirring = self.replica.stirred
        return self._stirring

    # -- saving

    def take_unlogged(self) -> tuple[list[tuple[bytes, str]], int, int]:
        """Everything accepted and not yet given to the log, merged per author; the tail number it reaches to; and how
        many updates of clients it was."""
        self.flush()
        unlogged, self.unlogged = self.unlogged, []
        self.logging = False
        if len(unlogged) == 1:
            data, _, author = unlogged[0]
            return [(data, author)], self.replica.tail.end, 1
        by_author: dict[str, list[tuple[bytes, Update]]] = {}
        for data, summary, author in unlogged:
            by_author.setdefault(author, []).append((data, summary))
        records = [(data, author) for author, updates in by_author.items() for data in _records(updates)]
        return records, self.replica.tail.end, len(unlogged)

    def logged(self, number: int, position: int, records: int) -> None:
        """Everything below tail number `number` is durable, the last of it at `position`: confirm its barriers."""
        self.saved = number
        self.position = position
        self._marks.append((number, position))
        self.records += records
        self.confirm()
        if self._postponing:
            for connection in tuple(self._postponing):
                if connection.retry_postponed():
                    self._postponing.discard(connection)

    def add_barrier(self, connection: Connection, counter: bytes) -> None:
        """Confirm `counter` to the connection once everything the room has accepted until now is durable."""
        if not self.durable:
            return
        replica = self.replica
        number = replica.tail.end + (1 if replica.pending else 0)
        connection.open_barriers += 1
        if connection.postponed:
            connection.postponed.append(counter)  # not before those that came before it
            return
        self._barriers.append((number, connection, counter))
        self.confirm()
        if self._barriers:
            self._hasten()

    @property
    def urgent(self) -> bool:
        """Whether somebody waits for the log, or nobody is left who has what it lacks."""
        return bool(self._barriers) or not self.connections

    def _hasten(self) -> None:
        if self.logging:
            self._on_unlogged(self)

    def confirm(self) -> None:
        """Send the barriers that are reached. One whose client has something held back must wait, with those behind."""
        barriers = self._barriers
        while barriers and barriers[0][0] <= self.saved:
            _, connection, counter = barriers[0]
            session = connection.session
            barriers.popleft()
            if session is not None and session.waits():
                connection.postponed.append(counter)
                self._postponing.add(connection)
            elif session is not None:
                connection.open_barriers -= 1
                connection.link.send(frame(session.saved(counter)))
                connection.last_sent = time.monotonic()
                self.stats.saved_barriers += 1

    def has_unsaved(self) -> bool:
        """Whether anything that was received in good order is not durable yet."""
        replica = self.replica
        return self.saved < replica.tail.end or bool(replica.pending) or bool(self.working) or self._stirring

    def close(self) -> None:
        """Cancel the timers; the room is not used any more."""
        for timer in (self._timer, self._presence_timer):
            if timer is not None:
                timer.cancel()
        self._timer = self._presence_timer = None


def _records(updates: Sequence[tuple[bytes, Update]]) -> list[bytes]:
    """One author's updates, with their summaries, merged into records of bounded size."""
    records: list[bytes] = []
    batch: list[bytes] = []
    summaries: list[Update] = []
    size = 0
    for update, summary in updates:
        heavy = is_heavy(summary)
        if batch and (heavy or size + len(update) > RECORD_BYTES):
            records.append(_record(batch, summaries))
            batch, summaries, size = [], [], 0
        if heavy:
            records.append(update)
            continue
        batch.append(update)
        summaries.append(summary)
        size += len(update)
    if batch:
        records.append(_record(batch, summaries))
    return records


def _record(batch: list[bytes], summaries: list[Update]) -> bytes:
    return batch[0] if len(batch) == 1 else join(batch, summaries)[0]
