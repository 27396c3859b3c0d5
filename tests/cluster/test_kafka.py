"""Three Kafka brokers: a record is acknowledged once it is on two of them, and never before."""

import asyncio
from collections.abc import Iterator

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from deploy.local.cluster import LocalCluster
from deploy.local.kafka import KafkaCluster

pytestmark = pytest.mark.cluster

TOPIC = "syncd.updates"


@pytest.fixture
def kafka(real_services: LocalCluster) -> Iterator[KafkaCluster]:
    """All three brokers with everything, before and after."""
    yield real_services.kafka
    real_services.kafka.start()


def send(kafka: KafkaCluster, value: bytes, partition: int = 0, *, patience: float | None = None) -> int:
    """Append a record and return its offset once it is acknowledged by all that are in sync.

    Without `patience` as the nodes do, idempotent and until it succeeds. With it, in seconds, a producer that gives up;
    the idempotent one never does, because it could not go on afterwards.

    Raises:
        KafkaError: it was refused, or `patience` is at its end.
    """

    async def work() -> int:
        producer = AIOKafkaProducer(
            bootstrap_servers=kafka.bootstrap,
            acks="all",
            enable_idempotence=patience is None,
            request_timeout_ms=int((patience or 30) * 1000),
            max_request_size=64 * 1024 * 1024,
        )
        await producer.start()
        try:
            return int((await producer.send_and_wait(TOPIC, value, partition=partition)).offset)
        finally:
            await producer.stop()

    return asyncio.run(work())


def read(kafka: KafkaCluster, partition: int = 0) -> list[bytes]:
    """Everything in a partition."""

    async def work() -> list[bytes]:
        consumer = AIOKafkaConsumer(bootstrap_servers=kafka.bootstrap, enable_auto_commit=False, group_id=None)
        await consumer.start()
        try:
            place = TopicPartition(TOPIC, partition)
            consumer.assign([place])
            await consumer.seek_to_beginning(place)
            end = (await consumer.end_offsets([place]))[place]
            found: list[bytes] = []
            while await consumer.position(place) < end:
                found.append((await consumer.getone()).value)
            return found
        finally:
            await consumer.stop()

    return asyncio.run(work())


def topic_settings(kafka: KafkaCluster, topic: str) -> dict[str, str]:
    """What is in force for a topic, wherever it was set."""

    async def work() -> dict[str, str]:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        try:
            (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
            return {entry[0]: entry[1] for entry in answer.resources[0][4]}
        finally:
            await admin.close()

    return asyncio.run(work())


def test_every_partition_is_on_all_three_brokers(kafka: KafkaCluster) -> None:
    found = kafka.partitions()
    assert {topic: len(partitions) for topic, partitions in found.items() if not topic.startswith("__")} == {
        "syncd.updates": 12,
        "syncd.events": 3,
    }
    for partition in found[TOPIC]:
        assert sorted(partition.replicas) == sorted(partition.in_sync) == list(kafka.names)
        assert partition.leader in kafka.names


def test_the_log_of_record_keeps_everything(kafka: KafkaCluster) -> None:
    found = topic_settings(kafka, TOPIC)
    wanted = {
        "cleanup.policy": "delete",
        "retention.ms": "-1",
        "retention.bytes": "-1",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "false",
        "max.message.bytes": "17825792",
    }
    assert {key: found[key] for key in wanted} == wanted


def test_a_record_of_the_largest_size_is_taken_and_a_larger_one_refused(kafka: KafkaCluster) -> None:
    largest = bytes(16 * 1024 * 1024)
    send(kafka, largest, partition=11)
    assert read(kafka, partition=11)[-1] == largest
    with pytest.raises(MessageSizeTooLargeError):
        send(kafka, bytes(18 * 1024 * 1024), partition=11)


def test_with_one_broker_killed_records_are_acknowledged_and_are_on_it_when_it_is_back(kafka: KafkaCluster) -> None:
    (partition,) = [each for each in kafka.partitions()[TOPIC] if each.number == 0]
    assert partition.leader
    send(kafka, b"before")
    kafka.kill(partition.leader)
    send(kafka, b"after")
    (now,) = [each for each in kafka.partitions()[TOPIC] if each.number == 0]
    assert now.leader not in (None, partition.leader)
    kafka.restart(partition.leader, empty=True)
    (now,) = [each for each in kafka.partitions()[TOPIC] if each.number == 0]
    assert partition.leader in now.in_sync
    assert read(kafka)[-2:] == [b"before", b"after"]


def test_with_two_brokers_frozen_nothing_is_acknowledged(kafka: KafkaCluster) -> None:
    (partition,) = [each for each in kafka.partitions()[TOPIC] if each.number == 1]
    assert partition.leader
    others = [name for name in kafka.names if name != partition.leader]
    for name in others:
        kafka.freeze(name)
    with pytest.raises(KafkaError):
        send(kafka, b"refused", partition=1, patience=3)
    for name in others:
        kafka.thaw(name)
    kafka.wait_ready()
    send(kafka, b"taken", partition=1)
    assert read(kafka, partition=1)[-1] == b"taken"


def test_with_two_brokers_killed_nothing_is_acknowledged(kafka: KafkaCluster) -> None:
    (partition,) = [each for each in kafka.partitions()[TOPIC] if each.number == 2]
    assert partition.leader
    others = [name for name in kafka.names if name != partition.leader]
    for name in others:
        kafka.kill(name)
    with pytest.raises(KafkaError):
        send(kafka, b"refused", partition=2, patience=3)
    kafka.start()
    send(kafka, b"taken", partition=2)
    assert read(kafka, partition=2)[-1] == b"taken"
