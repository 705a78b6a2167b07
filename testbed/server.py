"""
One real server for tests (Kafka, PostgreSQL or Redis): a handle that starts, stops and suspends it, and helpers to use it.

`servers.py` decides how tests get a server.

* ServersUnavailableError   this machine has no way to start one (the message says what to install)
* ServerFailedError         a started server does not answer (the message has the end of its log)
"""

import asyncio
import secrets
import socket
import time

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, TypeVar, cast
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import redis

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError, UnknownTopicOrPartitionError, for_code

from testbed.patience import Deadline, patience

START_TIMEOUT_S: Final = 90
STOP_TIMEOUT_S: Final = 20
POLL_S: Final = 0.05
JVM_OPTIONS: Final = ("-Xmx384m", "-Xms128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1")
# Without fsync a crash of the machine loses data, but a crash of the server does not. Tests crash only servers.
POSTGRES_OPTIONS: Final = ("-c", "fsync=off", "-c", "max_connections=60", "-c", "shared_buffers=64MB")


class ServersUnavailableError(Exception):
    """This machine has no way to start this server. The message says what to install."""


class ServerFailedError(Exception):
    """A server was started and does not answer its protocol."""


class Server(ABC):
    """
    One running server, private to the test that started it.

    All methods block. Call them through `asyncio.to_thread` if the event loop has other work.

    Attributes:
        address: `host:port` of Kafka, or the URL of PostgreSQL or Redis. It stays the same over restarts.
    """

    address: str

    @abstractmethod
    def start(self) -> None:
        """
        Start it. After `stop` or `kill` it starts again with its data.

        Raises:
            ServerFailedError: It ended, or does not answer a request of its own protocol in time.
        """

    @abstractmethod
    def stop(self) -> None:
        """Shut it down in an orderly way and wait until it has ended."""

    @abstractmethod
    def kill(self) -> None:
        """End it as a crash would and wait until it has ended."""

    @abstractmethod
    def suspend(self) -> None:
        """Freeze it: connections stay open and new ones are accepted, but it answers no request."""

    @abstractmethod
    def resume(self) -> None:
        """End `suspend`."""

    @abstractmethod
    def close(self) -> None:
        """End it in any state, and remove its data."""


Check = Callable[[], object]
S = TypeVar("S", bound=Server)


def wait_until_it_answers(check: Check, name: str, alive: Callable[[], bool], log: Callable[[], str]) -> None:
    """
    Ask the server until it answers.

    Raises:
        ServerFailedError: It ended, or does not answer in time. The message has the end of its log.
    """
    deadline = Deadline(START_TIMEOUT_S)
    while True:
        try:
            check()
        except (OSError, TimeoutError, KafkaError, asyncpg.PostgresError, redis.RedisError) as exc:
            if not alive() or deadline.passed:
                raise ServerFailedError(f"{name} does not answer {deadline}: {exc!r}\n{log()}") from exc
            time.sleep(POLL_S)
        else:
            return


def in_own_loop(work: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    """Run a coroutine to its end, also from code that an event loop runs."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(lambda: asyncio.run(work())).result()


def check_kafka(bootstrap_servers: str) -> None:
    """
    Ask for the cluster's metadata.

    Raises:
        KafkaError: No broker answered.
    """

    async def ask() -> None:
        client = AIOKafkaClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=3000)
        try:
            await client.bootstrap()
        finally:
            await client.close()

    in_own_loop(ask)


def check_postgres(dsn: str) -> None:
    """
    Run a statement.

    Raises:
        OSError: The connection is refused.
        asyncpg.PostgresError: PostgreSQL is not open for connections yet.
    """

    async def ask() -> None:
        connection = await asyncpg.connect(dsn, timeout=3)
        try:
            await connection.execute("SELECT 1")
        finally:
            await connection.close(timeout=3)

    in_own_loop(ask)


def check_redis(url: str) -> None:
    """
    Send PING.

    Raises:
        redis.RedisError: Redis does not answer, or is still loading.
    """
    with redis.Redis.from_url(url, socket_timeout=3, socket_connect_timeout=3) as client:
        client.ping()


def create_database(dsn: str) -> str:
    """Create an empty database on the server of `dsn`, and return the new database's DSN."""
    name = f"test_{secrets.token_hex(6)}"
    _administer(dsn, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    return urlunsplit(urlsplit(dsn)._replace(path=f"/{name}"))


def drop_database(dsn: str, database_dsn: str) -> None:
    """Drop a database of `create_database`, also while clients are connected to it."""
    _administer(dsn, f"DROP DATABASE IF EXISTS {urlsplit(database_dsn).path[1:]} WITH (FORCE)")


def _administer(dsn: str, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()

    in_own_loop(run)


async def recreate_topics(bootstrap_servers: str, names: Sequence[str], partitions: int = 6) -> None:
    """Create the topics empty. Delete existing ones of these names first."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers)
    await admin.start()
    try:
        existing = [name for name in await admin.list_topics() if name in names]
        if existing:
            await admin.delete_topics(existing)
        async with asyncio.timeout(patience(30)):
            # Kafka answers a deletion before the topic is gone.
            while set(await admin.list_topics()) & set(names):  # noqa: ASYNC110 - Kafka sends no event
                await asyncio.sleep(POLL_S)
        answer = await admin.create_topics([NewTopic(name, partitions, 1) for name in names])
        for name, code, *message in answer.topic_errors:
            if code:
                raise for_code(code)(f"{name}: {message}")
        async with asyncio.timeout(patience(30)):
            # Kafka also answers a creation early, so a partition may have no leader yet.
            while not await _all_have_leaders(admin, names):  # noqa: ASYNC110 - as above
                await asyncio.sleep(POLL_S)
    finally:
        await admin.close()


async def _all_have_leaders(admin: AIOKafkaAdminClient, names: Sequence[str]) -> bool:
    try:
        topics = await admin.describe_topics(list(names))
    except UnknownTopicOrPartitionError:
        return False
    return all(
        topic["error_code"] == 0 and topic["partitions"] and all(p["error_code"] == 0 for p in topic["partitions"])
        for topic in topics
    )


def free_port() -> int:
    """Return a port of 127.0.0.1 that was free a moment ago."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return cast("int", sock.getsockname()[1])


def kafka_properties(clients: str, advertised: str, internal: str, controller: str, log_dir: str) -> dict[str, str]:
    """
    Return the configuration of a cluster of one broker that is its own controller.

    Args:
        clients: `host:port` to listen on for clients.
        advertised: `host:port` under which clients reach it.
        internal: `host:port` under which the broker reaches itself.
        controller: `host:port` of the controller.
        log_dir: Directory of the data.
    """
    listeners = ("CLIENTS", "INTERNAL", "CONTROLLER")
    return {
        "process.roles": "broker,controller",
        "node.id": "1",
        "controller.quorum.voters": f"1@{controller}",
        "controller.listener.names": "CONTROLLER",
        "inter.broker.listener.name": "INTERNAL",
        "listeners": f"CLIENTS://{clients},INTERNAL://{internal},CONTROLLER://{controller}",
        "advertised.listeners": f"CLIENTS://{advertised},INTERNAL://{internal}",
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in listeners),
        "log.dirs": log_dir,
        "auto.create.topics.enable": "false",
        "num.partitions": "6",
        "offsets.topic.num.partitions": "3",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.num.partitions": "3",
        "transaction.state.log.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": "1",
        "share.coordinator.state.topic.min.isr": "1",
        "group.initial.rebalance.delay.ms": "0",
        # After a crash the broker can come back only when its old session has ended, by default after nine seconds.
        "broker.session.timeout.ms": "3000",
        "broker.heartbeat.interval.ms": "500",
        # By default the cleaner takes 128 MiB, too much of a small heap.
        "log.cleaner.dedupe.buffer.size": "4194304",
    }


def started(server: S, prepare: Callable[[], None] = lambda: None) -> S:
    """Prepare and start a server, and close it if either fails."""
    try:
        prepare()
        server.start()
    except BaseException:
        server.close()
        raise
    return server
