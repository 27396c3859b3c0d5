"""The composition root: everything that makes a node is put together here, started here and stopped here."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, suppress
from http import HTTPStatus
from typing import Final, NamedTuple
from urllib.parse import parse_qs

from auth.authenticator import Authenticator, verification_keys
from auth.errors import AuthError, Forbidden, TokenExpired
from auth.principal import Grant
from crdt.awareness import Presence
from crdt.ids import RoomId
from crdt.replica import Limits
from crdt.session import Session
from crdt.wire import permission_denied
from persistence.api import Store
from persistence.compactor import CompactionPolicy, Compactor
from persistence.errors import StoreError
from persistence.opener import open_store
from persistence.sandbox import Sandbox
from syncd.close_codes import CloseCode
from syncd.config import Settings
from syncd.connection import REFUSAL_DELAY, Connection
from syncd.frames import frame
from syncd.link import Handshake, Link
from syncd.log_writer import LogWriter
from syncd.metrics import Stats
from syncd.origin import origin_allowed
from syncd.registry import Registry
from syncd.room import Pace, Room
from syncd.room_names import BadRoomName, room_from_path
from syncd.turns import Turns

logger = logging.getLogger(__name__)

TICK: Final = 0.5
"""Seconds between sweeps; each looks at all rooms and at a tenth of the connections."""

FIRST_COMPACTION_RETRY: Final = 60.0
LAST_COMPACTION_RETRY: Final = 3600.0
"""Seconds until a room whose compaction failed is tried again; doubled each time."""

TOKEN_COOKIE: Final = "syncd_token"  # noqa: S105, RUF100 - a name, not a secret


class Admission(NamedTuple):
    """Answer to a handshake: 101 and the subprotocol to select, or an HTTP status and why."""

    status: int
    reason: str = ""
    subprotocol: str | None = None
    token: str | None = None


class Refused:
    """Stands for a connection that was let in only to be told why it is refused."""

    def __init__(self, link: Link, code: CloseCode, reason: str) -> None:
        link.send(frame(permission_denied(reason)))
        link.close(code, reason[:120], REFUSAL_DELAY)

    def message_received(self, message: bytes) -> None:
        """Not looked at."""

    def pause(self) -> None:
        """Nothing is being sent."""

    def resume(self) -> None:
        """Nothing is being sent."""

    def pong_received(self) -> None:
        """Not waited for."""

    def closed(self, code: int | None, clean: bool) -> None:
        """Nothing to clean up."""


class Node:
    """One sync node.

    Args:
        settings: its configuration; read here once and handed on as plain values.

    Attributes:
        stats: its counters.
        failed: set when the node cannot go on, because its store is broken.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stats = Stats()
        self.failed = asyncio.Event()
        self.connections: deque[Connection] = deque()
        self.draining = False
        self._prefix = settings.prefix.encode()
        self._turns = Turns()
        self._addresses: dict[str, int] = {}
        self._expiries: list[tuple[float, int, Connection]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._due: dict[RoomId, None] = {}
        self._compact_later: dict[RoomId, tuple[float, float]] = {}
        self._compaction_wake = asyncio.Event()
        secret = settings.jwt_secret.get_secret_value() if settings.jwt_secret is not None else None
        self._authenticator = Authenticator(
            settings.auth,
            verification_keys(secret, settings.jwt_public_key),
            settings.jwt_audience,
            settings.jwt_issuer,
            settings.jwt_leeway,
        )
        self._limits = Limits(
            settings.held_bytes,
            settings.held_updates,
            settings.max_update,
            settings.max_document_bytes,
            settings.max_state_entries,
        )
        self._pace = Pace(settings.flush_min_ms / 1e3, settings.flush_max_ms / 1e3, settings.flush_overload_ms / 1e3)
        self._policy = CompactionPolicy(
            settings.compact_updates,
            settings.compact_bytes,
            settings.snapshot_ratio,
            settings.sandbox_memory,
            settings.sandbox_timeout,
        )
        self._store: Store | None = None
        self._durable = False
        self._started = 0.0
        self.registry: Registry | None = None
        self._log: LogWriter | None = None
        self._sandbox: Sandbox | None = None
        self._compactor: Compactor | None = None

    # -- life

    async def start(self) -> None:
        """Open the store and begin to serve.

        Raises:
            StoreError: when the store cannot be opened.
        """
        self._started = time.monotonic()
        self._store = await open_store(self.settings.store)
        self._durable = (await self._store.check()).durable
        self._sandbox = Sandbox()
        self._compactor = Compactor(self._store, self._sandbox, self._policy)
        self.registry = Registry(self._store, self.stats, self._make_room, self._greet, self._note_compaction)
        self._log = LogWriter(
            self._store,
            self.stats,
            self.settings.log_flush_ms / 1e3,
            self.settings.log_flush_max_ms / 1e3,
            self._note_compaction,
            self._break,
        )
        for work in (self._log.run(), self._sweep(), self._compact_due()):
            self._tasks.append(asyncio.create_task(work))

    async def drain(self) -> None:
        """Staged stop: refuse newcomers, save, close everybody in slices with 1012, save what came meanwhile.

        Takes at most `drain_timeout` seconds.
        """
        self.draining = True
        self.stats.draining = 1
        timeout = self.settings.drain_timeout
        deadline = time.monotonic() + timeout
        await self._save(deadline - timeout * 0.5)
        code, reason = CloseCode.RESTART, "the server restarts"
        if self.failed.is_set():
            code, reason = CloseCode.TRY_LATER, "the server cannot save"
        waiting = list(self.connections)
        slices = self.settings.drain_slices
        size = max(-(-len(waiting) // slices), 50)
        pause = timeout * 0.5 / slices
        for at in range(0, len(waiting), size):
            if at:
                await asyncio.sleep(pause)
            for connection in waiting[at : at + size]:
                self._close(connection, code, reason)
        await self._save(deadline)

    async def stop(self) -> None:
        """End all work and close the store."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks.clear()
        if self.registry is not None:
            await self.registry.stop()
        if self._sandbox is not None:
            await self._sandbox.close()
        if self._store is not None:
            await self._store.close()

    def running(self) -> AbstractAsyncContextManager[Node]:
        """The node from start to staged stop, for the lifespan of an application that mounts it."""
        return _Running(self)

    async def _save(self, deadline: float) -> None:
        """Flush every room and wait until all of it is durable, or until the deadline."""
        if self.registry is None or self._log is None or self.failed.is_set():
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(max((deadline - time.monotonic()) / 2, 0.0)):
                await self._turns.done()
        for room in list(self.registry.rooms.values()):
            room.flush()
        try:
            async with asyncio.timeout(max(deadline - time.monotonic(), 0.0)):
                await self._log.drain()
        except TimeoutError:
            logger.error("stopping with %d updates unsaved", self.stats.unsaved_updates)  # noqa: TRY400

    def _break(self, error: StoreError) -> None:
        """The store is broken: nothing can be saved, so nobody may go on editing here."""
        self.failed.set()
        for connection in list(self.connections):
            self._close(connection, CloseCode.TRY_LATER, "the server cannot save")

    @staticmethod
    def _close(connection: Connection, code: CloseCode, reason: str) -> None:
        if not connection.gone:
            connection.closed(code, clean=True)
            connection.link.close(code, reason)

    async def store_ready(self) -> str:
        """Ask the store whether it answers; returns its name.

        Raises:
            StoreError: when it does not, or is not open.
        """
        if self._store is None:
            raise StoreError("not started")
        return (await self._store.check()).adapter

    # -- connections

    def is_room_path(self, raw_path: bytes) -> bool:
        """Whether a websocket may be opened at this path."""
        return raw_path.startswith(self._prefix)

    def admit(self, handshake: Handshake) -> Admission:
        """Decide on a handshake before it is answered."""
        settings = self.settings
        local = settings.auth == "open" and not settings.allow_open_network
        if not origin_allowed(handshake.headers, settings.allowed_origins, loopback_only=local):
            return Admission(HTTPStatus.FORBIDDEN, "this web page may not connect here (see allowed_origins)")
        if self.draining or self.failed.is_set():
            return Admission(HTTPStatus.SERVICE_UNAVAILABLE, "the server is stopping")
        if self.stats.connections >= settings.max_connections:
            return Admission(HTTPStatus.SERVICE_UNAVAILABLE, "too many connections")
        limit = settings.max_connections_per_address
        if limit and self._addresses.get(handshake.address, 0) >= limit:
            return Admission(HTTPStatus.TOO_MANY_REQUESTS, "too many connections from this address")
        token, subprotocol = _token(handshake)
        return Admission(HTTPStatus.SWITCHING_PROTOCOLS, subprotocol=subprotocol, token=token)

    def connect(self, link: Link, handshake: Handshake, admission: Admission) -> Connection | Refused:
        """Put an accepted websocket into its room, or tell it why not."""
        assert self.registry is not None, "connections come after start"
        try:
            name = room_from_path(handshake.raw_path, self._prefix)
            grant = self._authenticator.authenticate(admission.token, name, time.time())
        except BadRoomName as error:
            return Refused(link, CloseCode.BAD_ROOM, str(error))
        except AuthError as refusal:
            return Refused(link, _code_of(refusal), refusal.reason)
        full = self._full(name)
        if full:
            return Refused(link, CloseCode.TRY_LATER, full)
        return self._enter(link, handshake, name, grant)

    def _full(self, name: RoomId) -> str:
        """Why nobody else can come in now; empty when they can."""
        assert self.registry is not None
        room = self.registry.rooms.get(name)
        settings = self.settings
        if room is None:
            many = settings.max_rooms and len(self.registry.rooms) >= settings.max_rooms
            return "too many documents are open" if many else ""
        limit = settings.max_room_connections
        return "too many people are in this document" if limit and len(room.connections) >= limit else ""

    def _enter(self, link: Link, handshake: Handshake, name: RoomId, grant: Grant) -> Connection:
        assert self.registry is not None
        room = self.registry.get(name)
        connection = Connection(
            link,
            room,
            self.stats,
            grant.principal.id,
            may_write=grant.access.may_write,
            rate=self.settings.messages_per_second,
            on_gone=self._forget,
            address=handshake.address,
        )
        self.connections.append(connection)
        self.stats.connections += 1
        self.stats.connections_opened += 1
        self._addresses[handshake.address] = self._addresses.get(handshake.address, 0) + 1
        if grant.expires_at is not None:
            heapq.heappush(self._expiries, (grant.expires_at, id(connection), connection))
        logger.debug("open: room %r, %s, from %s", name, grant.principal.id, handshake.address)
        room.join(connection)
        if room.loaded:
            self._greet(connection)
        return connection

    def _forget(self, connection: Connection, code: int) -> None:
        """A connection is gone; the sweep drops it from the list."""
        self.stats.connections -= 1
        left = self._addresses.get(connection.address, 1) - 1
        if left:
            self._addresses[connection.address] = left
        else:
            self._addresses.pop(connection.address, None)
        logger.debug("close: room %r, %s, code %d", connection.room.name, connection.author, code)

    def _make_room(self, name: RoomId) -> Room:
        assert self._log is not None
        settings = self.settings
        presence = Presence(
            settings.max_presence_bytes,
            settings.presence_ids_per_connection,
            settings.presence_timeout,
            settings.presence_grace,
            self._started,
        )
        return Room(
            name,
            self._limits,
            presence,
            self.stats,
            self._pace,
            self._log.note,
            durable=self._durable,
            turns=self._turns,
        )

    def _greet(self, connection: Connection) -> None:
        room = connection.room
        session = Session(
            room.replica,
            room.presence,
            self.stats,
            connection.author,
            may_write=connection.may_write,
            max_state_entries=self.settings.max_state_entries,
            whole_bytes=self.settings.whole_bytes,
            diff_bytes=self.settings.chunk_bytes,
        )
        connection.open(session)

    # -- sweeps

    async def _sweep(self) -> None:
        """Everything that depends on time, for all rooms and connections, without a timer of their own."""
        while True:
            await asyncio.sleep(TICK)
            now = time.monotonic()
            self._sweep_connections(now)
            self._expire_tokens(time.time())
            self._sweep_rooms(now)

    def _sweep_connections(self, now: float) -> None:
        connections = self.connections
        for _ in range(-(-len(connections) // 10)):
            connection = connections.popleft()
            if connection.gone:
                continue
            connections.append(connection)
            connection.keep_alive(now, self.settings.keepalive)
            if connection.paused and now - connection.paused_at > self.settings.stalled_timeout:
                self.stats.slow_readers_closed += 1
                connection.closed(CloseCode.TRY_LATER, clean=False)
                connection.link.abort()

    def _expire_tokens(self, now: float) -> None:
        expiries = self._expiries
        while expiries and expiries[0][0] <= now:
            connection = heapq.heappop(expiries)[2]
            if not connection.gone:
                connection.refuse(CloseCode.TOKEN_EXPIRED, "the token has expired")
        if len(expiries) > 2 * len(self.connections) + 100:
            # Connections that are gone would keep their rooms in memory until their tokens end.
            self._expiries = [entry for entry in expiries if not entry[2].gone]
            heapq.heapify(self._expiries)

    def _sweep_rooms(self, now: float) -> None:
        assert self.registry is not None
        held = 0
        for room in self.registry.rooms.values():
            held += room.held_bytes
            if room.presence.entries:
                room.sweep_presence(now)
        self.stats.held_bytes = held
        self.registry.unload_idle(now, self.settings.unload_after)

    # -- compaction

    def _note_compaction(self, room: Room) -> None:
        """A room was loaded, or its updates became durable: is it time to compact them?"""
        later = self._compact_later.get(room.name)
        if later is not None and time.monotonic() < later[0]:
            return
        if self._policy.log_is_due(room.records, room.replica.tail.size):
            self._due[room.name] = None
            self._compaction_wake.set()

    async def _compact_due(self) -> None:
        """Compact rooms as they become due, one at a time."""
        while True:
            await self._compaction_wake.wait()
            self._compaction_wake.clear()
            while self._due:
                name = next(iter(self._due))
                del self._due[name]
                await self._compact_room(name)

    async def _compact_room(self, name: RoomId) -> None:
        """Compact one room; a failure is counted and logged, and leaves the room as it was."""
        assert self.registry is not None
        assert self._compactor is not None
        try:
            report = await self._compactor.compact(name)
        except StoreError:
            _, wait = self._compact_later.get(name, (0.0, FIRST_COMPACTION_RETRY / 2))
            wait = min(wait * 2, LAST_COMPACTION_RETRY)
            self._compact_later[name] = (time.monotonic() + wait, wait)
            self.stats.compaction_failures += 1
            logger.exception("room %r cannot be compacted; trying again in %.0f s", name, wait)
            return
        self._compact_later.pop(name, None)
        if report is None:
            return
        self.stats.unloadable_snapshots += bool(report.unloadable)
        self.stats.compactions += 1
        self.stats.compacted_updates += report.updates
        self.stats.compacted_bytes += report.bytes_in
        self.stats.quarantined_updates += len(report.quarantined)
        room = self.registry.rooms.get(name)
        if room is not None and room.loaded and report.block is not None:
            room.rebase(report.block)


def _code_of(error: AuthError) -> CloseCode:
    if isinstance(error, TokenExpired):
        return CloseCode.TOKEN_EXPIRED
    return CloseCode.FORBIDDEN if isinstance(error, Forbidden) else CloseCode.UNAUTHENTICATED


class _Running:
    """A node that runs while the context lasts."""

    def __init__(self, node: Node) -> None:
        self._node = node

    async def __aenter__(self) -> Node:
        try:
            await self._node.start()
        except BaseException:
            await self._node.stop()
            raise
        return self._node

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:
        try:
            if error is None:
                await self._node.drain()
        finally:
            await self._node.stop()


def _token(handshake: Handshake) -> tuple[str | None, str | None]:
    """The token of a handshake and the subprotocol to select.

    In this order: `?token=`, a subprotocol `bearer.<token>`, the cookie `syncd_token`. A subprotocol must be selected
    when any is offered; one that is not the token is preferred, so that the token is not sent back.
    """
    offered = handshake.subprotocols
    if not offered and not handshake.query and "cookie" not in handshake.headers:
        return None, None
    bearers = [name for name in offered if name.startswith("bearer.")]
    plain = [name for name in offered if not name.startswith("bearer.")]
    selected = next(iter([*plain, *bearers]), None)
    token = _query_token(handshake.query)
    if token is not None:
        return token, selected
    if bearers:
        return bearers[0].removeprefix("bearer."), selected
    return _cookie(handshake.headers), selected


def _query_token(query: bytes) -> str | None:
    try:
        found = parse_qs(query.decode("ascii", "replace"), max_num_fields=100).get("token")
    except ValueError:
        return None  # too many fields; a token is not looked for among them
    return found[0] if found else None


def _cookie(headers: Mapping[str, str]) -> str | None:
    for part in headers.get("cookie", "").split(";"):
        name, _, value = part.strip().partition("=")
        if name == TOKEN_COOKIE:
            return value
    return None
