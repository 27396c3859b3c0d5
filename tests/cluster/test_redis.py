"""A Redis Cluster that replicates, fails over, and takes a member back."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
import redis.cluster

from deploy.local.cluster import LocalCluster
from deploy.local.errors import LauncherError
from deploy.local.ports import LOOPBACK
from deploy.local.redis import RedisCluster
from deploy.local.waiting import until

pytestmark = pytest.mark.cluster

driver: Any = redis.cluster  # half of it has no types


@pytest.fixture(name="redis")
def redis_cluster(real_services: LocalCluster) -> Iterator[RedisCluster]:
    """All six members in their places, before and after."""
    yield real_services.redis
    real_services.redis.start()


@pytest.fixture
def client(redis: RedisCluster) -> Iterator[Any]:
    """A client as the nodes have one, which asks the members who has what."""
    nodes = [driver.ClusterNode(LOOPBACK, redis.ports[name][0]) for name in redis.names]
    with driver.RedisCluster(startup_nodes=nodes, decode_responses=True) as connected:
        yield connected


def _role(redis: RedisCluster, name: str) -> str | None:
    return redis.roles().get(name)


def test_three_primaries_have_a_replica_each(redis: RedisCluster) -> None:
    roles = list(redis.roles().values())
    assert (roles.count("primary"), roles.count("replica")) == (3, 3)
    assert redis.missing() is None
    for key in ("a", "b", "c", "d"):
        primary, replicas = redis.holders(key)
        assert redis.roles()[primary] == "primary"
        assert [redis.roles()[name] for name in replicas] == ["replica"]


def test_what_is_written_is_on_the_replica(redis: RedisCluster, client: Any) -> None:
    client.set("replicated", "yes")
    _, (replica,) = redis.holders("replicated")
    with redis.client(replica) as direct:
        direct.execute_command("READONLY")
        until(lambda: None if direct.get("replicated") == "yes" else "the key", 10, threading.Event())


def test_the_configuration_is_ours(redis: RedisCluster) -> None:
    with redis.client("redis-1") as direct:
        found = direct.config_get("*")
    wanted = {
        "maxmemory-policy": "noeviction",
        "appendonly": "yes",
        "appendfsync": "everysec",
        "cluster-require-full-coverage": "no",
        "bind": LOOPBACK,
    }
    assert {key: found[key] for key in wanted} == wanted


def test_a_replica_takes_over_and_the_old_primary_comes_back_as_a_replica(redis: RedisCluster, client: Any) -> None:
    client.set("survivor", "1")
    assert client.execute_command("WAIT", 1, 5000, target_nodes=client.get_node_from_key("survivor")) == 1
    primary, (replica,) = redis.holders("survivor")
    redis.kill(primary)
    assert redis.members[primary].info.state == "dead"
    assert redis.missing() is not None
    until(lambda: None if _role(redis, replica) == "primary" else "a new primary", 20, threading.Event())
    redis.restart(primary)
    assert _role(redis, primary) == "replica"
    # The other members hear of it by gossip, a little later.
    as_it_was = (replica, [primary])
    until(lambda: None if redis.holders("survivor") == as_it_was else "the old primary", 20, threading.Event())
    client.nodes_manager.initialize()
    assert client.get("survivor") == "1"


def test_a_frozen_member_answers_again_later(redis: RedisCluster) -> None:
    _, (replica,) = redis.holders("frozen")
    redis.freeze(replica)
    assert redis.members[replica].info.state == "frozen"
    redis.thaw(replica)
    redis.wait_ready()
    assert redis.members[replica].info.state == "running"


def test_a_cluster_that_lost_all_its_keys_is_a_cluster(redis: RedisCluster, client: Any) -> None:
    client.set("forgotten", "1")
    for name in redis.names:
        redis.kill(name)
    with pytest.raises(LauncherError, match="no member"):
        redis.holders("forgotten")
    for name in redis.names:
        redis.erase(name)
    redis.start()
    client.nodes_manager.initialize()
    assert client.get("forgotten") is None
    client.set("remembered", "1")
    assert client.get("remembered") == "1"
