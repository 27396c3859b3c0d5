"""A few rounds of the experiment of kill9.py, and proof that its ledger notices what must not happen."""

from pathlib import Path

import pytest

from tests.durability.kill9 import Experiment, Load
from tests.durability.ledger import Ledger, Tally
from tests.oracle.oracle import missing

ROUNDS = 5


@pytest.mark.faults
@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(missing() is not None, reason=str(missing()))
def test_what_was_reported_saved_survives_kill_9(tmp_path: Path) -> None:
    """Five rounds under load: nothing saved is missing, no saved delete undone, nothing doubled or invented."""
    total = Tally()
    with Load() as load, Experiment(tmp_path, "pytest") as experiment:
        for number in range(1, ROUNDS + 1):
            total.add(experiment.round(load, number))
    assert total.saved_inserts > 0
    assert total.saved_deletes > 0
    assert total.faults == 0, f"{total}\nserver:\n{experiment.server.tail()}"


@pytest.fixture
def ledger() -> Ledger:
    """Tokens 0 and 1 are saved, 1 is deleted and that is saved, 2 was never reported."""
    book = Ledger()
    book.note([("[0-1-0]", True), ("[0-1-1]", True), ("[0-1-2]", False)], [("[0-1-1]", True)])
    return book


def test_a_state_with_and_one_without_the_unreported_token_are_both_right(ledger: Ledger) -> None:
    """What was not reported may survive or not; what survived is counted, and must stay."""
    assert ledger.check("[0-1-0][0-1-2]", ["[0-1-0]", "[0-1-2]"], False).faults == 0
    assert ledger.check("[0-1-0]", ["[0-1-0]"], False).missing == 1


def test_what_was_lost_unreported_must_not_come_back(ledger: Ledger) -> None:
    """The only copy died with its writer."""
    first = ledger.check("[0-1-0]", ["[0-1-0]"], False)
    assert (first.faults, first.unacked, first.unacked_survived) == (0, 1, 0)
    assert ledger.check("[0-1-0][0-1-2]", ["[0-1-0]", "[0-1-2]"], False).unknown == 1


@pytest.mark.parametrize(
    ("text", "keys", "pending", "fault"),
    [
        ("", [], False, "missing"),
        ("[0-1-0][0-1-1]", ["[0-1-0]", "[0-1-1]"], False, "undone"),
        ("[0-1-0][0-1-0]", ["[0-1-0]"], False, "doubled"),
        ("[0-1-0][7-7-7]", ["[0-1-0]", "[7-7-7]"], False, "unknown"),
        ("[0-1-0][0-1", ["[0-1-0]"], False, "torn"),
        ("[0-1-0]", [], False, "torn"),
        ("[0-1-0]", ["[0-1-0]"], True, "incomplete"),
    ],
)
def test_a_fault_is_noticed(ledger: Ledger, text: str, keys: list[str], pending: bool, fault: str) -> None:
    """Each kind of damage is counted under its name, once."""
    tally = ledger.check(text, keys, pending)
    assert getattr(tally, fault) == 1
    assert tally.faults == 1
    assert tally.examples[0].startswith(fault)
