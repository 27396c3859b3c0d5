"""The load generator counts what is there, and notices what is not.

A figure of it is believed for two reasons: against a server that is right it counts exactly what was sent, and each way
in which a server can be wrong, which the relay knows how to be, shows in the figure that is meant to show it.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pycrdt import Doc, Text
from websockets.sync.client import connect

from bench.process import Syncd
from bench.servers import catalogue
from tests.unit.bench.programs import build

pytestmark = [
    pytest.mark.skipif(shutil.which("gcc") is None, reason="needs a C compiler"),
    pytest.mark.slow,  # a second or two each: they are runs of a load
]

Result = dict[str, Any]
Load = Callable[..., Result]


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with `load` and `relay`, built from the sources as they are now."""
    return build(tmp_path_factory.mktemp("programs"))


def configuration(address: str | list[str], pids: list[int], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Small enough for a test, and everything still happens."""
    config = {"target": address, "pids": pids, "clients": 6, "writers": 4, "rate": 40}
    return {**config, "warmup": 0.3, "duration": 0.7, "drain": 5, "connect_timeout": 20, **changes}


def start(programs: Path, folder: Path, config: Mapping[str, Any]) -> subprocess.Popen[str]:
    file = folder / "load.json"
    file.write_text(json.dumps(config))
    return subprocess.Popen(
        [programs / "load", file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen[str]) -> Result:
    out, errors = process.communicate(timeout=100)
    assert process.returncode == 0, errors
    result: Result = json.loads(out)
    return result


@pytest.fixture
def load(programs: Path, tmp_path: Path) -> Load:
    """Run the generator against an address to the end."""

    def run(address: str | list[str], pids: list[int] | None = None, **changes: Any) -> Result:
        return finish(start(programs, tmp_path, configuration(address, pids or [], changes)))

    return run


@pytest.fixture(scope="module")
def syncd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Syncd]:
    # A ramp of forty edits a second would end in the limit of messages.
    with Syncd(tmp_path_factory.mktemp("syncd"), {"SYNCD_MESSAGES_PER_SECOND": "5000"}) as server:
        yield server


@contextmanager
def relaying(programs: Path, *options: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """A relay: its address and its process."""
    with subprocess.Popen([programs / "relay", *options], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().split()[-1], process
        finally:
            process.kill()


def wait_for_deliveries(running: subprocess.Popen[str]) -> None:
    """Until the line of progress that tells of the first ones."""
    assert running.stderr is not None
    while "deliveries=0 " in (line := running.stderr.readline()):
        assert line.startswith("t="), line


def pause(process: subprocess.Popen[str]) -> None:
    """Stop a process for half a second."""
    process.send_signal(signal.SIGSTOP)
    time.sleep(0.5)
    process.send_signal(signal.SIGCONT)


def assert_exact(result: Result, readers: int = 5) -> None:
    """Every edit has reached each of the other clients once, whole and in order."""
    assert result["errors"] == []
    assert result["closed"] == 0
    assert result["sent"] > 0
    assert result["deliveries"] == result["expected"] == result["sent"] * readers
    assert result["latency_ms"]["count"] == result["deliveries"]
    faults = ("duplicates", "overlaps", "gaps", "corrupted", "misrouted", "malformed", "texts")
    assert {name: result[name] for name in faults} == dict.fromkeys(faults, 0)
    assert result["converged"] is True


# -- a server that is right


def test_counts_are_exact_against_syncd(load: Load, syncd: Syncd) -> None:
    result = load(syncd.address, [syncd.pid], room="exact")
    assert_exact(result)
    assert result["connected"] == 6
    assert result["late_joiners_ok"] == 3
    assert result["sent"] == pytest.approx(4 * 40 * 0.7, abs=4)
    assert 0 <= result["echoes"] <= result["sent"]  # what a client alone has sent it does not get back
    assert 0 < result["server_cpu"] < 10
    assert result["server_cpu_by_pid"].keys() >= {str(syncd.pid)}
    assert result["saved_ms"] is result["join"] is result["steps"] is result["probe_latency_ms"] is None


def test_counts_are_exact_against_the_relay(load: Load, programs: Path) -> None:
    """One frame for each delivery, and none besides: the relay merges nothing and nothing else is said."""
    with relaying(programs) as (address, process):
        result = load(address, [process.pid], late=0)
    assert_exact(result)
    assert result["frames_in"] == result["arrivals"] >= result["deliveries"]
    assert result["echoes"] == 0


def test_what_is_saved_is_measured_by_barriers(load: Load, syncd: Syncd) -> None:
    result = load(syncd.address, room="saved", barriers=10)
    assert_exact(result)
    assert result["saved_ms"]["count"] >= 4
    assert result["barriers_unanswered"] == 0
    assert result["saved_ms"]["p50"] > result["latency_ms"]["p50"]


def test_barriers_that_nobody_answers_are_told(load: Load, programs: Path) -> None:
    """The relay does not confirm; it hands the question to the others, who have not asked."""
    with relaying(programs) as (address, _):
        result = load(address, clients=2, writers=1, barriers=10, late=0, drain=0.5)
    assert result["barriers_unanswered"] >= 4
    assert result["saved_ms"]["count"] == 0
    assert result["malformed"] == result["barriers_unanswered"]


def test_barriers_of_all_are_told_apart_by_whether_they_write(load: Load, syncd: Syncd) -> None:
    """Four writers ask behind edits, two readers whenever they like; each answer comes back to the one who asked."""
    result = load(syncd.address, room="all-saved", barriers=10, barrier_clients="all", rate=10)
    assert_exact(result)
    assert result["saved_ms"]["count"] == pytest.approx(4 * 10 * 0.7, abs=8)
    assert result["seen_saved_ms"]["count"] == pytest.approx(2 * 10 * 0.7, abs=2)
    assert result["barriers_unanswered"] == 0


def test_a_reader_that_is_not_asked_to_asks_nothing(load: Load, syncd: Syncd) -> None:
    result = load(syncd.address, room="writers-saved", barriers=10)
    assert result["saved_ms"]["count"] > 0
    assert result["seen_saved_ms"] is None


def test_the_answer_to_somebody_else_is_no_answer(load: Load, programs: Path) -> None:
    """The relay hands each question to the other, who has asked one with the same number."""
    with relaying(programs) as (address, _):
        result = load(address, clients=2, writers=1, barriers=10, barrier_clients="all", late=0, drain=0.5)
    assert result["barriers_unanswered"] >= 15
    assert result["saved_ms"]["count"] == result["seen_saved_ms"]["count"] == 0
    assert result["malformed"] == result["barriers_unanswered"]


def test_every_place_for_the_room_in_a_path_is_filled(programs: Path, load: Load) -> None:
    """The relay's rooms are whole paths: with one place left as it is, two rooms would still be two."""
    with relaying(programs) as (address, _), connect(f"ws://{address}/d/places-1/ws/places-1") as guest:
        result = load(address, path="/d/{room}/ws/{room}", room="places", rooms=2, late=0)
        heard = guest.recv(timeout=5)
    assert_exact(result)
    assert heard


def test_several_rooms_do_not_hear_each_other(load: Load, syncd: Syncd) -> None:
    assert_exact(load(syncd.address, room="several", rooms=3, late=6))


def test_presence_arrives_with_its_echoes(load: Load, syncd: Syncd) -> None:
    """Every state is shown to the five others, who send it again as stock clients do; servers drop that."""
    result = load(syncd.address, room="presence", presence_rate=10, writers=0)
    presence = result["presence"]
    assert presence["sent"] == pytest.approx(6 * 10 * 0.7, abs=6)
    assert presence["received_states"] == 5 * presence["sent"]
    assert presence["latency_ms"]["count"] == presence["received_states"]
    assert presence["echoed"] > presence["received_states"]


def test_presence_without_echo(load: Load, syncd: Syncd) -> None:
    presence = load(syncd.address, room="silent", presence_rate=10, presence_clients=2, echo=False)["presence"]
    assert presence["received_states"] == 5 * presence["sent"] > 0
    assert presence["echoed"] == 0


def test_a_ramp_reports_each_of_its_steps(load: Load, syncd: Syncd) -> None:
    ramp = {"from": 1, "to": 4, "step": 2, "seconds": 0.4}
    result = load(syncd.address, [syncd.pid], room="ramp", rate=20, ramp=ramp)
    steps = result["steps"]
    assert [step["rate"] for step in steps] == [20, 40, 80]
    for step in steps:
        assert step["sent"] == pytest.approx(4 * 0.4 * step["rate"], abs=4)
        assert step["deliveries"] == step["expected"] == step["latency_ms"]["count"] == step["sent"] * 5
    assert sum(step["sent"] for step in steps) == result["sent"]
    assert sum(step["server_cpu"] for step in steps) <= result["server_cpu"] + 1e-5  # they are rounded
    assert sum(step["arrivals"] for step in steps) <= result["arrivals"]


def test_idle_connections_are_held_until_told_otherwise(programs: Path, tmp_path: Path, syncd: Syncd) -> None:
    config = configuration(syncd.address, [syncd.pid], {"room": "idle", "idle_only": True, "clients": 30})
    process = start(programs, tmp_path, config)
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert first["connected"] == 30
    assert first["connect_cpu"] > 0
    assert process.poll() is None
    result = finish(process)
    assert result["connected"] == 30
    assert result["closed"] == 0


# -- documents and those who open them


@pytest.fixture
def document(tmp_path: Path) -> Path:
    """A text by several authors with characters of one to four bytes, and deletions."""
    file = tmp_path / "document.bin"
    whole: Doc[Any] = Doc()
    piece = "e\u00e9\u20ac\U0001f600 "
    for _ in range(8):
        author: Doc[Any] = Doc()
        author.apply_update(whole.get_update())
        text = author.get("quill", type=Text)
        text.insert(0, piece * 50)
        del text[0 : 2 * len(piece.encode())]
        whole.apply_update(author.get_update())
    file.write_bytes(whole.get_update())
    return file


def test_joiners_have_the_document_and_all_that_is_typed_meanwhile(load: Load, syncd: Syncd, document: Path) -> None:
    result = load(
        syncd.address, [syncd.pid], room="join", document=str(document), joiners=9, probe=True, join_at_once=False
    )
    assert_exact(result)
    assert result["late_joiners_ok"] == 3
    assert result["join"]["count"] == result["join"]["complete"] == result["join"]["sync_ms"]["count"] == 9
    assert result["join"]["bytes"] > 9 * document.stat().st_size
    assert result["probe_latency_ms"]["count"] == pytest.approx(200 * 0.7, abs=2)


def test_joiners_with_a_state_vector_are_sent_the_rest(
    load: Load, syncd: Syncd, document: Path, tmp_path: Path
) -> None:
    doc: Doc[Any] = Doc()
    doc.apply_update(document.read_bytes())
    (tmp_path / "vector").write_bytes(doc.get_state())
    result = load(
        syncd.address, room="rest", document=str(document), joiners=4, state_vector=str(tmp_path / "vector"), writers=1
    )
    assert result["join"]["complete"] == 4
    assert result["join"]["bytes"] < 4 * document.stat().st_size


def test_a_room_that_is_not_fresh_is_refused(programs: Path, tmp_path: Path, load: Load, syncd: Syncd) -> None:
    load(syncd.address, room="used")
    process = start(programs, tmp_path, configuration(syncd.address, [], {"room": "used"}))
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "already holds edits" in errors


def test_late_joiners_who_find_nothing_are_counted_as_such(load: Load, programs: Path) -> None:
    with relaying(programs) as (address, _):
        result = load(address, drain=0.5)
    assert result["converged"] is True
    assert result["late_joiners_ok"] == 0


def test_a_server_that_does_not_keep_the_document_is_found_out(programs: Path, tmp_path: Path, document: Path) -> None:
    with relaying(programs) as (address, _):
        config = configuration(address, [], {"document": str(document), "connect_timeout": 1})
        process = start(programs, tmp_path, config)
        _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "did not take the document" in errors


# -- servers that are wrong, each in one way


def test_a_lost_message_is_a_gap(load: Load, programs: Path) -> None:
    with relaying(programs, "--drop", "50") as (address, _):
        result = load(address, late=0, drain=0.5)
    lost = result["expected"] - result["deliveries"]
    assert 0 < lost <= result["expected"] // 40
    assert 0 < result["gaps"] <= lost + 1 + result["warmup_deliveries"] // 40
    assert result["duplicates"] == 0
    assert result["converged"] is False


def test_a_doubled_message_is_counted_once_and_told(load: Load, programs: Path) -> None:
    with relaying(programs, "--duplicate", "50") as (address, _):
        result = load(address, late=0)
    assert result["deliveries"] == result["expected"]
    total = result["deliveries"] + result["warmup_deliveries"]
    assert result["duplicates"] == total // 50
    assert result["gaps"] == 0


def test_a_changed_letter_is_noticed(load: Load, programs: Path) -> None:
    with relaying(programs, "--garble", "50") as (address, _):
        result = load(address, late=0)
    assert result["corrupted"] == (result["deliveries"] + result["warmup_deliveries"]) // 50 > 0
    assert result["converged"] is False


def test_what_belongs_to_another_room_is_noticed(load: Load, programs: Path) -> None:
    with relaying(programs, "--mix", "1") as (address, _):
        result = load(address, rooms=2, late=0)
    everything = 2 * (result["deliveries"] + result["warmup_deliveries"]) / 5
    assert result["misrouted"] == 3 * everything  # each edit also came to the six of the other room
    assert result["converged"] is False


def test_clients_are_spread_over_the_targets(load: Load, programs: Path) -> None:
    """Two relays that know nothing of each other: three clients each, so two deliveries where five are expected."""
    with relaying(programs) as (first, _), relaying(programs) as (second, _):
        result = load([first, second], late=0, drain=0.5, writers=6)
    assert result["expected"] == 5 * result["sent"]
    assert result["deliveries"] == 2 * result["sent"]
    assert result["converged"] is False


def test_a_server_that_dies_is_told(programs: Path, tmp_path: Path) -> None:
    with relaying(programs) as (address, process):
        config = configuration(address, [], {"late": 0, "drain": 0.5, "duration": 1.5})
        running = start(programs, tmp_path, config)
        wait_for_deliveries(running)
        process.kill()
        result = finish(running)
    assert result["closed"] == 6
    assert len(result["errors"]) == 6
    assert result["deliveries"] < result["expected"] or result["sent"] < 4 * 40 * 1.4
    assert result["converged"] is False


def test_a_server_that_is_not_there_is_told(load: Load) -> None:
    result = load("127.0.0.1:9", duration=0.1, late=1, drain=0.1)
    assert result["connected"] == 0
    assert any("refused" in error for error in result["errors"])
    assert result["late_joiners_ok"] == 0


# -- time


def test_a_stall_is_in_the_latency_of_all_that_should_have_been_typed(programs: Path, tmp_path: Path) -> None:
    """Open loop: while the server stands still the typing goes on, so a stall of a third of the time is a third."""
    with relaying(programs) as (address, relay):
        config = configuration(address, [], {"warmup": 0, "duration": 1.5, "late": 0})
        running = start(programs, tmp_path, config)
        wait_for_deliveries(running)
        pause(relay)
        result = finish(running)
    assert_exact(result)
    assert result["latency_ms"]["max"] > 400
    assert result["latency_ms"]["p90"] > 100


def test_a_generator_that_stood_still_says_so(programs: Path, tmp_path: Path) -> None:
    """It sends late then, and reads late: its figures are no better than these two."""
    with relaying(programs) as (address, _):
        running = start(programs, tmp_path, configuration(address, [], {"warmup": 0, "duration": 1.5, "late": 0}))
        wait_for_deliveries(running)
        pause(running)
        result = finish(running)
    assert_exact(result)
    assert result["longest_round_ms"] > 400
    assert result["late_by_ms"] > 300


def test_the_cpu_time_is_that_of_the_whole_tree(load: Load, programs: Path) -> None:
    """Given the parent, the child that does the work is found, and so is what another has used that ended meanwhile."""
    burn = "import time; end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    script = (
        "import subprocess, sys, time; subprocess.Popen([sys.argv[1]]); time.sleep(2);"
        f"subprocess.run([sys.executable, '-c', {burn!r}]); time.sleep(60)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script, programs / "relay"], stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as parent:
        assert parent.stdout is not None
        try:
            address = parent.stdout.readline().split()[-1]
            result = load(address, [parent.pid], late=0, duration=4)
        finally:
            os.killpg(parent.pid, signal.SIGKILL)
    by_pid = result["server_cpu_by_pid"]
    assert len(by_pid) == 2
    assert 0 < sum(by_pid.values()) < result["server_cpu"]
    assert result["server_cpu"] - sum(by_pid.values()) == pytest.approx(0.32, abs=0.1)


# -- several generators


def test_shards_divide_the_clients_and_read_everything(programs: Path, tmp_path: Path, syncd: Syncd) -> None:
    running = []
    for shard in range(2):
        folder = tmp_path / str(shard)
        folder.mkdir()
        shared = {"shard": [shard, 2], "rendezvous": str(tmp_path / "meet"), "room": "shards", "writers": 5}
        running.append(start(programs, folder, configuration(syncd.address, [], shared)))
    results = [finish(process) for process in running]
    assert [result["connected"] for result in results] == [3, 3]
    sent = sum(result["sent"] for result in results)
    assert sum(result["deliveries"] for result in results) == 5 * sent
    for result in results:
        assert result["deliveries"] == result["expected"] > 0
        assert result["errors"] == []
        assert result["gaps"] == result["duplicates"] == result["malformed"] == 0
        assert result["converged"] is True
    assert [result["late_joiners_ok"] for result in results] == [3, 0]


# -- other servers


@pytest.mark.parametrize("name", ["y-websocket", "hocuspocus", "pycrdt-websocket", "y-sweet"])
def test_counts_are_exact_against_other_servers(name: str, load: Load, tmp_path: Path) -> None:
    if not catalogue.ENTRIES[name].is_installed():
        pytest.skip(f"{name} is not installed; python -m bench.servers installs it")
    with catalogue.make(name) as server:
        server.start(tmp_path)
        server.prepare(["others-0", "others-1"])
        where = {"path": server.path, "protocol": server.protocol, "room": "others", "rooms": 2}
        result = load(server.address, server.pids(), presence_rate=5, rate=20, late=4, **where)
    assert_exact(result)
    assert result["late_joiners_ok"] == 4
    assert result["presence"]["received_states"] > 0
