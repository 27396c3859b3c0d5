"""`syncd cluster`: what it says is true, what it started goes on without it, and nothing stays after `down`."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from typer.testing import CliRunner

from deploy.local import process
from deploy.local.cluster import SERVICES_ONLY, LocalCluster, Size
from deploy.local.errors import LauncherError
from deploy.local.process import Identity
from deploy.local.programs import check
from deploy.local.state import StateFile
from deploy.local.waiting import until
from syncd.cluster_cli import app
from tests.cluster.fixtures import cluster_folder, needing_programs

ROOT = Path(__file__).parents[2]
NEVER = threading.Event()
PROGRAMS = ("redis-server", "redis-cli", "java", "postgres", "nginx")


def command(*arguments: object) -> list[str]:
    """A command line."""
    return [sys.executable, "-m", "syncd", "cluster", *map(str, arguments)]


def run(*arguments: object, environment: dict[str, str] | None = None) -> tuple[int, str, str]:
    """Exit code, stdout and stderr of `syncd cluster …`."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, check=False, cwd=ROOT, env=os.environ | (environment or {})
    )
    return done.returncode, done.stdout, done.stderr


def run_json(*arguments: object) -> dict[str, Any]:
    """What it prints with --json; asserts that it succeeds."""
    code, out, err = run(*arguments, "--json")
    assert code == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def identities(folder: Path) -> list[Identity]:
    """All processes that are written down as started."""
    found = StateFile(folder).read()
    rows = found["processes"] if found else []
    return [Identity(row["pid"], row["started"]) for row in rows if row["pid"]]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where a cluster goes; ended if the test did not."""
    with cluster_folder() as parent:
        yield parent / "cluster"
        if LocalCluster.exists(parent / "cluster"):
            LocalCluster.open(parent / "cluster").stop(clean=True)


async def _fetch(url: str, *statements: str) -> Any:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        for statement in statements[:-1]:
            await connection.execute(statement)
        return await connection.fetchval(statements[-1])
    finally:
        await connection.close()


@pytest.mark.cluster
def test_a_cluster_is_started_told_of_repaired_resumed_and_ended(folder: Path) -> None:
    with needing_programs():
        check(PROGRAMS)
    up = run_json("up", "--nodes", 1, "--workers", 0, "--nginx", 1, "--folder", folder)
    assert up["state"] == "up"
    rows = {row["name"]: row for row in up["processes"]}
    roles = [row["role"] for row in rows.values()]
    assert {role: roles.count(role) for role in roles} == {"nginx": 1, "node": 1, "postgres": 3, "kafka": 3, "redis": 6}
    for row in rows.values():
        assert Path(f"/proc/{row['pid']}").exists()
        assert Path(row["log"]).is_file()
        assert Path(row["data"]).is_dir()
    assert (folder / "state.json").stat().st_mode & 0o777 == 0o600

    status = run_json("status", "--check", "--folder", folder)
    assert status.pop("missing") == []
    assert status == up
    text = run("status", "--folder", folder)[1]
    assert all(f"{row['name']} " in text and row["url"] in text for row in rows.values())

    os.kill(rows["redis-6"]["pid"], signal.SIGKILL)
    os.kill(rows["postgres-3"]["pid"], signal.SIGSTOP)
    until(lambda: None if run_json("status", "--folder", folder)["state"] == "degraded" else "no change", 10, NEVER)
    changed = {row["name"]: row for row in run_json("status", "--folder", folder)["processes"]}
    assert {name for name, row in changed.items() if row != rows[name]} == {"redis-6", "postgres-3"}
    assert (changed["redis-6"]["state"], changed["redis-6"]["pid"]) == ("dead", None)
    assert changed["postgres-3"]["state"] == "frozen"

    repaired = {row["name"]: row for row in run_json("up", "--folder", folder)["processes"]}
    assert {row["state"] for row in repaired.values()} == {"running"}
    assert [name for name, row in repaired.items() if row["pid"] != rows[name]["pid"]] == ["redis-6"]

    written = asyncio.run(
        _fetch(up["urls"]["postgres"], "CREATE TABLE kept (x int)", "INSERT INTO kept VALUES (7) RETURNING x")
    )
    before = identities(folder)
    assert run_json("down", "--keep", "--folder", folder)["found"]
    assert [each for each in before if process.state(each) != "dead"] == []
    assert run_json("status", "--folder", folder)["state"] == "down"
    again = run_json("up", "--folder", folder)
    assert again["urls"] == up["urls"]
    assert asyncio.run(_fetch(up["urls"]["postgres"], "SELECT x FROM kept")) == written == 7

    code, _, err = run("up", "--nodes", 2, "--folder", folder)
    assert (code, "has 1 nodes" in err) == (1, True)
    last = identities(folder)
    assert len(last) == len(rows)
    families = [member for each in last for member in process.family(each)]
    run_json("down", "--folder", folder)
    assert [each for each in families if process.state(each) != "dead"] == []
    assert not folder.exists()


@pytest.mark.cluster
def test_an_interrupted_start_leaves_nothing(folder: Path) -> None:
    with needing_programs():
        check(PROGRAMS)
    started = subprocess.Popen(
        command("up", "--services-only", "--folder", folder),
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        # Who runs the tests in the background of a shell has Ctrl+C ignored, and it would be inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    try:
        until(lambda: None if len(identities(folder)) >= 8 else "processes", 30, NEVER)
        found = identities(folder)
        started.send_signal(signal.SIGINT)
        assert started.wait(30) == 130
    finally:
        started.kill()
        started.wait()
    assert [each for each in found if process.state(each) != "dead"] == []
    assert not folder.exists()


def test_what_is_missing_is_named_with_its_package(folder: Path) -> None:
    code, out, err = run("up", "--folder", folder, environment={"PATH": "/nonexistent"})
    assert (code, out) == (1, "")
    assert "redis-server" in err
    assert "apt-get install" in err
    assert "default-jre-headless" in err
    assert not folder.exists()


def test_an_installed_wheel_says_that_it_has_no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "deploy.local", None)
    ran = CliRunner().invoke(app, ["status"])
    assert (ran.exit_code, "in a checkout of the repository only" in ran.stderr) == (1, True)


def test_without_a_cluster_status_fails_and_down_has_nothing_to_do(folder: Path) -> None:
    code, _, err = run("status", "--folder", folder)
    assert (code, "there is no cluster" in err) == (1, True)
    assert run_json("down", "--folder", folder) == {"folder": str(folder), "state": "down", "found": False}


def test_contradicting_options_are_refused(folder: Path) -> None:
    assert run("up", "--services-only", "--nodes", 1, "--folder", folder)[0] == 2
    assert run("up", "--nodes", 0, "--nginx", 1, "--folder", folder)[0] == 1
    assert not folder.exists()


def test_down_ends_nobody_who_got_the_pid_of_a_member(folder: Path) -> None:
    bystander = subprocess.Popen(["sleep", "60"])
    try:
        cluster = LocalCluster(folder, SERVICES_ONLY)
        cluster.member("redis-1").identity = Identity(bystander.pid, 1)
        folder.mkdir()
        cluster.member("redis-1")._changed()
        assert LocalCluster.open(folder).state == "down"
        run_json("down", "--folder", folder)
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_only_one_command_works_on_a_cluster_at_a_time(folder: Path) -> None:
    folder.mkdir()
    with (
        StateFile(folder).locked(),
        pytest.raises(LauncherError, match="another command"),
        StateFile(folder).locked(),
    ):
        pass


def test_a_damaged_or_foreign_state_is_not_guessed_at(folder: Path) -> None:
    folder.mkdir()
    for content in ("{", "[]", '{"version": 0}'):
        (folder / "state.json").write_text(content)
        with pytest.raises(LauncherError, match=r"state\.json"):
            LocalCluster.open(folder)
    (folder / "state.json").unlink()


def test_a_size_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(LauncherError, match="negative"):
        Size(nodes=-1)
    with pytest.raises(LauncherError, match="nginx"):
        Size(nodes=0, workers=0, nginx=1)
