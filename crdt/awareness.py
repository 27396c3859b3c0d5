"""Who is present in a room: the newest state of every client id, and which connection may speak for it.

Rules: y-protocols `awareness.js`. Three things are ours. A client id belongs to the connection that introduced it, so
nobody can speak for, or remove, somebody else's cursor: every y-websocket client re-sends every remote state it
hears, and a tab whose sibling lost its socket announces all remote users as gone. What is not newer is dropped before
it is sent on. And an id whose connection has gone silent can be claimed by the connection that its user reconnected
with.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Final

from crdt.errors import ProtocolError
from crdt.json_text import check_json
from crdt.varint import read_bytes, read_uint, write_bytes, write_uint

NULL: Final = b"null"
MAX_DEPTH: Final = 32
"""Nesting of a presence state."""

MESSAGE_BYTES: Final = 64 * 1024
"""Size at which an outgoing awareness update is closed and the next one begun."""

ENTRY_BYTES: Final = 16
"""Bytes of an entry beside its state, roughly."""

MAX_STATES: Final = 10_000
"""Entries of one incoming awareness update. A client echoes what we sent it, at most `MESSAGE_BYTES`, or announces
that everybody it knew is gone."""

MAX_ENTRIES: Final = 100_000
"""Ids remembered in a room, those that are gone included: they are kept for `timeout`, and one connection can announce
and retract any number of them."""

MAX_MESSAGE: Final = 256 * 1024
"""Bytes of an incoming awareness update: twice what we send, or what a client says that announces everybody as gone."""

ECHO_SECONDS: Final = 1.0
ECHO_BYTES: Final = 1024 * 1024
"""What we have sent is remembered for one to two times so long, up to so many bytes, to know its echoes by."""

NEVER: Final = float("inf")

CLAIM_SECONDS: Final = 3.0
"""How long the owner of a claimed id may stay silent before the claim is granted. The owner is pinged at the claim."""


class Entry:
    """What is known of one client id.

    Attributes:
        clock: its awareness clock.
        state: its JSON as sent, or None once it is gone.
        owner: the connection that may change it; None once that is gone.
        seen: when the state was last renewed, seconds of the caller's clock.
        gone: when the owner went away without saying goodbye; 0.0 while it is there.
        claim: connection that asks for the id, with what it announced and when.
        due: when the entry has to be looked at again, at the latest.
        shown: whether the last that was sent on was a state.
    """

    __slots__ = ("claim", "clock", "due", "gone", "owner", "seen", "shown", "state")

    def __init__(self, clock: int, state: bytes | None) -> None:
        self.clock = clock
        self.state = state
        self.owner: object | None = None
        self.seen = 0.0
        self.gone = 0.0
        self.claim: tuple[object, int, bytes, float] | None = None
        self.due = NEVER
        self.shown = False


class Heard:
    """What became of one awareness update.

    Attributes:
        changed: states that were accepted.
        dropped: echoes and stale states.
        refused: rule -> count of entries that were not allowed.
        contested: owners of ids that somebody else claimed just now; ping them.
        revive: update to send back to the sender alone: its id was announced as gone at the clock it still uses (or may
            have been, before we were started), so its peers would not take it back; told that it is gone, a client
            raises its clock and announces itself again.
    """

    __slots__ = ("changed", "contested", "dropped", "refused", "revive")

    def __init__(self) -> None:
        self.changed = 0
        self.dropped = 0
        self.refused: dict[str, int] = {}
        self.contested: list[object] = []
        self.revive: list[tuple[int, int, bytes]] = []

    def refuse(self, rule: str) -> None:
        """Count one entry that broke `rule`."""
        self.refused[rule] = self.refused.get(rule, 0) + 1


def read_awareness(data: bytes) -> list[tuple[int, int, bytes]]:
    """The entries of an awareness update as (client id, clock, JSON).

    Raises:
        ProtocolError: when the bytes are not an awareness update.
    """
    count, pos = read_uint(data, 0)
    if count * 3 > len(data) - pos:
        raise ProtocolError("count", "an awareness update claims more entries than it has")
    if count > MAX_STATES:
        raise ProtocolError("states", f"an awareness update has more than {MAX_STATES} entries")
    entries: list[tuple[int, int, bytes]] = []
    for _ in range(count):
        client, pos = read_uint(data, pos)
        clock, pos = read_uint(data, pos)
        state, pos = read_bytes(data, pos)
        entries.append((client, clock, state))
    return entries


def encode_awareness(entries: list[tuple[int, int, bytes]]) -> bytes:
    """Encode (client id, clock, JSON) entries as an awareness update."""
    out = bytearray()
    write_uint(out, len(entries))
    for client, clock, state in entries:
        write_uint(out, client)
        write_uint(out, clock)
        write_bytes(out, state)
    return bytes(out)


class Presence:
    """Presence of one room.

    Args:
        max_bytes: size of one state.
        ids_per_owner: how many client ids one connection may speak for.
        timeout: seconds after which a state that is not renewed is gone (30 in y-protocols).
        grace: seconds a state outlives a connection that broke, so that a reconnect does not flicker.
        forgot_at: when this server last forgot everybody, by its start; until `timeout` after it, an id that is new
            to us may be one that the others in the room have seen leave.

    Attributes:
        entries: client id -> what is known of it.
        dirty: ids that have changed since `take`.
        owned: connection -> the ids that it may change.
        claims: connection -> the ids that it asks for.
    """

    __slots__ = (
        "_due",
        "_echo_bytes",
        "_echoes",
        "_echoes_since",
        "_older_echoes",
        "claims",
        "dirty",
        "entries",
        "forgot_at",
        "grace",
        "ids_per_owner",
        "max_bytes",
        "owned",
        "timeout",
    )

    def __init__(
        self,
        max_bytes: int,
        ids_per_owner: int,
        timeout: float = 30.0,
        grace: float = 2.0,
        forgot_at: float = float("-inf"),
    ) -> None:
        self.forgot_at = forgot_at
        self.max_bytes = max_bytes
        self.ids_per_owner = ids_per_owner
        self.timeout = timeout
        self.grace = grace
        self.entries: dict[int, Entry] = {}
        self.dirty: set[int] = set()
        self.owned: dict[object, set[int]] = {}
        self.claims: dict[object, set[int]] = {}
        self._due: list[tuple[float, int]] = []  # heap of (when, client id); only that at `Entry.due` counts
        self._echoes: dict[bytes, int] = {}  # what was sent lately -> number of its entries
        self._older_echoes: dict[bytes, int] = {}
        self._echoes_since = 0.0
        self._echo_bytes = 0

    def echoed(self, data: bytes, owner: object) -> int:
        """The number of entries of an awareness update that is known to change nothing, by its bytes alone; else 0.

        A stock client sends every remote state that it hears back to us, so nearly all that comes in a room of many is
        what we have just sent. From a connection that has an id of its own that says nothing, as long as every id in it
        still has its owner: whatever takes one away forgets the echoes.
        """
        if owner not in self.owned:
            return 0
        return self._echoes.get(data, 0) or self._older_echoes.get(data, 0)

    def _remember(self, updates: list[tuple[bytes, int]]) -> list[bytes]:
        """Know these (update, number of entries) when they come back."""
        for data, count in updates:
            if self._echo_bytes + len(data) <= ECHO_BYTES:
                self._echo_bytes += len(data)
                self._echoes[data] = count
        return [data for data, _ in updates]

    def _forget_echoes(self) -> None:
        self._echoes = {}
        self._older_echoes = {}
        self._echo_bytes = 0

    def receive(self, data: bytes, owner: object, now: float) -> Heard:
        """Take one awareness update of a connection.

        Raises:
            ProtocolError: when the bytes are not an awareness update; nothing has changed then.
        """
        if len(data) > MAX_MESSAGE and len(data) > MESSAGE_BYTES + 2 * self.max_bytes:
            raise ProtocolError("size", f"an awareness update is larger than {MAX_MESSAGE} bytes")
        heard = Heard()
        for client, clock, raw in read_awareness(data):
            entry = self.entries.get(client)
            state = None if raw == NULL else raw
            if entry is not None and entry.owner is not owner and entry.owner is not None:
                self._foreign(client, entry, clock, state, owner, now, heard)
            elif entry is not None and (clock < entry.clock or (clock == entry.clock and state == entry.state)):
                heard.dropped += 1
                self._adopt(client, entry, clock, owner, now)
            elif state is None:
                self._remove(client, entry, clock, owner, now, heard)
            elif self._allowed(client, entry, state, owner, heard):
                self._accept(client, entry, clock, state, owner, now, heard)
        return heard

    def _foreign(
        self, client: int, entry: Entry, clock: int, state: bytes | None, owner: object, now: float, heard: Heard
    ) -> None:
        """Somebody speaks for an id of another connection: an echo, a forgery, or its user on a new connection."""
        if clock < entry.clock or (clock == entry.clock and state == entry.state):
            heard.dropped += 1
        else:
            heard.refuse("foreign-id")
        free = entry.claim is None and owner not in self.owned
        if free and state is not None and clock >= entry.clock and self._sound(state, heard):
            entry.claim = (owner, clock, state, now)
            self.claims.setdefault(owner, set()).add(client)
            self._plan(client, entry)
            heard.contested.append(entry.owner)

    def _adopt(self, client: int, entry: Entry, clock: int, owner: object, now: float) -> None:
        """A reconnected client repeats the state that outlived its broken connection: it owns it again."""
        if entry.owner is None and clock == entry.clock and entry.state is not None and owner not in self.owned:
            self._own(client, entry, owner)
            entry.seen = now

    def _own(self, client: int, entry: Entry, owner: object) -> None:
        """Make `owner` the one who may change `entry`."""
        if entry.owner is not owner:
            self._release(client, entry)
            entry.owner = owner
            entry.gone = 0.0
            self.owned.setdefault(owner, set()).add(client)

    def _release(self, client: int, entry: Entry) -> None:
        owner = entry.owner
        if owner is not None:
            entry.owner = None
            ids = self.owned[owner]
            ids.discard(client)
            if not ids:
                del self.owned[owner]

    def _disown(self, client: int, entry: Entry, now: float) -> None:
        """Leave `entry` without an owner, gone at `now`."""
        self._release(client, entry)
        entry.gone = now
        self._forget_echoes()

    def _withdraw(self, client: int, entry: Entry) -> None:
        """Nobody asks for the id any more."""
        claim = entry.claim
        if claim is not None:
            entry.claim = None
            ids = self.claims[claim[0]]
            ids.discard(client)
            if not ids:
                del self.claims[claim[0]]

    def _plan(self, client: int, entry: Entry) -> None:
        """See to it that the entry is looked at when something about it is due."""
        due = NEVER if entry.claim is None else entry.claim[3] + CLAIM_SECONDS
        if entry.owner is None:
            due = min(due, entry.gone + (self.timeout if entry.state is None else self.grace))
        if entry.state is not None:
            due = min(due, entry.seen + self.timeout)
        if due < entry.due:
            entry.due = due
            heappush(self._due, (due, client))

    def _remove(self, client: int, entry: Entry | None, clock: int, owner: object, now: float, heard: Heard) -> None:
        if entry is None or entry.owner is not owner:
            heard.dropped += 1
            return
        entry.clock = clock
        self._disown(client, entry, now)
        if entry.state is not None:
            entry.state = None
            self.dirty.add(client)
            heard.changed += 1
        self._plan(client, entry)

    def _allowed(self, client: int, entry: Entry | None, state: bytes, owner: object, heard: Heard) -> bool:
        if (entry is None or entry.owner is not owner) and len(self.owned.get(owner, ())) >= self.ids_per_owner:
            heard.refuse("presence-ids")
            return False
        if entry is None and len(self.entries) >= MAX_ENTRIES:
            heard.refuse("presence-full")
            return False
        return self._sound(state, heard)

    def _sound(self, state: bytes, heard: Heard) -> bool:
        """Whether a state is small enough and JSON that every browser can parse."""
        if len(state) > self.max_bytes:
            heard.refuse("presence-size")
            return False
        try:
            check_json(state, MAX_DEPTH)
        except ProtocolError as error:
            heard.refuse("presence-" + error.rule)
            return False
        return True

    def _accept(
        self, client: int, entry: Entry | None, clock: int, state: bytes, owner: object, now: float, heard: Heard
    ) -> None:
        heard.changed += 1
        if entry is None:
            entry = self.entries[client] = Entry(clock, state)
            if clock and now - self.forgot_at < self.timeout:
                heard.revive.append((client, clock, NULL))
        elif clock == entry.clock:
            self._forget_echoes()  # one of them may have another state at this clock
            if entry.state is None:
                heard.revive.append((client, clock, NULL))
        self._own(client, entry, owner)
        entry.clock = clock
        entry.state = state
        entry.seen = now
        self.dirty.add(client)
        if entry.due == NEVER:
            self._plan(client, entry)

    def leave(self, owner: object, now: float, clean: bool) -> None:
        """A connection is gone; its ids go at once when it said goodbye, after the grace period when it broke."""
        for client in self.claims.pop(owner, ()):
            self.entries[client].claim = None
        for client in tuple(self.owned.get(owner, ())):
            entry = self.entries[client]
            self._disown(client, entry, now)
            if not self._grant(client, entry) and clean and entry.state is not None:
                entry.state = None
                self.dirty.add(client)
            self._plan(client, entry)

    def _grant(self, client: int, entry: Entry) -> bool:
        """Give an id to who claims it, if anybody does who may have one more."""
        claim = entry.claim
        self._withdraw(client, entry)
        if claim is None or len(self.owned.get(claim[0], ())) >= self.ids_per_owner:
            return False
        owner, clock, state, entry.seen = claim
        self._own(client, entry, owner)
        if clock > entry.clock or entry.state is None:
            entry.clock = clock
            entry.state = state
            self.dirty.add(client)
            self._forget_echoes()
        return True

    def sweep(self, now: float, heard_at: Callable[[object], float]) -> int:
        """Expire what is due; return how many states went. Entries of which nothing is due are not looked at.

        Args:
            now: the caller's clock, seconds.
            heard_at: when a connection was last heard of, on the same clock.
        """
        if now - self._echoes_since >= ECHO_SECONDS:
            self._echoes_since = now
            self._older_echoes, self._echoes = self._echoes, {}
            self._echo_bytes = 0
        due: list[tuple[float, int]] = []
        while self._due and self._due[0][0] <= now:
            due.append(heappop(self._due))
        expired = 0
        for at, client in due:
            entry = self.entries.get(client)
            if entry is not None and entry.due == at:
                entry.due = NEVER
                expired += self._expire(client, entry, now, heard_at)
        return expired

    def _expire(self, client: int, entry: Entry, now: float, heard_at: Callable[[object], float]) -> int:
        """Look at an entry of which something may be due; return how many states went."""
        claim = entry.claim
        if claim is not None and claim[3] + CLAIM_SECONDS <= now:
            if entry.owner is not None and heard_at(entry.owner) > claim[3]:
                self._withdraw(client, entry)
            else:
                self._grant(client, entry)
        expired = 0
        if entry.owner is None and entry.state is None:
            if entry.gone + self.timeout <= now:
                self._withdraw(client, entry)
                del self.entries[client]
                self._forget_echoes()
                return 0
        elif entry.state is not None:
            broken = entry.owner is None and entry.gone + self.grace <= now
            if broken or entry.seen + self.timeout <= now:
                entry.state = None
                self.dirty.add(client)
                self._forget_echoes()
                expired = 1
        self._plan(client, entry)
        return expired

    def take(self) -> list[bytes]:
        """What changed since the last call, as awareness updates of bounded size.

        A state at clock 0 is left out: no client applies it for an id it does not know (y-protocols). The order is that
        in which a stock client echoes them: new ids, changed ones, those that are gone.
        """
        if not self.dirty:
            return []
        new: list[tuple[int, Entry]] = []
        changed: list[tuple[int, Entry]] = []
        gone: list[tuple[int, Entry]] = []
        for client in self.dirty:
            entry = self.entries.get(client)
            if entry is None:
                continue
            if entry.state is None:
                gone.append((client, entry))
            elif entry.shown:
                changed.append((client, entry))
            else:
                new.append((client, entry))
            entry.shown = entry.state is not None and entry.clock > 0
        self.dirty.clear()
        return self._remember(_encode(new + changed + gone))

    def snapshot(self) -> list[bytes]:
        """Everybody who is present, as awareness updates of bounded size."""
        present = [(client, entry) for client, entry in self.entries.items() if entry.state is not None]
        return self._remember(_encode(present))


def _encode(changed: list[tuple[int, Entry]]) -> list[tuple[bytes, int]]:
    """Awareness updates and how many entries each has."""
    updates: list[tuple[bytes, int]] = []
    batch: list[tuple[int, int, bytes]] = []
    size = 0
    for client, entry in changed:
        if entry.clock == 0:
            continue
        state = NULL if entry.state is None else entry.state
        batch.append((client, entry.clock, state))
        size += len(state) + ENTRY_BYTES
        if size >= MESSAGE_BYTES:
            updates.append((encode_awareness(batch), len(batch)))
            batch, size = [], 0
    if batch:
        updates.append((encode_awareness(batch), len(batch)))
    return updates
