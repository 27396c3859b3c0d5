"""What the launcher does to a process it does to that process, to what it started, and to no other."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from deploy.local import process
from deploy.local.errors import Cancelled, LauncherError, NotReady
from deploy.local.member import Member, Program
from deploy.local.ports import free_ports
from deploy.local.process import Identity
from deploy.local.service import in_parallel
from deploy.local.waiting import until

Start = Callable[..., Identity]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts shell scripts, which say `ready` when they are; ends what is left of them."""
    started: list[Identity] = []

    def run(script: str) -> Identity:
        log = tmp_path / f"{len(started)}.log"
        command = ["bash", "-c", script]
        started.append(process.spawn(command, folder=tmp_path, log=log, environment=os.environ))
        until(lambda: None if "ready" in log.read_text() else "not ready", 10, threading.Event())
        return started[-1]

    yield run
    for identity in started:
        process.kill(identity)


def test_a_process_is_in_a_session_of_its_own_and_its_output_is_appended(start: Start, tmp_path: Path) -> None:
    (tmp_path / "0.log").write_text("earlier\n")
    identity = start("echo out; echo err >&2; echo ready; exec sleep 60")
    assert os.getsid(identity.pid) == identity.pid
    assert (tmp_path / "0.log").read_text() == "earlier\nout\nerr\nready\n"
    assert process.state(identity) == "running"


def test_frozen_is_not_running_and_goes_on_later(start: Start) -> None:
    identity = start("sleep 60 & echo ready; wait")
    process.freeze(identity)
    assert {process.state(member) for member in process.family(identity)} == {"frozen"}
    process.thaw(identity)
    until(lambda: None if process.state(identity) == "running" else "frozen", 10, threading.Event())


def test_killing_ends_everything_it_started_even_in_other_sessions(start: Start) -> None:
    identity = start("setsid sleep 61 & sleep 62 & echo ready; wait")
    until(lambda: None if len(process.family(identity)) == 3 else "starting", 10, threading.Event())
    members = process.family(identity)
    process.kill(identity)
    assert [process.state(member) for member in members] == ["dead"] * 3
    assert process.exit_code(identity) == -signal.SIGKILL


def test_what_a_dead_process_left_in_its_session_is_still_its_family(start: Start) -> None:
    identity = start("sleep 60 & echo ready; wait")
    until(lambda: None if len(process.family(identity)) == 2 else "starting", 10, threading.Event())
    os.kill(identity.pid, signal.SIGKILL)
    until(lambda: None if process.state(identity) == "dead" else "lives", 10, threading.Event())
    (orphan,) = [member for member in process.family(identity) if process.state(member) != "dead"]
    process.kill(identity)
    assert process.state(orphan) == "dead"


def test_the_same_pid_with_another_start_is_another_process(start: Start) -> None:
    identity = start("echo ready; exec sleep 60")
    stranger = Identity(identity.pid, identity.started - 1)
    assert process.state(stranger) == "dead"
    assert process.family(stranger) == []
    assert not process.send(stranger, signal.SIGKILL)
    process.kill(stranger)
    assert process.terminate(stranger, signal.SIGTERM, 1)
    assert process.state(identity) == "running"


def test_a_process_is_asked_to_end_and_then_made_to(start: Start) -> None:
    obedient = start("trap 'exit 7' TERM; echo ready; while :; do sleep 0.05; done")
    assert process.terminate(obedient, signal.SIGTERM, 10)
    assert process.exit_code(obedient) == 7
    deaf = start("trap '' TERM; echo ready; while :; do sleep 0.05; done")
    assert not process.terminate(deaf, signal.SIGTERM, 0.2)
    assert process.exit_code(deaf) == -signal.SIGKILL


def test_a_frozen_process_is_asked_to_end_as_well(start: Start) -> None:
    identity = start("trap 'exit 3' TERM; echo ready; while :; do sleep 0.05; done")
    process.freeze(identity)
    assert process.terminate(identity, signal.SIGTERM, 10)
    assert process.exit_code(identity) == 3


def test_a_process_that_another_one_started_is_seen_to_end(tmp_path: Path) -> None:
    script = (
        "import os, pathlib\nfrom deploy.local import process\nhere = pathlib.Path('.')\n"
        "print(process.spawn(['sleep', '60'], folder=here, log=here / 'log', environment=os.environ).pid)"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    pid = int(ran.stdout)
    (identity,) = [member for member in process.family(_identity(pid)) if member.pid == pid]
    assert process.state(identity) == "running"
    assert process.terminate(identity, signal.SIGTERM, 10)
    assert process.state(identity) == "dead"
    assert process.exit_code(identity) is None


def _identity(pid: int) -> Identity:
    return Identity(pid, int(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]))


def _member(folder: Path, *command: str, cancel: threading.Event | None = None) -> Member:
    return Member(Program("redis-9", "redis", "redis://nowhere", folder, command), cancel=cancel)


def test_a_member_that_ended_is_reported_with_the_end_of_its_log(tmp_path: Path) -> None:
    member = _member(tmp_path, "bash", "-c", "echo no such port; exit 3")
    member.start()
    until(lambda: None if member.state == "dead" else "lives", 10, threading.Event())
    with pytest.raises(NotReady, match=r"redis-9 has ended with exit code 3(.|\n)*no such port"):
        member.must_live()
    assert (member.info.state, member.info.pid) == ("dead", None)


def test_a_member_is_started_once_and_not_after_the_end(tmp_path: Path) -> None:
    cancel = threading.Event()
    member = _member(tmp_path, "sleep", "60", cancel=cancel)
    try:
        member.start()
        first = member.identity
        member.start()
        assert member.identity == first
    finally:
        member.kill()
    cancel.set()
    with pytest.raises(Cancelled):
        member.start()
    with pytest.raises(LauncherError, match="cannot be started"):
        _member(tmp_path, "/nonexistent").start()


def test_waiting_says_what_was_missing_and_can_be_given_up() -> None:
    answers = iter(["one", "two", None])
    until(lambda: next(answers), 10, threading.Event())
    with pytest.raises(NotReady, match="the disk, after 0 seconds"):
        until(lambda: "the disk", 0, threading.Event())
    given_up = threading.Event()
    given_up.set()
    with pytest.raises(Cancelled):
        until(lambda: "anything", 3600, given_up)


def test_of_several_failures_the_one_that_caused_the_others_is_raised() -> None:
    cancel = threading.Event()

    def waits() -> None:
        until(lambda: "never", 3600, cancel)

    def fails() -> None:
        raise LauncherError("the cause")

    with pytest.raises(LauncherError, match="the cause"):
        in_parallel([waits, fails, waits], cancel)


def test_free_ports_are_different_and_below_those_of_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    ports = free_ports(40)
    assert len(set(ports)) == 40
    assert all(1024 < port < lowest for port in ports)
