"""Walks the structs of a valid update in causal order, as far as what they build on is known.

What can be applied of a client is always one run of its structs, so the outcome is a few numbers per client (`Part`)
and not a list of structs. The walk is linear: a struct that lacks something is looked at again only when that is there,
which happens at most once per reference.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Final

from crdt.index import Index
from crdt.long_text import LONG, TextScanner
from crdt.structs import Struct, cut_front
from crdt.survey import BYTES_PER_UNIT, Part, Survey
from crdt.update import ANY, HAS_ORIGIN, HAS_RIGHT, NONE, SKIP, STRING, UpdateReader
from crdt.varint import write_uint

REPLACEMENT: Final = "\N{REPLACEMENT CHARACTER}".encode()
"""Stands for half a character, as in Yjs."""


class Walk:
    """Finds out what of an update is new and can be applied now, step by step.

    The index may grow meanwhile: what could be applied still can be, but some of it may be known then (`is_current`).

    Args:
        survey: the update.
        index: what is known.

    Attributes:
        taken: parts of which something can be applied and is new.
        blocked: number -> part that lacks something.
        known: whether something in it was known already, empty or a hole, so that the update must not go on as it came.
        ends: client id -> end clock of what can be applied of it.
    """

    __slots__ = (
        "_cut",
        "_cut_text",
        "_index",
        "_part",
        "_read",
        "_reader",
        "_simple",
        "_started",
        "_survey",
        "_version",
        "_waiting",
        "_work",
        "blocked",
        "ends",
        "known",
        "taken",
    )

    def __init__(self, survey: Survey, index: Index) -> None:
        self.taken: list[Part] = []
        self.blocked: dict[int, Part] = {}
        self.known = False
        self.ends: dict[int, int] = {}
        self._survey = survey
        self._index = index
        self._version = -1
        self._reader = UpdateReader(survey.data)
        self._reader.trusted = True
        self._read = False  # the reader stands behind the part's next struct
        self._cut: UpdateReader | None = None
        self._cut_text: TextScanner | None = None
        self._part: Part | None = None
        self._work: list[int] = []
        self._waiting: dict[int, list[tuple[int, int]]] = {}  # client -> heap of (clock, number of the part)
        self._simple = False
        self._started = False

    def step(self, budget: int) -> bool:
        """Walk on; whether the end is reached.

        Args:
            budget: structs, roughly.
        """
        if not self._started:
            self._start()
        reader = self._reader
        reader.budget = budget
        parts = self._survey.parts
        while reader.budget > 0:
            if self._part is None:
                if not self._work:
                    return True
                number = self._work.pop()
                part = parts[number]
                if part.have < 0:
                    self._begin(part)
                elif part.lacks is not None:
                    part.lacks = None
                    del self.blocked[number]
                self._part = part
            part = self._part
            if self._advance(part):
                self._part = None
                self._settle(part)
        return self._part is None and not self._work

    def is_current(self) -> bool:
        """Whether nothing that would be applied has become known meanwhile."""
        if self._index.version == self._version:
            return True
        clocks = self._index.clocks
        for part in self.taken:  # noqa: SIM110 - compiled, a generator takes three times as long
            if clocks.get(part.client, 0) != part.have:
                return False
        return True

    def _start(self) -> None:
        self._started = True
        self._version = self._index.version
        self._work = list(range(len(self._survey.parts) - 1, -1, -1))
        clocks = self._index.clocks
        simple = not self._survey.overgrown
        for client, clock in self._survey.needs.items():
            if clocks.get(client, 0) < clock:
                simple = False
                break
        self._simple = simple  # no struct refers to another client beyond what is known

    def _begin(self, part: Part) -> None:
        """Look at what is known of the client; often that decides on all of its structs."""
        have = self._index.clocks.get(part.client, 0)
        part.have = have
        self._reader.budget -= 1
        if have >= part.end:
            part.left = 0
            self.known = True
        elif part.plain and self._simple and have == part.first:
            self._take_rest(part, have)

    def _take_rest(self, part: Part, start: int) -> None:
        """All that is left of the part can be applied."""
        if part.taken == 0:
            part.start = start
            part.run = part.pos
            self.taken.append(part)
        part.taken += part.left
        part.left = 0
        part.pos = part.run_end = part.stop
        part.clock = part.until = part.end

    def _advance(self, part: Part) -> bool:
        """Walk on in one part; whether it has ended or lacks something, and not only the budget."""
        reader = self._reader
        while part.left:
            if reader.budget <= 0 or not self._read_struct(part):
                return False
            clock = part.clock
            end = clock + reader.length
            if reader.ref == SKIP:
                self.known = True
                self._pass(part, end)
            elif end <= part.have or reader.length == 0:
                self.known = True
                if part.taken:
                    self._close_run(part)
                self._pass(part, end)
            else:
                part.lacks = self._lacking(part, clock)
                if part.lacks is not None:
                    self._read = False
                    return True
                if part.taken == 0 and not self._open_run(part):
                    return False
                part.taken += 1
                self._pass(part, end)
                part.run_end = part.pos
                part.until = end
                if part.plain and self._simple:
                    self._take_rest(part, clock)
        return True

    def _read_struct(self, part: Part) -> bool:
        """Have the part's next struct in the reader; False when the budget ran out."""
        reader = self._reader
        if self._read:
            return True
        if not reader.unfinished:
            reader.pos = part.pos
            reader.read_struct(part.client, part.clock)
        if reader.unfinished and not reader.go_on():
            return False
        reader.budget -= 1 + (reader.pos - reader.start >> BYTES_PER_UNIT)
        self._read = True
        return True

    def _pass(self, part: Part, end: int) -> None:
        """The next struct is the one behind."""
        part.pos = self._reader.pos
        part.clock = end
        part.left -= 1
        self._read = False

    def _lacking(self, part: Part, clock: int) -> tuple[int, int] | None:
        """One id that the struct in the reader needs and that is not known."""
        if clock > (part.until if part.taken else part.have):
            return part.client, clock - 1
        if self._simple:
            return None
        reader = self._reader
        if self._unknown(part, reader.origin_client, reader.origin_clock):
            return reader.origin_client, reader.origin_clock
        if self._unknown(part, reader.right_client, reader.right_clock):
            return reader.right_client, reader.right_clock
        if self._unknown(part, reader.parent_client, reader.parent_clock):
            return reader.parent_client, reader.parent_clock
        return None

    def _unknown(self, part: Part, client: int, clock: int) -> bool:
        if (
            client == NONE or client == part.client
        ):  # an own clock is older, and so are all that are known without a gap
            return False
        return self._index.clocks.get(client, 0) <= clock and self.ends.get(client, 0) <= clock

    def _open_run(self, part: Part) -> bool:
        """Begin the run with the struct in the reader, of which the start may be known; False: out of budget."""
        reader = self._reader
        offset = part.have - part.clock
        part.head = None
        part.run = part.pos
        if offset > 0:
            self.known = True
            if reader.ref == ANY:
                if not self._cut_values(part, offset):
                    return False
            elif reader.ref == STRING and reader.pos - reader.content > LONG:
                if not self._cut_long_text(part, offset):
                    return False
            else:
                data = self._survey.data
                part.head = bytearray(cut_front(data, part.client, Struct(reader, part.clock), offset))
                part.run = reader.pos
        part.start = max(part.clock, part.have)
        self.taken.append(part)
        return True

    def _cut_values(self, part: Part, offset: int) -> bool:
        """What `cut_front` does, for values: there may be millions of them."""
        reader = self._reader
        cut = self._cut
        if cut is None:
            cut = self._cut = UpdateReader(self._survey.data, reader.content)
            cut.trusted = True
            cut.uint()
            cut.budget = 0
            cut.begin_values(offset)
        cut.budget = reader.budget
        done = cut.go_on()
        reader.budget = cut.budget
        if not done:
            return False
        head = self._head(part)
        write_uint(head, reader.length - offset)
        part.head = head
        part.run = cut.pos
        self._cut = None
        return True

    def _cut_long_text(self, part: Part, offset: int) -> bool:
        """What `cut_front` does, for a long string."""
        reader = self._reader
        cut = self._cut_text
        if cut is None:
            text = UpdateReader(self._survey.data, reader.content)
            length = text.uint()
            cut = self._cut_text = TextScanner(self._survey.data, text.pos, text.pos + length, offset)
        reader.budget = cut.step(reader.budget)
        if reader.budget <= 0:
            return False
        instead = REPLACEMENT if cut.torn else b""
        head = self._head(part)
        write_uint(head, len(instead) + reader.pos - cut.pos)
        part.head = head + instead
        part.run = cut.pos
        self._cut_text = None
        return True

    def _head(self, part: Part) -> bytearray:
        """What begins the item in the reader when what is known is cut off: its origin is what was cut off."""
        reader = self._reader
        head = bytearray((reader.ref | HAS_ORIGIN | (0 if reader.right_client == NONE else HAS_RIGHT),))
        write_uint(head, part.client)
        write_uint(head, part.have - 1)
        if reader.right_client != NONE:
            write_uint(head, reader.right_client)
            write_uint(head, reader.right_clock)
        return head

    def _close_run(self, part: Part) -> None:
        """Leave out the struct in the reader: what was taken before it moves to the head."""
        if part.head is None:
            part.head = bytearray()
        part.head += memoryview(self._survey.data)[part.run : part.run_end]
        part.run = part.run_end = self._reader.pos

    def _settle(self, part: Part) -> None:
        """Note how far a part has come, and go back to those that wait for it."""
        if part.taken:
            self.ends[part.client] = part.until
            heap = self._waiting.get(part.client)
            while heap and heap[0][0] < part.until:
                self._work.append(heappop(heap)[1])
        lacks = part.lacks
        if lacks is None:
            return
        self.blocked[part.number] = part
        if lacks[0] != part.client:
            heappush(self._waiting.setdefault(lacks[0], []), (lacks[1], part.number))
