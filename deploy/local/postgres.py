"""Postgres: a primary and two replicas that stream from it."""

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any, ClassVar

import asyncpg

from deploy.local.errors import LauncherError
from deploy.local.member import Program, Role
from deploy.local.ports import LOOPBACK
from deploy.local.programs import ROOT, postgres_program
from deploy.local.service import Service
from deploy.local.template import render_file

SIZE = 3
DATABASE = "syncd"
OWNER = "syncd"
REPLICATOR = "replicator"

_CONFIGURATION = ROOT / "deploy" / "postgres"
_STOPPED_FAST = signal.SIGINT  # SIGTERM would wait until every client has gone

# Done before the server takes its first connection, because nobody may connect as the superuser later. That the owner
# may pause replay is for tests, which hold back a replica; an image does not grant it.
_SETUP = {
    "postgres": (
        f"CREATE ROLE {OWNER} LOGIN",
        f"CREATE ROLE {REPLICATOR} LOGIN REPLICATION",
        f"GRANT pg_monitor TO {OWNER}",
        f"CREATE DATABASE {DATABASE} OWNER {OWNER}",
    ),
    DATABASE: (
        f"GRANT EXECUTE ON FUNCTION pg_wal_replay_pause() TO {OWNER}",
        f"GRANT EXECUTE ON FUNCTION pg_wal_replay_resume() TO {OWNER}",
    ),
}


class PostgresCluster(Service):
    """Three servers, the first of which starts as the primary. `promote` makes another one the primary."""

    role: ClassVar[Role] = "postgres"
    programs: ClassVar[tuple[str, ...]] = ("postgres",)

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, size=SIZE, **options)
        self._user = "postgres" if os.geteuid() == 0 else None  # Postgres refuses to run as root
        self._create_members()

    @property
    def url(self) -> str:
        """All members; a client takes the one that can be written to, and finds a new primary by connecting again."""
        return self._url(*self.names) + "?target_session_attrs=read-write"

    @property
    def replica_urls(self) -> tuple[str, ...]:
        """The members that are not the primary, each alone."""
        return tuple(self._url(name) for name in self.names if name != self.primary)

    def _url(self, *names: str) -> str:
        return f"postgres://{OWNER}@{','.join(f'{LOOPBACK}:{self.ports[name][0]}' for name in names)}/{DATABASE}"

    @property
    def primary(self) -> str:
        """The member that was made the primary last, living or dead."""
        try:
            return self._primary_file.read_text().strip()
        except FileNotFoundError:
            return self.names[0]

    @property
    def _primary_file(self) -> Path:
        return self.folder / "postgres-primary"

    def program(self, name: str) -> Program:
        """Postgres with its configuration, which lies beside the data: a copy of the data must not bring its own."""
        folder = self.folder / name
        configuration = f"config_file={folder / 'postgresql.conf'}"
        return Program(
            name=name,
            role=self.role,
            url=self._url(name),
            folder=folder,
            command=(
                *(str(postgres_program("postgres")), "-D", str(folder / "data"), "-c", configuration),
                # In its folder, so that what a killed server leaves behind goes when its data goes.
                *("-c", "dynamic_shared_memory_type=mmap"),
            ),
            user=self._user,
            stop_signal=_STOPPED_FAST,
        )

    def prepare(self, name: str) -> None:
        """Its configuration; and unless it has data, a new database for the first, a copy for the others."""
        program = self.members[name].program
        if self._user:
            _must_be_reachable(program.folder)
            shutil.chown(program.folder, self._user, self._user)
        self._configure(program)
        if program.data.exists():
            return
        if name != self.primary:
            self._copy(program)
        elif any(self.members[other].program.data.exists() for other in self.names):
            raise LauncherError(f"{name} is the primary and has lost its data: promote a replica first")
        else:
            self._create(program)

    def _configure(self, program: Program) -> None:
        ports = ",".join(str(self.ports[name][0]) for name in self.names)
        hosts = ",".join(LOOPBACK for _ in self.names)
        values = {
            "POSTGRES_NAME": program.name,
            "POSTGRES_BIND": LOOPBACK,
            "POSTGRES_PORT": self.ports[program.name][0],
            "POSTGRES_HBA_FILE": program.folder / "pg_hba.conf",
            "POSTGRES_CONNECTIONS": 100,
            "POSTGRES_SHARED_BUFFERS": "32MB",
            "POSTGRES_PRIMARY": f"host={hosts} port={ports} user={REPLICATOR} application_name={program.name} "
            "connect_timeout=3 target_session_attrs=read-write",
        }
        access = {"POSTGRES_NETWORK": f"{LOOPBACK}/32", "POSTGRES_METHOD": "trust"}
        render_file(_CONFIGURATION / "postgresql.conf", program.folder / "postgresql.conf", values)
        render_file(_CONFIGURATION / "pg_hba.conf", program.folder / "pg_hba.conf", access)

    def _create(self, program: Program) -> None:
        # --no-sync: it protects from a loss of power during these two seconds. The server itself does sync.
        options = ["--no-sync", "--data-checksums", "--encoding=UTF8", "--locale=C", "--username=postgres"]
        command = [postgres_program("initdb"), "-D", program.data, *options]
        self.run(command, what=f"creating the database of {program.name}", user=self._user)
        for database, statements in _SETUP.items():
            alone = [postgres_program("postgres"), "--single", "-D", program.data, database]
            said = self.run(alone, what="creating the roles", user=self._user, text="\n".join(statements) + "\n")
            if "ERROR" in said:  # a server in this mode ends with 0 whatever happened
                raise LauncherError(f"creating the roles of {program.name} failed:\n{said}")

    def _copy(self, program: Program) -> None:
        source = f"host={LOOPBACK} port={self.ports[self.primary][0]} user={REPLICATOR}"
        options = ["--checkpoint=fast", "--wal-method=stream", "--no-sync"]
        command = [postgres_program("pg_basebackup"), "-d", source, "-D", program.data, *options]
        self.run(command, what=f"copying the primary to {program.name}", user=self._user)
        (program.data / "standby.signal").touch()

    def start(self) -> None:
        """Start the primary, and the replicas once they can copy it. Raises `LauncherError`."""
        primary = self.primary
        self._launch(primary)
        self._wait(lambda: self._refuses(primary), [self.members[primary]])
        super().start()

    def clean(self) -> None:
        """Remove what the members wrote, and the piece of shared memory that a killed one leaves behind."""
        for member in self.members.values():
            with contextlib.suppress(OSError, IndexError):
                key_and_id = (member.program.data / "postmaster.pid").read_text().splitlines()[6].split()
                subprocess.run(["ipcrm", "-m", key_and_id[1]], check=False, capture_output=True)
        super().clean()
        self._primary_file.unlink(missing_ok=True)

    def promote(self, name: str) -> None:
        """Make a replica the primary. The old one should be dead; started again as it is, it would be a second primary.

        `restart(old, empty=True)` makes it a replica of the new one. So it must be done with the third member if that
        had received more than the one that is promoted: its log then says so, and it does not stream.

        Raises:
            LauncherError: it does not become the primary.
        """
        data = self.members[name].program.data
        command = [postgres_program("pg_ctl"), "promote", "-D", data, "-w", "-t", "30"]
        self.run(command, what=f"promoting {name}", user=self._user)
        self._primary_file.write_text(f"{name}\n")

    def missing(self) -> str | None:
        """The primary can be written to, and all others stream from it."""
        if refused := self._refuses(self.primary):
            return refused
        streaming = self.ask(
            self.primary, "SELECT count(DISTINCT application_name) FROM pg_stat_replication WHERE state = 'streaming'"
        )
        return None if streaming == SIZE - 1 else f"{streaming} of {SIZE - 1} replicas stream"

    def missing_after_restart(self, name: str) -> str | None:
        """It answers, and streams if it is a replica of a primary that lives."""
        if refused := self._refuses(name):
            return refused
        if name == self.primary or self.members[self.primary].state != "running":
            return None
        replica = self.ask(name, "SELECT pg_is_in_recovery()")
        status = self.ask(name, "SELECT status FROM pg_stat_wal_receiver")
        return None if status == "streaming" or not replica else f"{name} does not stream yet ({status})"

    def ask(self, name: str, query: str) -> Any:
        """The first value that a query on one member returns, None if there is no row. Raises as asyncpg does."""

        async def work() -> Any:
            connection = await asyncpg.connect(self._url(name), timeout=5)
            try:
                return await connection.fetchval(query, timeout=5)
            finally:
                await connection.close(timeout=5)

        return asyncio.run(work())

    def _refuses(self, name: str) -> str | None:
        try:
            self.ask(name, "SELECT 1")
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            return f"{name} does not answer: {error}"
        return None


def _must_be_reachable(folder: Path) -> None:
    """Raises `LauncherError` if another account cannot get to this folder, as Postgres has to."""
    for parent in folder.parents:
        if not parent.stat().st_mode & 0o001:
            raise LauncherError(
                f"Postgres runs as the user postgres, which may not enter {parent}; choose another place with --folder"
            )
