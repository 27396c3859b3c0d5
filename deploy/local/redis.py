"""A Redis Cluster: three primaries with a replica each."""

import contextlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from deploy.local.errors import LauncherError
from deploy.local.member import Program, Role
from deploy.local.ports import LOOPBACK
from deploy.local.programs import ROOT, find
from deploy.local.service import Service
from deploy.local.template import render_file

PRIMARIES = 3
SIZE = 2 * PRIMARIES
SLOTS = 16384


class RedisCluster(Service):
    """Six servers. Which of them are primaries changes with every failover: `roles` and `holders` tell."""

    role: ClassVar[Role] = "redis"
    programs: ClassVar[tuple[str, ...]] = ("redis-server", "redis-cli")
    ports_per_member: ClassVar[int] = 2  # one for clients, one for the other members

    def __init__(self, folder: Path, **options: Any) -> None:
        super().__init__(folder, size=SIZE, **options)
        self._create_members()

    @property
    def url(self) -> str:
        """All members; a client needs to reach any one of them."""
        return "redis://" + ",".join(f"{LOOPBACK}:{self.ports[name][0]}" for name in self.names)

    def program(self, name: str) -> Program:
        """Redis with its configuration file."""
        folder = self.folder / name
        return Program(
            name=name,
            role=self.role,
            url=f"redis://{LOOPBACK}:{self.ports[name][0]}",
            folder=folder,
            command=(str(find("redis-server")), str(folder / "redis.conf")),
        )

    def prepare(self, name: str) -> None:
        """Its configuration and an empty folder."""
        program = self.members[name].program
        program.data.mkdir(exist_ok=True)
        port, bus = self.ports[name]
        values = {
            "REDIS_BIND": LOOPBACK,
            "REDIS_PORT": port,
            "REDIS_BUS_PORT": bus,
            "REDIS_PASSWORD": "",
            "REDIS_FOLDER": program.data,
            "REDIS_MAXMEMORY": "256mb",
        }
        render_file(ROOT / "deploy" / "redis" / "redis.conf", program.folder / "redis.conf", values)

    def start(self) -> None:
        """Start the members, and make a cluster of them if they are none yet. Raises `LauncherError`."""
        for name in self.names:
            self._launch(name)
        self._wait(self._silent, self.members.values())
        if not self._formed():
            addresses = [f"{LOOPBACK}:{self.ports[name][0]}" for name in self.names]
            create = [find("redis-cli"), "--cluster", "create", *addresses, "--cluster-replicas", "1", "--cluster-yes"]
            self.run(create, what="creating the Redis Cluster")
        super().start()

    def erase(self, name: str) -> None:
        """Remove a dead member's keys. It stays a member, as one does whose disk came back empty under its name."""
        shutil.rmtree(self.members[name].program.data / "appendonlydir", ignore_errors=True)

    def missing(self) -> str | None:
        """Every member sees the whole cluster, and every replica follows its primary."""
        for name in self.names:
            if lacking := self.missing_after_restart(name):
                return lacking
        replicas = sum(role == "replica" for role in self.roles().values())
        return None if replicas == SIZE - PRIMARIES else f"{replicas} replicas"

    def missing_after_restart(self, name: str) -> str | None:
        """The member sees a cluster that works, and follows its primary if it has one."""
        try:
            with self.client(name) as client:
                facts = dict(line.split(":", 1) for line in _lines(client, "CLUSTER", "INFO"))
                replication = client.info("replication")
        except RedisError as error:
            return f"{name} does not answer: {error}"
        wanted = {"cluster_state": "ok", "cluster_slots_ok": str(SLOTS), "cluster_known_nodes": str(SIZE)}
        if wrong := [f"{key} is {facts.get(key)}" for key, value in wanted.items() if facts.get(key) != value]:
            return f"{name}: {', '.join(wrong)}"
        if replication["role"] == "slave" and replication["master_link_status"] != "up":
            return f"{name} does not follow its primary yet"
        return None

    def roles(self) -> dict[str, str]:
        """`primary` or `replica` for each member that lives, as the members themselves see it."""
        found = {}
        for name in self.names:
            with contextlib.suppress(RedisError), self.client(name) as client:
                found[name] = "primary" if client.info("replication")["role"] == "master" else "replica"
        return found

    def holders(self, key: str) -> tuple[str, Sequence[str]]:
        """The member that is the primary of this key, and its replicas. Raises `LauncherError` if there is none."""
        for name in self.names:
            with contextlib.suppress(RedisError), self.client(name) as client:
                slot = int(client.execute_command("CLUSTER", "KEYSLOT", key))
                nodes = [line.split() for line in _lines(client, "CLUSTER", "NODES")]
                primary = next((node for node in nodes if _serves(node, slot)), None)
                if primary is not None:
                    return self._named(primary), [self._named(node) for node in nodes if node[3] == primary[0]]
        raise LauncherError(f"no member of the Redis Cluster knows who holds {key}")

    def _named(self, node: Sequence[str]) -> str:
        port = int(node[1].partition("@")[0].rpartition(":")[2])
        return next(name for name in self.names if self.ports[name][0] == port)

    @contextlib.contextmanager
    def client(self, name: str) -> Iterator[Any]:
        """A `redis.Redis` of this one member, for a moment; what its commands return has no useful type."""
        # It would try again for seconds by itself; whether a member answers now is what is asked here.
        once = Retry(NoBackoff(), 0)
        port = self.ports[name][0]
        connection = redis.Redis(host=LOOPBACK, port=port, socket_timeout=2, decode_responses=True, retry=once)
        try:
            yield connection
        finally:
            connection.close()

    def _silent(self) -> str | None:
        for name in self.names:
            try:
                with self.client(name) as client:
                    client.ping()
            except RedisError as error:
                return f"{name} does not answer: {error}"
        return None

    def _formed(self) -> bool:
        with self.client(self.names[0]) as client:
            return "cluster_known_nodes:1" not in _lines(client, "CLUSTER", "INFO")


def _lines(client: Any, *command: str) -> list[str]:
    return [line for line in str(client.execute_command(*command)).splitlines() if ":" in line]


def _serves(node: Sequence[str], slot: int) -> bool:
    """True if a row of CLUSTER NODES (id, address, flags, primary, …, slots from the ninth column on) has this slot.

    CLUSTER SLOTS would be shorter, but leaves out a replica to which nothing has been written yet.
    """
    if "fail" in node[2].split(","):
        return False
    ranges = [part.partition("-") for part in node[8:] if not part.startswith("[")]
    return any(int(first) <= slot <= int(last or first) for first, _, last in ranges)
