"""A Postgres primary with two replicas: what is committed is on another machine, and a replica can take over."""

import asyncio
import threading
from collections.abc import Iterator

import asyncpg
import pytest

from deploy.local.cluster import LocalCluster
from deploy.local.errors import LauncherError
from deploy.local.postgres import PostgresCluster
from deploy.local.waiting import until

pytestmark = pytest.mark.cluster


@pytest.fixture
def postgres(real_services: LocalCluster) -> Iterator[PostgresCluster]:
    """All three members, before and after, with an empty table `marks`."""
    service = real_services.postgres
    execute(service.url, "DROP TABLE IF EXISTS marks; CREATE TABLE marks (id int PRIMARY KEY)")
    yield service
    service.start()


def execute(url: str, statements: str, seconds: float = 10) -> None:
    """Run statements as the application does, each committed when this returns."""

    async def work() -> None:
        connection = await asyncpg.connect(url, timeout=seconds)
        try:
            await connection.execute(statements, timeout=seconds)
        finally:
            connection.terminate()

    asyncio.run(work())


def _count(postgres: PostgresCluster, name: str) -> int:
    found: int = postgres.ask(name, "SELECT count(*) FROM marks")
    return found


def _arrives(postgres: PostgresCluster, name: str, count: int) -> None:
    until(lambda: None if _count(postgres, name) == count else f"{count} rows on {name}", 10, threading.Event())


def _hand_over(postgres: PostgresCluster, old: str, new: str) -> None:
    """Change the primary without losing anything: one that ends in order first sends all it has to its replicas."""
    postgres.wait_ready()
    postgres.terminate(old)
    postgres.promote(new)
    postgres.restart(old, empty=True)
    postgres.wait_ready()


def test_a_row_is_on_both_replicas(postgres: PostgresCluster) -> None:
    execute(postgres.url, "INSERT INTO marks VALUES (1), (2)")
    assert postgres.primary == "postgres-1"
    for name in ("postgres-2", "postgres-3"):
        _arrives(postgres, name, 2)
        assert postgres.ask(name, "SELECT pg_is_in_recovery()") is True
    with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
        execute(postgres.replica_urls[0], "INSERT INTO marks VALUES (3)")


def test_nobody_connects_as_the_superuser(postgres: PostgresCluster) -> None:
    superuser = postgres.url.replace("postgres://syncd@", "postgres://postgres@")
    with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
        execute(superuser, "SELECT 1")
    assert postgres.ask(postgres.primary, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") is False


def test_pages_have_checksums_and_commits_reach_the_disk(postgres: PostgresCluster) -> None:
    for name in postgres.names:
        shown = [postgres.ask(name, f"SHOW {setting}") for setting in ("data_checksums", "fsync", "full_page_writes")]
        assert shown == ["on"] * 3


def test_one_replica_is_enough_for_a_commit_and_the_other_catches_up(postgres: PostgresCluster) -> None:
    postgres.kill("postgres-2")
    execute(postgres.url, "INSERT INTO marks VALUES (1)")
    postgres.restart("postgres-2")
    _arrives(postgres, "postgres-2", 1)


def test_without_replicas_only_what_asks_for_less_is_committed(postgres: PostgresCluster) -> None:
    for name in ("postgres-2", "postgres-3"):
        postgres.freeze(name)
    with pytest.raises(TimeoutError):
        execute(postgres.url, "INSERT INTO marks VALUES (1)", seconds=1)
    execute(postgres.url, "BEGIN; SET LOCAL synchronous_commit = local; INSERT INTO marks VALUES (2); COMMIT")
    for name in ("postgres-2", "postgres-3"):
        postgres.thaw(name)
    postgres.wait_ready()
    for name in postgres.names:
        assert postgres.ask(name, "SELECT 2 IN (SELECT id FROM marks)") is True


def test_a_held_back_replica_is_stale_until_it_goes_on(postgres: PostgresCluster) -> None:
    _arrives(postgres, "postgres-3", 0)
    postgres.ask("postgres-3", "SELECT pg_wal_replay_pause()")
    paused = "SELECT pg_get_wal_replay_pause_state()"
    until(lambda: None if postgres.ask("postgres-3", paused) == "paused" else "a pause", 10, threading.Event())
    execute(postgres.url, "INSERT INTO marks VALUES (1)")
    _arrives(postgres, "postgres-2", 1)
    assert _count(postgres, "postgres-3") == 0
    postgres.ask("postgres-3", "SELECT pg_wal_replay_resume()")
    _arrives(postgres, "postgres-3", 1)


def test_a_replica_is_promoted_and_everything_follows_it(postgres: PostgresCluster) -> None:
    execute(postgres.url, "INSERT INTO marks VALUES (1)")
    postgres.kill("postgres-1")
    postgres.promote("postgres-2")
    assert postgres.primary == "postgres-2"
    assert "postgres-2" not in postgres.replica_urls
    execute(postgres.url, "INSERT INTO marks VALUES (2)")  # the same address, and acknowledged by the other replica
    _arrives(postgres, "postgres-3", 2)
    postgres.restart("postgres-1", empty=True)
    assert postgres.missing() is None
    _arrives(postgres, "postgres-1", 2)
    _hand_over(postgres, "postgres-2", "postgres-1")  # the other tests know the first one as the primary
    _arrives(postgres, "postgres-2", 2)


def test_a_primary_without_its_disk_is_not_replaced_by_an_empty_one(postgres: PostgresCluster) -> None:
    execute(postgres.url, "INSERT INTO marks VALUES (1)")
    with pytest.raises(LauncherError, match="promote a replica first"):
        postgres.restart("postgres-1", empty=True)
    postgres.promote("postgres-3")
    postgres.restart("postgres-1", empty=True)
    _arrives(postgres, "postgres-1", 1)
    _hand_over(postgres, "postgres-3", "postgres-1")
