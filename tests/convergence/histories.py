"""Runs histories through the server and lets Yjs compare every way in which a reader can arrive at the state.

Simulations are generators that yield what they want to know from the oracle. Many run side by side, and each round of
questions goes to Node in one exchange per kind.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from pycrdt import merge_updates

from crdt.replica import Outcome
from crdt.session import Session
from tests.convergence.server import Server, pull
from tests.convergence.steps import (
    RECEIVERS,
    CatchUp,
    Compact,
    Drain,
    Flush,
    Receive,
    Restart,
    Resync,
    Stall,
    Step,
    plan,
)
from tests.oracle.oracle import History, Oracle

EMPTY_STATE = b"\x00"
"""The state vector of somebody who has nothing."""


@dataclass(frozen=True, slots=True)
class Merge:
    """Ask for Y.mergeUpdates."""

    updates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Diff:
    """Ask a client of the history for its answer to a state vector."""

    client: int
    state_vector: bytes


@dataclass(frozen=True, slots=True)
class Apply:
    """Feed a document and ask for its state vector."""

    document: str
    updates: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Judge:
    """Ask whether documents are what the history must lead to."""

    documents: tuple[str, ...]


Question = Merge | Diff | Apply | Judge
Simulation = Generator[Question, Any, "Failure | None"]


@dataclass(frozen=True, slots=True)
class Failure:
    """A history that went wrong, with all that is needed to run it again."""

    seed: str
    steps: tuple[Step, ...]
    what: str
    size: int = 0

    def __str__(self) -> str:
        lines = [f"history {self.seed!r} (size {self.size}), {len(self.steps)} steps:"]
        return "\n".join([*lines, *(f"  {step}" for step in self.steps), self.what])


class Run:
    """One history on its way through one server."""

    def __init__(self, history: History, steps: Sequence[Step], make: Callable[[], Server]) -> None:
        self.history = history
        self.steps = steps
        self.server = make()
        # Merging by yrs drops options of a subdocument that it does not know, and makes other numbers of BigInts (which
        # the histories have under the key `big`): a client that merges with yrs has neither.
        self.yrs_keeps_it = not any(key in one.data for one in history.updates for key in (b"\x04meta", b"\x03big"))
        self.queues: list[list[bytes]] = [[] for _ in range(RECEIVERS)]
        self.sessions: list[Session | None] = [self.server.connect(EMPTY_STATE, 1) for _ in range(RECEIVERS)]
        self._ways: dict[tuple[bytes, ...], str] = {}

    def simulate(self) -> Simulation:
        """Take every step, then let everybody sync, then judge."""
        for receiver in range(RECEIVERS):
            self._pull(receiver, None)
        for step in self.steps:
            yield from self._step(step)
        for client in range(len(self.history.clients)):
            yield from self._resync(client)
        self._flush(())
        return (yield from self._verdict())

    def _step(self, step: Step) -> Generator[Question, Any, None]:
        if isinstance(step, Receive):
            yield from self._receive(step)
        elif isinstance(step, Flush):
            self._flush(step.lost)
        elif isinstance(step, Resync):
            yield from self._resync(step.client)
        elif isinstance(step, CatchUp):
            yield from self._catch_up(step)
        elif isinstance(step, Stall):
            self._stall(step.receiver)
        elif isinstance(step, Drain):
            self._drain(step)
        elif isinstance(step, Restart):
            self.server.restart()
            self.sessions = [None] * RECEIVERS
        else:
            self.server.compact(step)

    def _receive(self, step: Receive) -> Generator[Question, Any, None]:
        updates = [self.history.updates[index].data for index in step.which]
        if len(updates) == 1:
            data = updates[0]
        elif step.how == "pycrdt" and self.yrs_keeps_it:
            data = merge_updates(*updates)
        else:
            data = yield Merge(tuple(updates))
        outcome = self.server.receive(data, step.client)
        if step.ask and outcome in (Outcome.HELD, Outcome.OVERFLOW):
            yield from self._resync(step.client)

    def _resync(self, client: int) -> Generator[Question, Any, None]:
        answer = yield Diff(client, self.server.replica.state_vector())
        self.server.receive(answer, client)

    def _flush(self, lost: tuple[int, ...]) -> None:
        update = self.server.flush()
        if update is None:
            return
        for receiver, (queue, session) in enumerate(zip(self.queues, self.sessions, strict=True)):
            if session is not None and session.live and receiver not in lost:
                queue.append(update)

    def _name(self, what: object) -> str:
        return f"{self.history.seed}/{what}"

    def _catch_up(self, step: CatchUp) -> Generator[Question, Any, None]:
        queue = self.queues[step.receiver]
        state_vector, _ = yield Apply(self._name(step.receiver), tuple(queue))
        queue.clear()
        self._flush(())
        self.sessions[step.receiver] = self.server.connect(state_vector, step.limit)
        self._pull(step.receiver, step.broken_by)

    def _stall(self, receiver: int) -> None:
        session = self.sessions[receiver]
        if session is not None:
            self._flush(())
            session.fall_behind()

    def _drain(self, step: Drain) -> None:
        session = self.sessions[step.receiver]
        if session is not None and not session.live:
            self._flush(())
            session.catch_up()
            self._pull(step.receiver, step.broken_by)

    def _pull(self, receiver: int, broken_by: Compact | None) -> None:
        session = self.sessions[receiver]
        assert session is not None
        queue = self.queues[receiver]
        answer = pull(session)
        if broken_by is not None:
            queue.extend(update for update in [next(answer, None)] if update is not None)
            self.server.compact(broken_by)
        queue.extend(answer)

    def _verdict(self) -> Generator[Question, Any, Failure | None]:
        """Every way to the state: receivers that catch up, a full sync, a half-known document, a restart, one block."""
        for receiver in range(RECEIVERS):
            yield from self._catch_up(CatchUp(receiver, 256 * 1024, None))
            yield Apply(self._name(receiver), tuple(self.queues[receiver]))
        half = tuple(emitted.data for emitted in self.history.updates[: len(self.history.updates) // 2])
        known, _ = yield Apply(self._name("part"), half)
        yield Apply(self._name("part"), tuple(self.server.sync(known, 1)))
        yield from self._full_sync("full")
        problems = self._state_problems("after the last sync")
        self.server.restart()
        problems += self._state_problems("after a restart")
        yield from self._full_sync("reload")
        self.server.compact(Compact("snapshot", 1.0, 256 * 1024))
        self.server.restart()
        problems += self._state_problems("after everything was folded")
        yield from self._full_sync("block")
        names = [self._name(what) for what in (*range(RECEIVERS), "part", *self._ways.values())]
        answers = yield Judge(tuple(names))
        problems += [f"{name}: {line}" for name, lines in zip(names, answers, strict=True) for line in lines]
        return Failure(self.history.seed, tuple(self.steps), "\n".join(problems)) if problems else None

    def _full_sync(self, what: str) -> Generator[Question, Any, None]:
        """A document that gets everything; the same bytes as before need not be judged again."""
        updates = tuple(self.server.sync(EMPTY_STATE))
        if self._ways.setdefault(updates, what) == what:
            yield Apply(self._name(what), updates)

    def _state_problems(self, when: str) -> list[str]:
        clocks = {client: clock for client, clock in self.server.replica.index.clocks.items() if clock > 0}
        problems = []
        if clocks != self.history.state_vector:
            problems.append(f"{when} the server has {clocks}, wanted {self.history.state_vector}")
        if self.server.replica.held:
            problems.append(f"{when} the server still holds {len(self.server.replica.held)} updates back")
        return problems


def _ask(oracle: Oracle, questions: list[tuple[int, str, Question]]) -> dict[int, Any]:
    """Put one round of questions, one exchange per kind."""
    answers: dict[int, Any] = {}
    merges = [(key, q.updates) for key, _, q in questions if isinstance(q, Merge)]
    diffs = [(key, (seed, q.client, q.state_vector)) for key, seed, q in questions if isinstance(q, Diff)]
    applies = [(key, (q.document, q.updates)) for key, _, q in questions if isinstance(q, Apply)]
    judged = [(key, seed, q.documents) for key, seed, q in questions if isinstance(q, Judge)]
    if merges:
        answers |= _keyed(merges, oracle.merge([updates for _, updates in merges]))
    if diffs:
        answers |= _keyed(diffs, oracle.diff([wanted for _, wanted in diffs]))
    if applies:
        answers |= _keyed(applies, oracle.apply([to for _, to in applies]))
    if judged:
        found = iter(oracle.compare([(name, seed) for _, seed, names in judged for name in names]))
        answers |= {key: [next(found) for _ in names] for key, _, names in judged}
    return answers


def _keyed(asked: Sequence[tuple[int, Any]], answers: Sequence[Any]) -> dict[int, Any]:
    return {key: answer for (key, _), answer in zip(asked, answers, strict=True)}


def run_all(oracle: Oracle, runs: Sequence[Run]) -> list[Failure]:
    """Run simulations side by side; an exception inside one is its failure."""
    simulations = {key: (run, run.simulate()) for key, run in enumerate(runs)}
    answers: dict[int, Any] = dict.fromkeys(simulations)
    failures: list[Failure] = []
    while simulations:
        questions: list[tuple[int, str, Question]] = []
        for key, (run, simulation) in list(simulations.items()):
            question, failure = _advance(run, simulation, answers[key])
            if question is not None:
                questions.append((key, run.history.seed, question))
                continue
            del simulations[key]
            if failure is not None:
                failures.append(failure)
        answers = _ask(oracle, questions)
    return failures


def _advance(run: Run, simulation: Simulation, answer: Any) -> tuple[Question | None, Failure | None]:
    try:
        return simulation.send(answer), None
    except StopIteration as end:
        return None, end.value
    # Whatever the code under test raises is a finding about this history, not the end of a run of 100,000.
    except Exception as error:
        what = "".join(traceback.format_exception(error)[-6:]).rstrip()
        return None, Failure(run.history.seed, tuple(run.steps), what)


def check(
    oracle: Oracle, seeds: Sequence[str], size: int = 24, make: Callable[[], Server] = Server
) -> tuple[int, list[Failure]]:
    """Run one history per seed; returns the number of updates they had, and what failed."""
    histories = oracle.generate(seeds, size)
    runs = [Run(history, plan(history, Random(history.seed)), make) for history in histories]
    failures = run_all(oracle, runs)
    oracle.reset()
    return sum(len(history.updates) for history in histories), failures


def shorten(oracle: Oracle, failure: Failure, size: int = 24, make: Callable[[], Server] = Server) -> Failure:
    """Leave out steps as long as the history still fails."""
    history = oracle.generate([failure.seed], size)[0]
    best = failure
    width = max(1, len(best.steps) // 2)
    while width >= 1:
        at = 0
        while at < len(best.steps):
            fewer = best.steps[:at] + best.steps[at + width :]
            again = run_all(oracle, [Run(history, fewer, make)])
            if again:
                best = again[0]
            else:
                at += width
        width //= 2
    oracle.reset()
    return Failure(best.seed, best.steps, best.what, size)
