"""Failpoints fire where, and only where, they are told to, and the same way for the same seed."""

import pytest

from persistence import failpoints


def draws(seed: int, count: int, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    monkeypatch.setattr(failpoints, "_active", failpoints.parse("here:0.5:raise", seed))
    fired = []
    for _ in range(count):
        try:
            failpoints.hit("here")
        except failpoints.FailpointError:
            fired.append(True)
        else:
            fired.append(False)
    return fired


def test_the_draws_follow_the_seed(monkeypatch: pytest.MonkeyPatch) -> None:
    first = draws(1, 200, monkeypatch)
    assert first == draws(1, 200, monkeypatch)
    assert first != draws(2, 200, monkeypatch)
    assert 60 < sum(first) < 140


def test_other_places_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "_active", failpoints.parse("here:1:raise,never:0:raise", 0))
    failpoints.hit("elsewhere")
    failpoints.hit("never")
    with pytest.raises(failpoints.FailpointError, match="here"):
        failpoints.hit("here")


@pytest.mark.parametrize("text", ["here", "here:1", "here:2:kill", "here:x:kill", "here:1:explode", "a:b:c:d"])
def test_a_bad_setting_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        failpoints.parse(text, 0)
