"""Kafka: three servers, each broker and controller, with the topics of deploy/kafka/topics.toml."""

import asyncio
import base64
import logging
import tomllib
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from deploy.local.member import Program, Role
from deploy.local.ports import LOOPBACK, accepts
from deploy.local.programs import KAFKA_JARS, ROOT, find
from deploy.local.service import Service, in_parallel
from deploy.local.template import render_file

_T = TypeVar("_T")

SIZE = 3
CONFIGURATION = ROOT / "deploy" / "kafka"
# Three of them and everything else share one small machine: little memory, and no second compiler, which would be busy
# for longer than most of these clusters live.
JVM = ("-Xms64m", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError")

_CLUSTER_ID = "kafka-cluster-id"
_TOPIC_EXISTS = 36  # error code of the protocol
logging.getLogger("aiokafka").addHandler(logging.NullHandler())  # a broker that is not there yet is no news here


@dataclass(frozen=True, slots=True)
class Partition:
    """Who has a partition: names of members. `leader` is None while there is none."""

    number: int
    leader: str | None
    replicas: tuple[str, ...]
    in_sync: tuple[str, ...]


class KafkaCluster(Service):
    """Three brokers. A partition's leader changes with every failover: `partitions` tells.

    Args:
        jvm: options of each JVM instead of `JVM`, for instance for measurements.
    """

    role: ClassVar[Role] = "kafka"
    programs: ClassVar[tuple[str, ...]] = ("java",)
    ports_per_member: ClassVar[int] = 2  # one for clients and brokers, one for controllers

    def __init__(self, folder: Path, *, jvm: tuple[str, ...] = JVM, **options: Any) -> None:
        super().__init__(folder, size=SIZE, **options)
        self._jvm = jvm
        self._create_members()

    @property
    def url(self) -> str:
        """All brokers; a client needs to reach any one of them."""
        return "kafka://" + self.bootstrap

    @property
    def bootstrap(self) -> str:
        """The same as Kafka's own clients write it."""
        return ",".join(f"{LOOPBACK}:{self.ports[name][0]}" for name in self.names)

    def program(self, name: str) -> Program:
        """A JVM with Kafka in it."""
        folder = self.folder / name
        return Program(
            name=name,
            role=self.role,
            url=f"kafka://{LOOPBACK}:{self.ports[name][0]}",
            folder=folder,
            command=(*self._java, "kafka.Kafka", str(folder / "server.properties")),
            # A broker hands its partitions over before it ends, which the last two cannot: then there is no controller.
            stop_seconds=6.0,
        )

    @cached_property
    def _java(self) -> tuple[str, ...]:
        logs = f"-Dlog4j2.configurationFile={CONFIGURATION / 'log4j2.properties'}"
        return (str(find("java")), *self._jvm, logs, "-cp", f"{KAFKA_JARS}/*")

    def prepare(self, name: str) -> None:
        """Its configuration, and a formatted folder unless it has one."""
        program = self.members[name].program
        port, controller_port = self.ports[name]
        voters = ",".join(f"{_number(other)}@{LOOPBACK}:{self.ports[other][1]}" for other in self.names)
        values = {
            "KAFKA_NODE_ID": _number(name),
            "KAFKA_VOTERS": voters,
            "KAFKA_BIND": LOOPBACK,
            "KAFKA_HOST": LOOPBACK,
            "KAFKA_PORT": port,
            "KAFKA_CONTROLLER_PORT": controller_port,
            "KAFKA_FOLDER": program.data,
            "KAFKA_OFFSETS_PARTITIONS": 4,
        }
        properties = program.folder / "server.properties"
        render_file(CONFIGURATION / "server.properties", properties, values)
        if not (program.data / "meta.properties").exists():
            tool = [*self._java, "kafka.tools.StorageTool", "format", "--config", properties]
            # With an equals sign, because an id may begin with a hyphen.
            self.run([*tool, f"--cluster-id={self._cluster_id}"], what=f"formatting the disk of {name}")

    @cached_property
    def _cluster_id(self) -> str:
        """The same for all members, also for one that comes back with an empty disk."""
        file = self.folder / _CLUSTER_ID
        if not file.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            file.write_text(base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("="))
        return file.read_text()

    def start(self) -> None:
        """Start the brokers, and create the topics that are not there. Raises `LauncherError`."""
        _ = self._cluster_id  # before the members are prepared side by side
        super().start()

    def stop(self, *, clean: bool = False) -> None:
        """As `Service.stop`; brokers whose disks go, too, have nothing to hand over."""
        if clean:
            in_parallel([member.kill for member in self.members.values()])
        super().stop(clean=clean)
        if clean:
            (self.folder / _CLUSTER_ID).unlink(missing_ok=True)

    def missing(self) -> str | None:
        """The topics exist, and every broker has everything of the partitions that are its own."""
        if closed := [name for name in self.names if not accepts(self.ports[name][0])]:
            return f"{closed[0]} takes no connections yet"
        return self._answer(self._missing_topics) or self._answer(self._behind(self.names))

    def missing_after_restart(self, name: str) -> str | None:
        """It has caught up with everything of the partitions that are its own."""
        if not accepts(self.ports[name][0]):
            return f"{name} takes no connections yet"
        return self._answer(self._behind([name]))

    def partitions(self) -> dict[str, list[Partition]]:
        """All topics with their partitions, in order. Raises `KafkaError`, `OSError`, `TimeoutError`."""
        return asyncio.run(self._with_admin(self._described))

    def _answer(self, question: Callable[[AIOKafkaAdminClient], Awaitable[str | None]]) -> str | None:
        try:
            return asyncio.run(self._with_admin(question))
        except (KafkaError, OSError, TimeoutError) as error:
            return f"no broker answers: {type(error).__name__} {error}"

    async def _with_admin(self, work: Callable[[AIOKafkaAdminClient], Awaitable[_T]]) -> _T:
        admin = AIOKafkaAdminClient(bootstrap_servers=self.bootstrap, request_timeout_ms=5000)
        try:
            async with asyncio.timeout(10):
                await admin.start()
                return await work(admin)
        finally:
            await admin.close()

    async def _missing_topics(self, admin: AIOKafkaAdminClient) -> str | None:
        there = set(await admin.list_topics())
        absent = [_new_topic(name, topic) for name, topic in topics().items() if name not in there]
        if not absent:
            return None
        answer = await admin.create_topics(absent, timeout_ms=5000)
        failed = [f"{error[0]}: {error[2]}" for error in answer.topic_errors if error[1] not in (0, _TOPIC_EXISTS)]
        return "; ".join(failed) or None

    def _behind(self, names: Sequence[str]) -> Callable[[AIOKafkaAdminClient], Awaitable[str | None]]:
        async def question(admin: AIOKafkaAdminClient) -> str | None:
            described = await self._described(admin)
            if absent := topics().keys() - described.keys():
                return f"topics not there yet: {', '.join(absent)}"
            for topic, found in described.items():
                for partition in found:
                    if late := [name for name in names if name in partition.replicas and name not in partition.in_sync]:
                        return f"{late[0]} lacks {topic}/{partition.number}"
            return None

        return question

    async def _described(self, admin: AIOKafkaAdminClient) -> dict[str, list[Partition]]:
        names = {_number(name): name for name in self.names}
        return {
            topic["topic"]: [
                Partition(
                    each["partition"],
                    names.get(each["leader"]),
                    tuple(names[number] for number in each["replicas"]),
                    tuple(names[number] for number in each["isr"]),
                )
                for each in sorted(topic["partitions"], key=lambda each: each["partition"])
            ]
            for topic in await admin.describe_topics()
        }


def topics() -> Mapping[str, Any]:
    """The topics of deploy/kafka/topics.toml."""
    return tomllib.loads((CONFIGURATION / "topics.toml").read_text(encoding="utf-8"))


def _new_topic(name: str, topic: Mapping[str, Any]) -> NewTopic:
    return NewTopic(name, topic["partitions"], topic["replication"], topic_configs=topic["config"])


def _number(name: str) -> int:
    return int(name.rpartition("-")[2])
