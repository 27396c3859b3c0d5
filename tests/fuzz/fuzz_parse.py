"""Any byte string either parses or raises ProtocolError, and what parses harms no document engine.

`python -m tests.fuzz.fuzz_parse --executions 100000 --seconds 300 --seed 1 [--coverage]`

Half of the executions feed the pure parsers; the other half are updates, of which those that the validator accepts go
through merging, folding and loading in forked children (see `tests.fuzz.engine`). A failure prints its bytes in hex and
the exit status is 1. A run is a function of its seed, as long as it is not cut short by `--seconds`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from crdt.awareness import Presence, encode_awareness, read_awareness
from crdt.block import Block
from crdt.errors import ProtocolError
from crdt.fold import fold
from crdt.gate import Intake, split
from crdt.index import Index
from crdt.replica import Limits, Replica
from crdt.session import Session
from crdt.survey import Survey
from crdt.update import parse_state_vector, parse_update
from crdt.wire import read_messages, saved_message, sync_message
from syncd.frames import FrameReader
from syncd.metrics import Stats
from tests.fuzz.coverage import Lines
from tests.fuzz.engine import REFUSED, Case, Verdict, judge
from tests.fuzz.inputs import damaged, grammar_case, noise, odd_state_vector, real_updates
from tests.unit.crdt.build import num, section, string, text, update

BATCH = 200
KNOWN = ("load: Cannot apply update: block parent",)
"""What only the state of a document could tell: a parent that is not a shared type. Yjs drops such an item, yrs refuses
the update that holds it, and nobody else is harmed."""

MODULES = ("crdt/varint.py", "crdt/update.py", "crdt/wire.py", "crdt/awareness.py", "crdt/session.py", "crdt/block.py",
           "crdt/gate.py", "crdt/survey.py", "crdt/walk.py", "crdt/json_text.py", "crdt/long_text.py",
           "crdt/structs.py", "crdt/index.py", "syncd/frames.py")  # fmt: skip


@dataclass
class Result:
    """What a run found. `wrong`: one line per finding; `accepted`: cases that went to an engine."""

    executions: int = 0
    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    poison: list[tuple[Case, Verdict]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)


def read_frames(data: bytes) -> None:
    """Websocket frames, whole and cut in two: the same events and the same violation, whatever the pieces."""
    ends = []
    for cut in (0, len(data) // 2):
        reader = FrameReader(1000)
        events = reader.receive(data[:cut]) + reader.receive(data[cut:])
        ends.append((events, "" if reader.violation is None else reader.violation.rule, reader.finished))
    if ends[0] != ends[1]:
        raise AssertionError(f"{ends[0]} in one piece, {ends[1]} in two")


def hear(data: bytes) -> None:
    """An awareness update into a table of presence."""
    presence = Presence(100, 2)
    presence.receive(encode_awareness([(1, 1, b"{}"), (200, 5, b"1")]), "first", 0.0)
    presence.receive(data, "second", 1.0)
    presence.sweep(5.0, lambda _: 0.0)
    presence.leave("first", 6.0, clean=False)
    for out in (*presence.take(), *presence.snapshot()):
        read_awareness(out)


def converse(data: bytes) -> None:
    """A frame into a session of a document that is not empty."""
    replica = Replica(Limits(held_updates=3, held_bytes=400))
    replica.receive(update(section(1, 0, string("abc")), section(2, 0, string("x", (1, 1)))), None)
    replica.flush()
    for may_write, large in ((True, 1 << 30), (True, 0), (False, 0), (False, 1 << 30)):
        session = Session(
            replica, Presence(100, 1), Stats(), "a", may_write=may_write, max_state_entries=50, large=large
        )
        session.open()
        session.receive(data, 0.0)
        while session.busy:
            session.work(0.0, 2)
        while session.wants_more():
            replica.flush()
            session.pull()
        session.fall_behind()
        session.catch_up()
        session.pull()


def survey(data: bytes) -> None:
    """An update in steps: the same verdict as in one go."""
    verdicts = []
    for budget in (1, 7, 1 << 40):
        try:
            in_steps = Survey(data, 1000)
            while not in_steps.step(budget):
                pass
            verdicts.append("")
        except ProtocolError as error:
            verdicts.append(error.rule)
    try:
        parse_update(data)
        verdict = ""
    except ProtocolError as error:
        verdict = error.rule
    if len(set(verdicts)) > 1 or bool(verdict) != bool(verdicts[0]):
        raise AssertionError(f"{verdict!r} in one go, {verdicts} in steps")
    if verdict:
        raise ProtocolError(verdict, "in one go and in steps")


def admit(data: bytes) -> None:
    """An update through the gate in steps: ready and rest as in one go."""
    index = Index()
    index.clocks = {1: 3, 2: 1, 7: 5}
    cut = split(data, index)
    intake = Intake(data, None, index)
    while not intake.step(1):
        pass
    if (None if intake.ready is None else intake.ready[0], intake.rest) != (cut.ready, cut.rest):
        raise AssertionError("not the same in steps")
    for part in (cut.ready, cut.rest):
        if part is not None:
            parse_update(part)


PARSERS: dict[str, Callable[[bytes], object]] = {
    "update": parse_update,
    "survey": survey,
    "gate": admit,
    "state vector": lambda data: parse_state_vector(data, 1000),
    "messages": read_messages,
    "awareness": read_awareness,
    "presence": hear,
    "session": converse,
    "block": Block.from_bytes,
    "frames": read_frames,
}


def _frame_of_messages(random: Random, pool: Sequence[bytes]) -> bytes:
    entries = [(random.choice((1, 2, 200)), random.randint(0, 9), random.choice((b"{}", b"null", b"NaN", b'"a"')))]
    kinds = (
        lambda: sync_message(random.randint(0, 2), random.choice(pool)),
        lambda: sync_message(0, odd_state_vector(random)),
        lambda: b"\x01" + num(len(encode_awareness(entries))) + encode_awareness(entries),
        lambda: b"\x03",
        lambda: saved_message(b"\x07"),
        lambda: bytes((random.randrange(256),)),
        lambda: b"\x02\x00" + text("no"),
    )
    return b"".join(random.choice(kinds)() for _ in range(random.randint(1, 4)))


class Fuzzer:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.result = Result()
        self.real = real_updates()
        self.block = fold([], [update(section(1, 0, string("abc")), deletes={1: [(0, 1)]})])
        self.cases: list[list[bytes]] = []

    def input_for(self, parser: str) -> bytes:
        """Bytes that have a chance to get deep into a parser."""
        random = self.random
        if random.random() < 0.1:
            return noise(random)
        if parser in ("update", "survey", "gate"):
            base = random.choice(self.real) if random.random() < 0.5 else random.choice(grammar_case(random))
        elif parser == "state vector":
            base = odd_state_vector(random)
        elif parser == "block":
            base = self.block
        elif parser in ("awareness", "presence"):
            states = (b"{}", b"null", b"1", b"NaN", b"", b"[" * 40, b'"\\ud800"', b"x" * 200)
            base = encode_awareness(
                [(random.choice((1, 2, 200, 2**53 - 1)), random.randint(0, 9), random.choice(states)) for _ in range(3)]
            )
        elif parser == "frames":
            base = b"".join(
                bytes((random.choice((0x82, 0x02, 0x80, 0x81, 0x88, 0x89, 0x8A, 0xC2)), 0x80 | len(body)))
                + random.randbytes(4)
                + body
                for body in (noise(random)[:125] for _ in range(random.randint(1, 3)))
            )
        else:
            base = _frame_of_messages(random, self.real)
        return damaged(random, base) if random.random() < 0.7 else base

    def parse_one(self) -> None:
        """One execution of a pure parser."""
        name = self.random.choice(tuple(PARSERS))
        data = self.input_for(name)
        try:
            PARSERS[name](data)
        except ProtocolError as error:
            self.result.refused[error.rule] += 1
        except Exception as error:
            self.result.wrong.append(f"{name}: {type(error).__name__}: {error}: {data.hex()}")

    def engine_one(self) -> None:
        """One sequence of updates; it goes to an engine with the rest of its batch when any of it is accepted."""
        random = self.random
        case = grammar_case(random)
        if random.random() < 0.4:
            start = random.randrange(len(self.real))
            case = self.real[start : start + random.randint(1, 5)]
        case = [damaged(random, data) if random.random() < 0.3 else data for data in case]
        accepted = []
        for data in case:
            try:
                parse_update(data)
            except ProtocolError as error:
                self.result.refused[error.rule] += 1
            else:
                accepted.append(data)
        if accepted:
            self.result.accepted += 1
            self.cases.append(accepted)
        if len(self.cases) >= BATCH:
            self.judge()

    def judge(self) -> None:
        """Run what is gathered through an engine."""
        for case, verdict in judge(self.cases):
            self.result.poison.append((case, verdict))
            if verdict.status != REFUSED or not verdict.text.startswith(KNOWN):
                self.result.wrong.append(f"engine: {verdict}: {[data.hex() for data in case]}")
        self.cases = []

    def run(self, executions: int, seconds: float) -> Result:
        """So many executions, or as many as fit into the time."""
        deadline = time.monotonic() + seconds
        result = self.result
        while result.executions < executions and time.monotonic() < deadline:
            if self.random.random() < 0.5:
                self.parse_one()
            else:
                self.engine_one()
            result.executions += 1
        self.judge()
        return result


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz, print what was found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--executions", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--coverage", action="store_true", help="report the lines reached (several times slower)")
    options = parser.parse_args(arguments)
    started = time.monotonic()
    with Lines(MODULES if options.coverage else ()) as lines:
        result = Fuzzer(options.seed).run(options.executions, options.seconds)
    out = sys.stdout.write
    out(f"seed {options.seed}: {result.executions} executions in {time.monotonic() - started:.0f} s, ")
    out(f"{result.accepted} cases through an engine, {len(result.wrong)} wrong\n")
    out("refused: " + ", ".join(f"{rule} {count}" for rule, count in sorted(result.refused.items())) + "\n")
    for case, verdict in result.poison[:20]:
        out(f"stopped before storing ({verdict.text}): {[data.hex() for data in case]}\n")
    for name, (reached, total, missed) in lines.report().items():
        out(f"{name}: {reached} of {total} lines, not {missed}\n")
    for line in result.wrong:
        out(line + "\n")
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
