"""Validates one update a bounded number of structs at a time, and notes where each client's structs stand.

The rules are those of `UpdateReader`. Unlike `parse_update`, which is for small updates, nothing is kept per struct or
per delete: 16 MiB of the smallest ones would take gigabytes.
"""

from __future__ import annotations

from typing import Final

from crdt.errors import ProtocolError
from crdt.update import NONE, SKIP, UpdateReader

BYTES_PER_UNIT: Final = 8
"""Budgets are counted in structs; passing over this power of two of bytes (256) costs as much as one."""


class Part:
    """One client's structs in an update, and how far the gate has come with them.

    Attributes:
        number: place in the update.
        client: whose they are.
        first, end: the clock that the section begins with, and the one behind the last struct that is no Skip.
        count: number of structs, Skips included.
        offset, stop: where their bytes stand.
        plain: whether there is neither a Skip nor an empty string among them.
        have: clocks of this client that were known when the gate looked; -1 before.
        clock, pos, left: the next struct to look at, and how many there are from it on.
        taken: number of structs that can be applied now, from clock `start` to `until`.
        head: what stands before their bytes in place of what was cut off.
        run, run_end: where their bytes stand, those in `head` excepted.
        lacks: (client, clock) that the next struct builds on and that is not known.
    """

    __slots__ = (
        "client",
        "clock",
        "count",
        "end",
        "first",
        "have",
        "head",
        "lacks",
        "left",
        "number",
        "offset",
        "plain",
        "pos",
        "run",
        "run_end",
        "start",
        "stop",
        "taken",
        "until",
    )

    def __init__(self, number: int, client: int, first: int, count: int, offset: int) -> None:
        self.number = number
        self.client = client
        self.first = first
        self.end = first
        self.count = count
        self.offset = offset
        self.stop = offset
        self.plain = True
        self.reset()

    def reset(self) -> None:
        """Forget how far the gate has come."""
        self.have = -1
        self.clock = self.start = self.until = self.first
        self.pos = self.run = self.run_end = self.offset
        self.left = self.count
        self.taken = 0
        self.head: bytearray | None = None
        self.lacks: tuple[int, int] | None = None


class Survey:
    """What one update holds, found out step by step.

    Args:
        data: the update.
        max_clients: how many clients it may name; more can never become part of a document.

    Attributes:
        parts: each client's structs, in the order of the bytes.
        needs: foreign client id to the lowest end clock that must be known before the update can be applied.
        overgrown: more clients are referred to than a document may have, so some of them are unknown; `needs` is not
            complete then.
        deletes_at: offset of the delete set.
        deletes: number of ranges in it.
    """

    __slots__ = (
        "_clock",
        "_delete_clients",
        "_left",
        "_part",
        "_ranges",
        "_reader",
        "_sections",
        "_seen",
        "_started",
        "data",
        "deletes",
        "deletes_at",
        "done",
        "max_clients",
        "needs",
        "overgrown",
        "parts",
    )

    def __init__(self, data: bytes, max_clients: int) -> None:
        self.data = data
        self.max_clients = max_clients
        self.parts: list[Part] = []
        self.needs: dict[int, int] = {}
        self.overgrown = False
        self.deletes_at = 0
        self.deletes = 0
        self.done = False
        self._reader = UpdateReader(data)
        self._seen: set[int] = set()
        self._part: Part | None = None
        self._clock = 0
        self._left = 0  # structs of `_part`
        self._started = False
        self._sections = 0  # to come
        self._delete_clients = 0  # to come
        self._ranges = 0  # of the client whose deletes are being read

    def step(self, budget: int) -> bool:
        """Read on; whether the end is reached.

        Args:
            budget: structs or delete ranges, roughly.

        Raises:
            ProtocolError: for any bytes that are not an update all engines read alike; `document-clients`.
        """
        reader = self._reader
        reader.budget = budget
        if not self._started:
            self._started = True
            self._sections = self._clients()
            if self._sections == 0:
                self._begin_deletes()
        while not self.done and reader.budget > 0:
            if self._part is not None:
                self._structs(self._part)
            elif self._sections:
                self._next_part()
            elif self._ranges:
                self._delete_ranges()
            elif self._delete_clients:
                self._next_delete_client()
            else:
                reader.finish()
                self._seen = set()
                self.done = True
        return self.done

    def _clients(self) -> int:
        count = self._reader.count()
        if count > self.max_clients:
            raise ProtocolError("document-clients", f"an update names more than {self.max_clients} clients")
        return count

    def _next_part(self) -> None:
        reader = self._reader
        structs, client, clock = reader.section()
        if client in self._seen:
            raise ProtocolError("duplicate-client", "a client has two sections")
        self._seen.add(client)
        self._sections -= 1
        self._part = Part(len(self.parts), client, clock, structs, reader.pos)
        self._clock = clock
        self._left = structs

    def _structs(self, part: Part) -> None:
        """Read structs of `part` until it ends or the budget does."""
        reader = self._reader
        client = part.client
        clock = self._clock
        left = self._left
        while left and reader.budget > 0:
            if not reader.unfinished:
                reader.read_struct(client, clock)
            if reader.unfinished and not reader.go_on():
                break
            reader.budget -= 1 + (reader.pos - reader.start >> BYTES_PER_UNIT)
            left -= 1
            length = reader.length
            clock += length
            if reader.ref == SKIP:
                part.plain = False
                continue
            part.end = clock
            if length == 0:
                part.plain = False
            if reader.origin_client != NONE:
                self._need(client, reader.origin_client, reader.origin_clock)
            if reader.right_client != NONE:
                self._need(client, reader.right_client, reader.right_clock)
            elif reader.parent_client != NONE:
                self._need(client, reader.parent_client, reader.parent_clock)
        self._clock = clock
        self._left = left
        if left == 0:
            part.stop = reader.pos
            self.parts.append(part)
            self._part = None
            if self._sections == 0:
                self._begin_deletes()

    def _need(self, owner: int, client: int, clock: int) -> None:
        if client == owner or self.needs.get(client, 0) > clock:
            return
        if len(self.needs) <= self.max_clients:
            self.needs[client] = clock + 1
        else:
            self.overgrown = True

    def _begin_deletes(self) -> None:
        self._seen = set()
        self.deletes_at = self._reader.pos
        self._delete_clients = self._clients()

    def _next_delete_client(self) -> None:
        reader = self._reader
        client = reader.client()
        if client in self._seen:
            raise ProtocolError("duplicate-client", "a client stands twice in the delete set")
        self._seen.add(client)
        self._delete_clients -= 1
        self._ranges = reader.count()
        self.deletes += self._ranges
        reader.budget -= 1

    def _delete_ranges(self) -> None:
        reader = self._reader
        now = min(self._ranges, reader.budget)
        for _ in range(now):
            reader.delete_range()
        self._ranges -= now
        reader.budget -= now
