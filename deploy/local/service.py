"""What Redis, Kafka, Postgres, nginx, nodes and workers have in common: a few members that make up one service."""

import shutil
import subprocess
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import ClassVar, Self

from deploy.local.errors import Cancelled, LauncherError
from deploy.local.member import Member, ProcessInfo, Program, Role, inherited_environment
from deploy.local.ports import free_ports
from deploy.local.programs import check
from deploy.local.waiting import until

Report = Callable[[str], None]
Ports = Mapping[str, Sequence[int]]
"""The ports of each member by its name, so that it can be found, and started again, where it was."""


def in_parallel(actions: Iterable[Callable[[], object]], cancel: threading.Event | None = None) -> None:
    """Run all, each in a thread, and return when all have ended.

    Args:
        cancel: set when one fails or this thread is interrupted, so that the others need not go on.

    Raises:
        Exception: what the first of them raised that failed by itself.
    """
    listed = list(actions)
    pool = ThreadPoolExecutor(max(1, len(listed)))
    started = [pool.submit(action) for action in listed]
    try:
        finished, _ = wait(started, return_when=FIRST_EXCEPTION)
        if cancel and any(future.exception() for future in finished):
            cancel.set()
    except BaseException:
        if cancel:
            cancel.set()
        raise
    finally:
        pool.shutdown()
    failures = [error for future in started if (error := future.exception()) is not None]
    failures.sort(key=lambda error: isinstance(error, Cancelled))
    if failures:
        raise failures[0]


class Service(ABC):
    """A few processes that belong together.

    Use `start` and `stop`, or it as a context manager (which also removes its data). Nothing here is asynchronous.

    Args:
        folder: where the members' folders go; each is named after its member.
        ports: those of an earlier start, by member, to find the same service again; free ones otherwise.
        changed: called whenever a member's process is another one.
        report: called with a line for people whenever something has got ready.
        cancel: set by whoever gives up the start.
    """

    role: ClassVar[Role]
    programs: ClassVar[tuple[str, ...]] = ()
    ports_per_member: ClassVar[int] = 1
    ready_seconds: ClassVar[float] = 60.0

    def __init__(
        self,
        folder: Path,
        *,
        size: int,
        ports: Ports | None = None,
        changed: Callable[[], None] = lambda: None,
        report: Report = lambda line: None,
        cancel: threading.Event | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.names = tuple(f"{self.role}-{number}" for number in range(1, size + 1))
        known = {name: tuple(ports[name]) for name in self.names if name in ports} if ports else {}
        self.ports = known if len(known) == size else self._new_ports()
        self.members: dict[str, Member] = {}
        self._changed, self._report = changed, report
        self._cancel = cancel or threading.Event()

    def _new_ports(self) -> dict[str, tuple[int, ...]]:
        found = iter(free_ports(len(self.names) * self.ports_per_member))
        return {name: tuple(next(found) for _ in range(self.ports_per_member)) for name in self.names}

    def _create_members(self) -> None:
        """Called by each subclass at the end of its constructor, when `program` knows all it needs."""
        self.members = {
            name: Member(self.program(name), changed=self._changed, cancel=self._cancel) for name in self.names
        }

    def check(self) -> None:
        """Raises `ProgramMissing` if something that it consists of is not installed."""
        check(self.programs)

    @abstractmethod
    def program(self, name: str) -> Program:
        """How this member is started."""

    @abstractmethod
    def prepare(self, name: str) -> None:
        """Write the member's configuration, and its data if it has none yet. Raises `LauncherError`."""

    @abstractmethod
    def missing(self) -> str | None:
        """What the service lacks to be ready, or None."""

    def missing_after_restart(self, name: str) -> str | None:
        """What it lacks once this member was started again; the other members may be dead."""
        return self.missing()

    @property
    def processes(self) -> list[ProcessInfo]:
        """All members, as `syncd cluster status` shows them."""
        return [member.info for member in self.members.values()]

    def start(self) -> None:
        """Start what is not running, and return when all of it works.

        Raises:
            LauncherError: it cannot; what has been started goes on running, for `stop` to end.
        """
        self.check()
        in_parallel([partial(self._launch, name) for name in self.names], self._cancel)
        self.wait_ready()
        self._report(f"{self.title} ready ({len(self.names)})")

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.role.capitalize()

    def wait_ready(self) -> None:
        """Return when the service works, with all of its members. Raises `NotReady`, `Cancelled`."""
        self._wait(self.missing, self.members.values())

    def _wait(self, missing: Callable[[], str | None], needed: Iterable[Member]) -> None:
        members = tuple(needed)

        def probe() -> str | None:
            for member in members:
                member.must_live()
            lacking = missing()
            return f"{self.title}: {lacking}" if lacking else None

        until(probe, self.ready_seconds, self._cancel)

    def _launch(self, name: str) -> None:
        member = self.members[name]
        if member.state == "dead":
            member.program.folder.mkdir(parents=True, exist_ok=True)
            self.prepare(name)
            member.start()
        member.thaw()

    def stop(self, *, clean: bool = False) -> None:
        """End all members in order; with `clean` also remove their folders."""
        in_parallel([member.terminate for member in self.members.values()])
        if clean:
            self.clean()

    def clean(self) -> None:
        """Remove what the members wrote. They must have ended."""
        for member in self.members.values():
            shutil.rmtree(member.program.folder, ignore_errors=True)

    def kill(self, name: str) -> None:
        """End one member as a crash would."""
        self.members[name].kill()

    def terminate(self, name: str) -> None:
        """End one member in order."""
        self.members[name].terminate()

    def freeze(self, name: str) -> None:
        """Stop one member, as a machine that hangs would; `thaw` lets it go on."""
        self.members[name].freeze()

    def thaw(self, name: str) -> None:
        """Let a frozen member go on."""
        self.members[name].thaw()

    def restart(self, name: str, *, empty: bool = False) -> None:
        """Start one member again where it was, after killing it if it lives; return when it has rejoined.

        Args:
            empty: as a new machine, without what it had on disk.

        Raises:
            LauncherError: it does not come back.
        """
        member = self.members[name]
        member.kill()
        if empty:
            self.erase(name)
        self._launch(name)
        self._wait(lambda: self.missing_after_restart(name), [member])

    def erase(self, name: str) -> None:
        """Remove what a dead member had on disk."""
        shutil.rmtree(self.members[name].program.data, ignore_errors=True)

    def run(
        self, command: Sequence[object], *, what: str, user: str | None = None, text: str = "", seconds: float = 60
    ) -> str:
        """Run a program to its end, and return what it printed.

        Raises:
            LauncherError: it failed, or took longer than `seconds`; the message has the end of what it said.
        """
        try:
            done = subprocess.run(
                [str(part) for part in command],
                input=text,
                capture_output=True,
                text=True,
                check=False,
                timeout=seconds,
                cwd=self.folder,
                env=inherited_environment(),
                user=user,
                group=user,
                extra_groups=[] if user else None,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise LauncherError(f"{what}: {error}") from error
        if done.returncode != 0:
            said = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
            raise LauncherError(f"{what} failed:\n{said}")
        return done.stdout

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(clean=True)
