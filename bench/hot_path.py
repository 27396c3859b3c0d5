"""What one keystroke costs the server inside `crdt`: receive (parse, validate, gate, index) and its share of a flush.

`make bench` runs it on the source and on the compiled modules; each run prints one JSON object. It measures this
process alone, without sockets: a floor, not a claim about a server.
"""

import json
import platform
import statistics
import sys
import time
from dataclasses import asdict, dataclass

from pycrdt import Doc, Text

import crdt.update
from crdt.replica import Outcome, Replica
from crdt.wire import UPDATE, sync_message

KEYSTROKES = 20_000
WRITERS = 4
PER_FLUSH = 8
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Result:
    """Nanoseconds per keystroke, the best and the median of `ROUNDS`; bytes of the document when all are applied."""

    compiled: bool
    python: str
    keystrokes: int
    per_flush: int
    best_ns: int
    median_ns: int
    document_bytes: int


def typing(keystrokes: int, writers: int) -> list[bytes]:
    """Updates of `writers` people who type in turn, a word each, one character an update."""
    docs: list[Doc[Text]] = [Doc(client_id=100 + number) for number in range(writers)]
    texts = [doc.get("quill", type=Text) for doc in docs]
    updates: list[bytes] = []
    while len(updates) < keystrokes:
        writer = len(updates) // 6 % writers
        before = docs[writer].get_state()
        texts[writer].insert(len(str(texts[writer])) if len(updates) < 6 else 0, "x")
        update = docs[writer].get_update(before)
        updates.append(update)
        for other, doc in enumerate(docs):
            if other != writer:
                doc.apply_update(update)
    return updates


def run(updates: list[bytes]) -> tuple[int, int]:
    """Nanoseconds for all updates, and the size of the document. Raises ValueError if an update was not taken."""
    replica = Replica()
    size = 0
    started = time.perf_counter_ns()
    for number, update in enumerate(updates, 1):
        if replica.receive(update, None) is not Outcome.ACCEPTED:
            raise ValueError(f"update {number} was not accepted: the measurement would be of something else")
        if number % PER_FLUSH == 0:
            flushed = replica.flush()
            assert flushed is not None
            size += len(sync_message(UPDATE, flushed))
    return time.perf_counter_ns() - started, replica.tail.size


def measure() -> Result:
    """The whole measurement; takes some seconds."""
    updates = typing(KEYSTROKES, WRITERS)
    rounds = [run(updates) for _ in range(ROUNDS)]
    costs = [nanoseconds // len(updates) for nanoseconds, _ in rounds]
    return Result(
        compiled=not (crdt.update.__file__ or "").endswith(".py"),
        python=platform.python_version(),
        keystrokes=len(updates),
        per_flush=PER_FLUSH,
        best_ns=min(costs),
        median_ns=int(statistics.median(costs)),
        document_bytes=rounds[0][1],
    )


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(measure())) + "\n")
