"""Work that takes long gets its turns, and everybody else is served between two of them."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from syncd.turns import TURN, Turns


class Job:
    """So many turns of work; writes down each in the log it shares with others."""

    def __init__(self, name: str, turns: int, log: list[str]) -> None:
        self.name = name
        self.left = turns
        self.log = log
        self.until: list[float] = []

    def turn(self, until: float) -> bool:
        self.until.append(until)
        self.log.append(self.name)
        self.left -= 1
        if self.left < -5:
            raise RuntimeError("planted")
        return self.left > 0


async def test_one_turn_in_an_iteration_of_the_loop() -> None:
    turns, log = Turns(), list[str]()
    turns.add(Job("a", 3, log))
    turns.add(Job("b", 2, log))
    for wanted in ("a", "ab", "aba", "abab", "ababa"):
        await asyncio.sleep(0)
        assert "".join(log) == wanted
    assert turns.idle
    await turns.done()


async def test_others_are_served_between_two_turns() -> None:
    turns, log = Turns(), list[str]()
    turns.add(Job("a", 3, log))
    for _ in range(3):
        asyncio.get_running_loop().call_soon(log.append, "-")
        await asyncio.sleep(0)
    await turns.done()
    assert "".join(log) == "a-a-a-"


async def test_a_turn_has_an_end() -> None:
    turns, job = Turns(), Job("a", 1, [])
    before = asyncio.get_running_loop().time()
    turns.add(job)
    await turns.done()
    assert before + TURN <= job.until[0] <= asyncio.get_running_loop().time() + TURN


async def test_work_that_fails_is_given_up_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    turns, log = Turns(), list[str]()
    turns.add(Job("a", -6, log))
    turns.add(Job("b", 2, log))
    await turns.done()
    assert "".join(log) == "abb"
    assert "planted" in caplog.text


async def test_work_may_come_back_later() -> None:
    turns, log = Turns(), list[str]()
    await turns.done()
    turns.add(Job("a", 1, log))
    await turns.done()
    turns.add(Job("b", 1, log))
    await turns.done()
    assert turns.idle
    assert "".join(log) == "ab"


async def test_short_steps_share_turns_and_go_round() -> None:
    turns, log = Turns(length=0.0), list[str]()
    left = {"a": 3, "b": 1, "c": 2}

    def step(name: str) -> bool:
        log.append(name)
        left[name] -= 1
        return left[name] > 0

    for name in left:
        turns.share(partial(step, name))
    assert not turns.idle
    for wanted in ("a", "ab", "abc", "abca", "abcac", "abcaca"):
        await asyncio.sleep(0)
        assert "".join(log) == wanted, "a turn without time is one step"
    assert turns.idle


async def test_a_step_that_fails_ends_alone() -> None:
    turns, log = Turns(), list[str]()

    def fail() -> bool:
        raise RuntimeError("planted")

    def note() -> bool:
        log.append("shared")
        return False

    turns.share(fail)
    turns.share(note)
    await turns.done()
    assert turns.idle
    assert log == ["shared"]
    turns.share(note)
    await turns.done()
    assert log == ["shared", "shared"]
