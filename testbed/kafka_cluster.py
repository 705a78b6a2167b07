"""
A cluster of three brokers. One broker alone cannot show that acknowledged records survive the death of brokers.

The brokers are processes of this machine, also where other servers are containers, because they must reach each other.
"""

import asyncio

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient

from testbed.local_servers import LocalServer, new_cluster_id, start_local_broker
from testbed.patience import patience
from testbed.server import POLL_S, free_port, kafka_properties

BROKERS: Final = 3
# Small heaps: three brokers run at once, each with little load.
JVM: Final = ("-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")


@dataclass(frozen=True, slots=True)
class Cluster:
    """
    Three brokers.

    Attributes:
        brokers: The first one is the controller, too. A test may stop or kill the others.
    """

    brokers: list[LocalServer]

    @property
    def address(self) -> str:
        """The bootstrap servers, for clients."""
        return ",".join(broker.address for broker in self.brokers)


@contextmanager
def running_cluster(changes: Mapping[str, str]) -> Iterator[Cluster]:
    """Start a cluster with these changes to its brokers' configuration, and end it."""
    controller, cluster_id = f"127.0.0.1:{free_port()}", new_cluster_id()
    with ExitStack() as stack:
        brokers: list[LocalServer] = []
        for number in range(1, BROKERS + 1):
            brokers.append(_broker(number, controller, cluster_id, changes))
            stack.callback(brokers[-1].close)
        cluster = Cluster(brokers)
        asyncio.run(_all_are_members(cluster))
        yield cluster


async def _all_are_members(cluster: Cluster) -> None:
    # A broker answers before the controller takes it in. Of a topic that is made before that, it gets no partition.
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.brokers[0].address)
    await admin.start()
    try:
        async with asyncio.timeout(patience(60)):
            while len((await admin.describe_cluster())["brokers"]) < BROKERS:  # noqa: ASYNC110 - Kafka sends no event
                await asyncio.sleep(POLL_S)
    finally:
        await admin.close()


def _broker(number: int, controller: str, cluster_id: str, changes: Mapping[str, str]) -> LocalServer:
    clients, internal = (f"127.0.0.1:{free_port()}" for _ in range(2))

    def properties(data: str) -> dict[str, str]:
        alone = kafka_properties(clients, clients, internal, controller, data)
        replicated = dict.fromkeys((name for name in alone if name.endswith("replication.factor")), str(BROKERS))
        follower = {
            "process.roles": "broker",
            "listeners": f"CLIENTS://{clients},INTERNAL://{internal}",
        }
        return alone | replicated | {"node.id": str(number)} | (follower if number > 1 else {}) | dict(changes)

    return start_local_broker(clients, properties, cluster_id, JVM)
