"""Who is present in a room: the newest state of every client id, and which connection may speak for it.

Rules: y-protocols `awareness.js`. Three things are ours. A client id belongs to the connection that introduced it, so
nobody can speak for, or remove, somebody else's cursor: every y-websocket client re-sends every remote state it
hears, and a tab whose sibling lost its socket announces all remote users as gone. What is not newer is dropped before
it is sent on. And an id whose connection has gone silent can be claimed by the connection that its user reconnected
with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from crdt.errors import ProtocolError
from crdt.json_text import check_json
from crdt.varint import read_bytes, read_uint, write_bytes, write_uint

NULL: Final = b"null"
MAX_DEPTH: Final = 32
"""Nesting of a presence state."""

MESSAGE_BYTES: Final = 64 * 1024
"""Size at which an outgoing awareness update is closed and the next one begun."""

MAX_STATES: Final = 10_000
"""Entries of one incoming awareness update. A client echoes what we sent it, at most `MESSAGE_BYTES`, or announces
that everybody it knew is gone."""

MAX_ENTRIES: Final = 100_000
"""Ids remembered in a room, those that are gone included: they are kept for `timeout`, and one connection can announce
and retract any number of them."""

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
    """

    __slots__ = ("claim", "clock", "gone", "owner", "seen", "state")

    def __init__(self, clock: int, state: bytes | None) -> None:
        self.clock = clock
        self.state = state
        self.owner: object | None = None
        self.seen = 0.0
        self.gone = 0.0
        self.claim: tuple[object, int, bytes, float] | None = None


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
    """

    __slots__ = ("dirty", "entries", "forgot_at", "grace", "ids_per_owner", "max_bytes", "owned", "timeout")

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
        self.owned: dict[object, int] = {}

    def receive(self, data: bytes, owner: object, now: float) -> Heard:
        """Take one awareness update of a connection.

        Raises:
            ProtocolError: when the bytes are not an awareness update; nothing has changed then.
        """
        heard = Heard()
        for client, clock, raw in read_awareness(data):
            entry = self.entries.get(client)
            state = None if raw == NULL else raw
            if entry is not None and entry.owner is not owner and entry.owner is not None:
                self._foreign(entry, clock, state, owner, now, heard)
            elif entry is not None and (clock < entry.clock or (clock == entry.clock and state == entry.state)):
                heard.dropped += 1
                self._adopt(entry, clock, owner, now)
            elif state is None:
                self._remove(client, entry, clock, owner, now, heard)
            elif self._allowed(client, entry, state, owner, heard):
                self._accept(client, entry, clock, state, owner, now, heard)
        return heard

    def _foreign(self, entry: Entry, clock: int, state: bytes | None, owner: object, now: float, heard: Heard) -> None:
        """Somebody speaks for an id of another connection: an echo, a forgery, or its user on a new connection."""
        if clock < entry.clock or (clock == entry.clock and state == entry.state):
            heard.dropped += 1
        else:
            heard.refuse("foreign-id")
        free = entry.claim is None and owner not in self.owned
        if free and state is not None and clock >= entry.clock and self._sound(state, heard):
            entry.claim = (owner, clock, state, now)
            heard.contested.append(entry.owner)

    def _adopt(self, entry: Entry, clock: int, owner: object, now: float) -> None:
        """A reconnected client repeats the state that outlived its broken connection: it owns it again."""
        if entry.owner is None and clock == entry.clock and entry.state is not None and owner not in self.owned:
            self._own(entry, owner)
            entry.seen = now

    def _own(self, entry: Entry, owner: object) -> None:
        """Make `owner` the one who may change `entry`."""
        if entry.owner is not owner:
            self._disown(entry, 0.0)
            entry.owner = owner
            self.owned[owner] = self.owned.get(owner, 0) + 1

    def _disown(self, entry: Entry, now: float) -> None:
        """Leave `entry` without an owner, gone at `now`."""
        owner = entry.owner
        entry.owner = None
        entry.gone = now
        if owner is not None:
            count = self.owned[owner] - 1
            if count:
                self.owned[owner] = count
            else:
                del self.owned[owner]

    def _remove(self, client: int, entry: Entry | None, clock: int, owner: object, now: float, heard: Heard) -> None:
        if entry is None or entry.owner is not owner:
            heard.dropped += 1
            return
        entry.clock = clock
        self._disown(entry, now)
        if entry.state is not None:
            entry.state = None
            self.dirty.add(client)
            heard.changed += 1

    def _allowed(self, client: int, entry: Entry | None, state: bytes, owner: object, heard: Heard) -> bool:
        if (entry is None or entry.owner is not owner) and self.owned.get(owner, 0) >= self.ids_per_owner:
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
        elif entry.state is None and clock == entry.clock:
            heard.revive.append((client, clock, NULL))
        self._own(entry, owner)
        entry.clock = clock
        entry.state = state
        entry.seen = now
        self.dirty.add(client)

    def leave(self, owner: object, now: float, clean: bool) -> None:
        """A connection is gone; its ids go at once when it said goodbye, after the grace period when it broke."""
        for client, entry in self.entries.items():
            if entry.claim is not None and entry.claim[0] is owner:
                entry.claim = None
            if entry.owner is owner:
                self._disown(entry, now)
                if not self._grant(client, entry) and clean and entry.state is not None:
                    entry.state = None
                    self.dirty.add(client)

    def _grant(self, client: int, entry: Entry) -> bool:
        """Give an id to who claims it, if anybody does who may have one more."""
        claim = entry.claim
        entry.claim = None
        if claim is None or self.owned.get(claim[0], 0) >= self.ids_per_owner:
            return False
        owner, clock, state, entry.seen = claim
        self._own(entry, owner)
        if clock > entry.clock or entry.state is None:
            entry.clock = clock
            entry.state = state
            self.dirty.add(client)
        return True

    def sweep(self, now: float, heard_at: Callable[[object], float]) -> int:
        """Expire what is due; return how many states went.

        Args:
            now: the caller's clock, seconds.
            heard_at: when a connection was last heard of, on the same clock.
        """
        expired = 0
        for client, entry in list(self.entries.items()):
            if entry.claim is not None and now - entry.claim[3] >= CLAIM_SECONDS:
                if entry.owner is not None and heard_at(entry.owner) > entry.claim[3]:
                    entry.claim = None
                else:
                    self._grant(client, entry)
            if entry.owner is None and entry.state is None:
                if now - entry.gone > self.timeout:
                    del self.entries[client]
                continue
            broken = entry.owner is None and now - entry.gone >= self.grace
            if entry.state is not None and (broken or now - entry.seen >= self.timeout):
                entry.state = None
                self.dirty.add(client)
                expired += 1
        return expired

    def take(self) -> list[bytes]:
        """What changed since the last call, as awareness updates of bounded size.

        A state at clock 0 is left out: no client applies it for an id it does not know (y-protocols).
        """
        if not self.dirty:
            return []
        changed = [(client, self.entries[client]) for client in self.dirty if client in self.entries]
        self.dirty.clear()
        return _encode(changed)

    def snapshot(self) -> list[bytes]:
        """Everybody who is present, as awareness updates of bounded size."""
        return _encode([(client, entry) for client, entry in self.entries.items() if entry.state is not None])


def _encode(changed: list[tuple[int, Entry]]) -> list[bytes]:
    updates: list[bytes] = []
    batch: list[tuple[int, int, bytes]] = []
    size = 0
    for client, entry in changed:
        if entry.clock == 0:
            continue
        state = NULL if entry.state is None else entry.state
        batch.append((client, entry.clock, state))
        size += len(state)
        if size >= MESSAGE_BYTES:
            updates.append(encode_awareness(batch))
            batch, size = [], 0
    if batch:
        updates.append(encode_awareness(batch))
    return updates
