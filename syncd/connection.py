"""One client in one room: its session, its link and its limits."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from crdt.errors import ProtocolError
from crdt.session import Session
from crdt.wire import EMPTY_AWARENESS, permission_denied
from syncd.close_codes import CloseCode, close_code_for
from syncd.frames import frame
from syncd.link import Link
from syncd.metrics import Stats

if TYPE_CHECKING:
    from syncd.room import Room

logger = logging.getLogger(__name__)

KEEPALIVE: Final = frame(EMPTY_AWARENESS)
"""y-websocket closes a socket on which no message came for 30 s; a ping does not count, since scripts cannot see it."""

REFUSAL_DELAY: Final = 1.5
"""Seconds before a final refusal closes: y-websocket up to 3.0 always comes back, at once after a successful open."""

EARLY_BYTES: Final = 16 << 20
"""Bytes of messages kept while the room is being loaded."""

MAX_COUNTER: Final = 64
"""Bytes of the counter in message 102; it is echoed."""

STEP: Final = 1_000
"""Structs that are passed over between two looks at the clock: a millisecond or two of plain Python."""

WAITING_BYTES: Final = 256 * 1024
"""Bytes that may wait behind a large message before the socket is not read any further."""

MAX_BARRIERS: Final = 1000
"""Barriers of one connection that may be open at once."""


class Connection:
    """What the node keeps of one websocket.

    Args:
        link: the socket.
        author: whom its updates are recorded as.
        may_write: whether it may change the document.
        rate: messages a second it may send on average; four times as many in a burst.
        on_gone: called once with the close code when it is over.
        address: where it comes from.

    Attributes:
        session: its sync machine, once the room is loaded.
        paused: its socket has no room; nothing is sent until it has.
        heard: when it was last heard of; sent: when it was last sent something of its own (loop seconds).
        open_barriers: how many of its barriers have not been confirmed.
        postponed: barriers that wait for something the client sent too early, and those behind them.
    """

    __slots__ = (
        "_burst",
        "_early",
        "_early_size",
        "_on_gone",
        "_pulling",
        "_rate",
        "_reading",
        "_refilled",
        "_tokens",
        "address",
        "author",
        "gone",
        "heard",
        "lagging",
        "last_sent",
        "link",
        "may_write",
        "open_barriers",
        "paused",
        "paused_at",
        "postponed",
        "room",
        "session",
        "stats",
    )

    def __init__(
        self,
        link: Link,
        room: Room,
        stats: Stats,
        author: str,
        *,
        may_write: bool,
        rate: float,
        on_gone: Callable[[Connection, int], None],
        address: str = "",
    ) -> None:
        now = time.monotonic()
        self.address = address
        self._on_gone = on_gone
        self.link = link
        self.room = room
        self.stats = stats
        self.author = author
        self.may_write = may_write
        self.session: Session | None = None
        self.paused = False
        self.paused_at = 0.0
        self.lagging = False
        self.gone = False
        self.heard = self.last_sent = now
        self.open_barriers = 0
        self.postponed: list[bytes] = []
        self._early: list[bytes] = []
        self._early_size = 0
        self._reading = True
        self._pulling = False
        self._rate = rate
        self._burst = rate * 4
        self._tokens = self._burst
        self._refilled = now

    def __repr__(self) -> str:
        return f"<Connection {id(self):x} of {self.author} in {self.room.name!r}>"

    # -- from the endpoint

    def message_received(self, message: bytes) -> None:
        """Take one whole binary message."""
        now = time.monotonic()
        self.heard = now
        stats = self.stats
        stats.messages_in += 1
        stats.bytes_in += len(message)
        self._tokens -= 1.0
        if self._tokens < 0.0 and not self._refill(now):
            self.refuse(CloseCode.TOO_FAST, "too many messages")
        elif self.session is None:
            self._keep_early(message)
        else:
            self._handle(message, now)

    def pong_received(self) -> None:
        """The peer is alive."""
        self.heard = time.monotonic()

    def pause(self) -> None:
        """The socket's buffer is full: stop sending, remember how far the client got."""
        self.paused = True
        self.paused_at = time.monotonic()
        session = self.session
        if session is None or self.gone:
            return
        session.stalled = True
        if session.live:
            if session.replica.pending:
                self.room.flush()
            self._fall_behind(session)
            self.room.set_live(self, False)

    def resume(self) -> None:
        """The socket has room again: bring the client up to date."""
        self.paused = False
        session = self.session
        if session is None or self.gone:
            return
        session.stalled = False
        if self.lagging:
            self._caught_up()
            self.stats.catch_ups += 1
            session.catch_up()
        session.send_presence()
        self.send_replies()

    def closed(self, code: int | None, clean: bool) -> None:
        """The socket is gone."""
        if self.gone:
            return
        self.gone = True
        number = 1006 if code is None else int(code)
        self.stats.close(number)
        self._caught_up()
        if self.session is not None and self.session.busy:
            # It arrived before the client went, so it counts.
            self.session.hang_up()
        self.room.leave(self, time.monotonic(), clean)
        self._on_gone(self, number)

    # -- from the room and the node

    def open(self, session: Session) -> None:
        """The room is loaded: greet the client and do what it asked for meanwhile."""
        self.session = session
        session.stalled = self.paused
        session.open()
        early, self._early = self._early, []
        self.send_replies()
        for message in early:
            if not self.gone:
                self._handle(message, self.heard)

    def send_replies(self) -> None:
        """Send what the session has for this client alone, as far as the socket takes it."""
        session = self.session
        if session is None or self.gone:
            return
        if session.out:
            self.last_sent = time.monotonic()
            self._send(session.out)
            session.out.clear()
        if self._pulling or not self._can_pull():
            return
        # Most documents are sent at once. When many want a large one, they take turns, so that nobody else waits.
        turns, enough = self.room.turns, self.stats.bytes_out + session.diff_bytes
        while turns.idle and self._pull() and self.stats.bytes_out < enough:
            pass
        if self._can_pull():
            self._pulling = True
            turns.share(self._pull_in_turn)

    def _can_pull(self) -> bool:
        session = self.session
        return session is not None and session.wants_more() and not self.paused and not self.gone

    def _pull(self) -> bool:
        """Send one piece of what the client lacks; whether another may follow."""
        session = self.session
        if session is None or not self._can_pull():
            return False
        if session.replica.pending:
            self.room.flush()
        self._send(session.pull())
        self.last_sent = time.monotonic()
        if session.live:
            self._went_live(session)
        return self._can_pull()

    def _pull_in_turn(self) -> bool:
        self._pulling = self._pull()
        return self._pulling

    def _send(self, messages: list[bytes]) -> None:
        for message in messages:
            self.link.send(self.room.framed(message))
        self.stats.frames_out += len(messages)
        self.stats.bytes_out += sum(map(len, messages))

    def _went_live(self, session: Session) -> None:
        self.stats.syncs += 1
        if self.paused:
            self._fall_behind(session)
        else:
            self.room.set_live(self, True)

    def _fall_behind(self, session: Session) -> None:
        session.fall_behind()
        if not self.lagging:
            self.lagging = True
            self.stats.slow_readers += 1

    def _caught_up(self) -> None:
        if self.lagging:
            self.lagging = False
            self.stats.slow_readers -= 1

    def refuse(self, code: CloseCode, reason: str) -> None:
        """Tell the client why and close; nothing it sends is looked at any more."""
        if self.gone:
            return
        if self.session is not None:
            self.session.drop()
        self.closed(code, clean=False)
        self.link.send(frame(permission_denied(reason)))
        self.link.close(code, reason[:120], 0.0 if code.retry else REFUSAL_DELAY)

    def keep_alive(self, now: float, interval: float) -> None:
        """Probe a connection that has been quiet; drop one that does not answer."""
        quiet = now - self.heard
        if quiet > interval * 2.5:
            self.link.abort()
            return
        if quiet >= interval:
            self.link.ping()
        room_sent = self.room.last_sent if self.session is not None and self.session.live else 0.0
        if now - max(self.last_sent, room_sent) >= interval and not self.paused:
            self.link.send(KEEPALIVE)
            self.stats.frames_out += 1
            self.stats.bytes_out += len(EMPTY_AWARENESS)
            self.last_sent = now

    # -- inside

    def _refill(self, now: float) -> bool:
        """Top up the token bucket; whether there is room for this message."""
        self._tokens = min(self._tokens + (now - self._refilled) * self._rate, self._burst)
        self._refilled = now
        return self._tokens >= 0.0

    def _keep_early(self, message: bytes) -> None:
        if self.gone:
            return
        self._early.append(message)
        self._early_size += len(message)
        if self._early_size > EARLY_BYTES:
            self.refuse(CloseCode.TRY_LATER, "too much was sent before the document was loaded")

    def _handle(self, message: bytes, now: float) -> None:
        session = self.session
        if session is None or self.gone:
            return
        was_live, was_busy = session.live, session.busy
        try:
            session.receive(message, now)
        except ProtocolError as error:
            self._throw_out(error)
        if not session.busy:
            self._done(session, was_live)
        elif was_busy:
            self._hold_reading(session)
        else:
            self._begin_work(session)

    def _begin_work(self, session: Session) -> None:
        """The message takes long, or may: begin at once if nobody else waits for a turn, and go on in turns."""
        room = self.room
        room.working.add(self)
        if not room.turns.idle or self.turn(time.monotonic() + room.turns.length):
            self._hold_reading(session)
            room.turns.add(self)

    def _hold_reading(self, session: Session) -> None:
        if self._reading and session.waiting > WAITING_BYTES:
            self._reading = False
            self.link.pause_reading()

    def turn(self, until: float) -> bool:
        """Go on with what takes long; whether there is more to do. The client may be gone meanwhile."""
        session = self.session
        assert session is not None, "there was a message"
        was_live = session.live
        self.heard = now = time.monotonic()
        try:
            while session.busy:
                # A large update is flushed alone: merging it with others would take long.
                alone = session.is_near
                if alone and session.replica.pending:
                    self.room.flush()
                session.work(now, STEP)
                if alone and session.replica.pending:
                    self.room.flush()
                now = time.monotonic()
                if now >= until:
                    break
        except ProtocolError as error:
            self._throw_out(error)
        except Exception:
            logger.exception("unexpected error in %r", self)
            session.drop()
            self.link.close(CloseCode.INTERNAL_ERROR, "internal error")
        self._done(session, was_live)
        if session.busy:
            return True
        self.room.working.discard(self)
        if self.gone:
            self.room.replica.leave(session)
        if not self._reading:
            self._reading = True
            self.link.resume_reading()
        return False

    def _throw_out(self, error: ProtocolError) -> None:
        self.stats.refuse(error.rule)
        logger.info("refused bytes of %r: %s", self, error)
        self.refuse(close_code_for(error.rule), f"{error.rule}: {error.detail}")

    def _done(self, session: Session, was_live: bool) -> None:
        """Pass on what came of the messages that were just looked at."""
        room = self.room
        if was_live and not session.live:
            room.set_live(self, False)
        if room.replica.pending:
            room.wake()
        if room.replica.stirred:
            room.stir()
        if self.gone:
            return
        if session.out or session.wants_more():
            self.send_replies()
        if room.presence.dirty:
            room.wake_presence()
        if session.barriers:
            self._take_barriers(session)
        if session.contested:
            self._ping_owners(session)
        if session.answered:
            session.answered = False
            if room.replica.held and session.waits():
                room.ask_others(self)

    def _take_barriers(self, session: Session) -> None:
        for counter in session.barriers:
            if self.open_barriers >= MAX_BARRIERS:
                self.refuse(CloseCode.TOO_FAST, "too many barriers wait to be confirmed")
                break
            if len(counter) <= MAX_COUNTER:
                self.room.add_barrier(self, counter)
        session.barriers.clear()

    def _ping_owners(self, session: Session) -> None:
        """Somebody announces a presence id that another connection has: is that one still there?"""
        for connection in self.room.connections:
            if connection.session in session.contested:
                connection.link.ping()
        session.contested.clear()

    def retry_postponed(self) -> bool:
        """Put barriers back in line once nothing of this client waits any more; whether that is so."""
        if self.session is not None and self.session.waits():
            return False
        postponed, self.postponed = self.postponed, []
        self.open_barriers -= len(postponed)
        for counter in postponed:
            self.room.add_barrier(self, counter)
        return True
