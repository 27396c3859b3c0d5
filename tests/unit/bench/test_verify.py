"""The comparison of the load generator with real clients."""

import subprocess
import sys
from dataclasses import replace

import pytest

from bench.servers import install
from bench.verify import CLIENTS, GENERATOR, Outcome, costs, differences, table

RESULT = {
    "sent": 10,
    "expected": 90,
    "deliveries": 90,
    "converged": True,
    "presence": None,
    "latency_ms": {"p50": 1.0, "p99": 4.0, "max": 5.0},
    "generator_cpu": 0.1,
    "late_by_ms": 0.2,
}
GOOD = Outcome.of(RESULT, 0.009)


def test_cost_is_shared_by_what_was_delivered() -> None:
    assert GOOD.cost == pytest.approx(100)
    with_presence = Outcome.of({**RESULT, "presence": {"received_states": 10}}, 0.009)
    assert with_presence.cost == pytest.approx(90)
    assert replace(GOOD, deliveries=0).cost == pytest.approx(9000)


def test_equal_counts_are_no_difference() -> None:
    assert differences(GOOD, replace(GOOD, p50=9.0, server_cpu=9.0)) == []


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (replace(GOOD, sent=9), "sent: 10 by the load generator, 9 by real clients"),
        (replace(GOOD, deliveries=89), "real clients: 89 deliveries of 90 expected"),
        (replace(GOOD, converged=False), "real clients: the clients did not converge"),
    ],
)
def test_each_difference_is_told(other: Outcome, said: str) -> None:
    assert said in differences(GOOD, other)


def test_nothing_sent_is_not_agreement() -> None:
    nothing = replace(GOOD, sent=0, expected=0, deliveries=0)
    assert len(differences(nothing, nothing)) == 2


def test_costs_are_compared_by_their_medians() -> None:
    double = replace(GOOD, server_cpu=0.018)
    assert (
        costs([(GOOD, GOOD), (GOOD, double), (GOOD, GOOD)]) == "CPU per delivery: 100.0 µs, with real clients 100.0 µs"
    )
    assert costs([(GOOD, double)]).endswith("200.0 µs, more than 15% apart")


def test_the_table_has_both() -> None:
    line = next(
        line for line in table(GOOD, replace(GOOD, deliveries=7)).splitlines() if line.startswith("deliveries  ")
    )
    assert line.split() == ["deliveries", "90", "7"]


@pytest.mark.interop
@pytest.mark.parametrize("server", ["syncd", "hocuspocus"])
def test_both_count_the_same(server: str) -> None:
    needed = [CLIENTS] if server == "syncd" else [CLIENTS, server]
    if not all(map(install.is_installed, needed)) or not GENERATOR.exists():
        pytest.skip("run `python -m bench.verify` first")
    command = [sys.executable, "-m", "bench.verify", server, "--runs", "1", "--clients", "4", "--writers", "2"]
    done = subprocess.run([*command, "--seconds", "2"], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the counts agree" in done.stdout
    assert "120         120" in done.stdout  # 2 writers, 10 edits a second, 2 seconds, 3 others
