"""The whole cluster: Redis, Kafka and Postgres, the processes of syncd, and nginx in front of them."""

import contextlib
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, Self

from deploy.local.errors import LauncherError
from deploy.local.kafka import KafkaCluster
from deploy.local.member import Member, ProcessInfo
from deploy.local.nginx import Nginx
from deploy.local.nodes import Nodes, Workers
from deploy.local.postgres import PostgresCluster
from deploy.local.process import Identity
from deploy.local.programs import ROOT, check
from deploy.local.redis import RedisCluster
from deploy.local.service import Ports, Report, Service, in_parallel
from deploy.local.state import StateFile

DEFAULT_FOLDER = ROOT / "build" / "cluster"

ClusterState = Literal["up", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class Size:
    """How many processes of syncd there are, and of nginx in front of the nodes. The services have a fixed size."""

    nodes: int = 3
    workers: int = 2
    nginx: int = 2

    def __post_init__(self) -> None:
        if min(self.nodes, self.workers, self.nginx) < 0:
            raise LauncherError("a number of processes cannot be negative")
        if self.nginx and not self.nodes:
            raise LauncherError("nginx has nothing to do without nodes")


SERVICES_ONLY = Size(0, 0, 0)


class LocalCluster:
    """A cluster on this machine.

    `start` and `stop`, or as a context manager (which also removes all data). `redis`, `kafka`, `postgres`, `nodes`,
    `workers` and `nginx` are its services, with what can be done to their members. What runs goes on running when this
    object, or the process it is in, is gone: `open` finds it again.

    Args:
        folder: everything it writes; created if it is not there.
        settings: more SYNCD_* variables for nodes and workers.
        report: called with a line for people whenever something has got ready.
        ports: those of an earlier start, by member.
    """

    def __init__(
        self,
        folder: Path,
        size: Size | None = None,
        *,
        settings: Mapping[str, str] | None = None,
        report: Report = lambda line: None,
        ports: Ports | None = None,
    ) -> None:
        self.folder = folder.resolve()
        self.size = size or Size()
        self.settings = dict(settings or {})
        self._file = StateFile(self.folder)
        self._saving = threading.Lock()
        self._cancel = threading.Event()
        shared: dict[str, Any] = {
            "ports": ports,
            "report": report,
            "changed": self._save,
            "cancel": self._cancel,
        }
        self.redis = RedisCluster(self.folder, **shared)
        self.kafka = KafkaCluster(self.folder, **shared)
        self.postgres = PostgresCluster(self.folder, **shared)
        self.nodes = Nodes(self.folder, size=self.size.nodes, settings=self.environment, **shared)
        self.workers = Workers(self.folder, size=self.size.workers, settings=self.environment, **shared)
        self.nginx = Nginx(self.folder, self.nodes.addresses, size=self.size.nginx, **shared)

    @classmethod
    def open(cls, folder: Path, *, report: Report = lambda line: None) -> Self:
        """The cluster that was started in this folder, whatever has become of it.

        Raises:
            LauncherError: there is none.
        """
        found = StateFile(folder.resolve()).read()
        if found is None:
            raise LauncherError(f"there is no cluster in {folder}; `syncd cluster up` starts one")
        cluster = cls(folder, Size(**found["size"]), settings=found["settings"], report=report, ports=found["ports"])
        for row in found["processes"]:
            if row["pid"] is not None:
                cluster.member(row["name"]).identity = Identity(row["pid"], row["started"])
        return cluster

    @staticmethod
    def exists(folder: Path) -> bool:
        """True if a cluster is written down in this folder, running or not."""
        return StateFile(folder.resolve()).path.exists()

    @property
    def environment(self) -> dict[str, str]:
        """The variables that nodes and workers get."""
        return {
            **self.settings,
            "SYNCD_REDIS_URL": self.redis.url,
            "SYNCD_KAFKA_URL": self.kafka.url,
            "SYNCD_POSTGRES_URL": self.postgres.url,
            "SYNCD_POSTGRES_REPLICA_URLS": ",".join(self.postgres.replica_urls),
        }

    @property
    def _stages(self) -> tuple[tuple[Service, ...], ...]:
        """In the order in which they start; they stop in the opposite one."""
        return (self.redis, self.kafka, self.postgres), (self.nodes, self.workers), (self.nginx,)

    @property
    def services(self) -> tuple[Service, ...]:
        """All parts that have at least one member."""
        return tuple(service for stage in self._stages for service in stage if service.names)

    @property
    def members(self) -> dict[str, Member]:
        """All members of all services by name."""
        return {name: member for service in self.services for name, member in service.members.items()}

    def member(self, name: str) -> Member:
        """One member. Raises `LauncherError` if there is none of this name."""
        try:
            return self.members[name]
        except KeyError:
            raise LauncherError(f"there is no {name} in this cluster") from None

    @property
    def processes(self) -> list[ProcessInfo]:
        """All members with their pids and what has become of them: nodes first, as people look for them first."""
        return [info for service in reversed(self.services) for info in service.processes]

    @property
    def state(self) -> ClusterState:
        """Whether everything, something or nothing runs. A frozen member does not."""
        states = {info.state for info in self.processes}
        if states == {"running"}:
            return "up"
        return "down" if states == {"dead"} else "degraded"

    @property
    def urls(self) -> dict[str, Any]:
        """Where what is: for people, and for clients of the services."""
        return {
            "http": list(self.nginx.urls or self.nodes.urls),
            "nodes": list(self.nodes.urls),
            "redis": self.redis.url,
            "kafka": self.kafka.url,
            "postgres": self.postgres.url,
            "postgres_replicas": list(self.postgres.replica_urls),
        }

    def start(self) -> None:
        """Start everything that does not run, stage by stage, and return when all of it works.

        If that fails, or somebody presses Ctrl+C, what this call has started is ended again; and if nothing had been
        there before, nothing stays.

        Raises:
            LauncherError: something is not installed, or does not work.
        """
        check(program for service in self.services for program in service.programs)
        new = not self.exists(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self._file.locked():
            before = {info.name for info in self.processes if info.state != "dead"}
            self._cancel.clear()
            self._save()
            try:
                for stage in self._stages:
                    in_parallel([service.start for service in stage if service.names], self._cancel)
            except BaseException:
                if new:
                    self._stop(clean=True)
                else:
                    in_parallel(member.terminate for name, member in self.members.items() if name not in before)
                raise

    def stop(self, *, clean: bool = False) -> None:
        """End everything in order, frozen or not; with `clean` also remove all data.

        Raises:
            LauncherError: another command is starting or stopping it just now.
        """
        if not self.folder.is_dir():
            return
        with self._file.locked():
            self._stop(clean=clean)

    def _stop(self, *, clean: bool) -> None:
        for stage in reversed(self._stages):
            in_parallel(partial(service.stop, clean=clean) for service in stage)
        if clean:
            self._file.remove()
            (self.folder / "lock").unlink(missing_ok=True)
            with contextlib.suppress(OSError):  # something else is in it
                self.folder.rmdir()

    def missing(self) -> list[str]:
        """What the services lack to be ready, asked for now; empty if all is well."""
        found: list[str] = []

        def ask(service: Service) -> None:
            if lacking := service.missing():
                found.append(lacking)

        in_parallel(partial(ask, service) for service in self.services)
        return sorted(found)

    def _save(self) -> None:
        with self._saving:
            self._file.write(
                {
                    "folder": str(self.folder),
                    "size": asdict(self.size),
                    "settings": self.settings,
                    "urls": self.urls,
                    "ports": {name: list(ports) for service in self.services for name, ports in service.ports.items()},
                    "processes": [self._row(member) for member in self.members.values()],
                }
            )

    def _row(self, member: Member) -> dict[str, Any]:
        identity = member.identity
        pid, started = (identity.pid, identity.started) if identity else (None, None)
        return {**asdict(member.info), "pid": pid, "started": started}

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(clean=True)
