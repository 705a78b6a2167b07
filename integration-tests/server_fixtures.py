"""
Servers as fixtures: a test that names one gets the address of a real one.

Shared by the session: `kafka`, `postgres` (a fresh, empty database for each test), `redis_url`. Private to one test, to be
stopped, killed and frozen: `own_kafka`, `own_postgres`, `own_redis`. `servers.py` decides where they come from. Without
them the test fails, because a skipped test proves nothing. `around` has the shared ones, empty, for a consumer. `fleet` is
all of it, already running.
"""

import logging

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Literal

import asyncpg
import pytest
import redis

from surroundings import Surroundings

from shared.process import topic_admin
from testbed.access import fleet_client
from testbed.addresses import Addresses
from testbed.patience import patience
from testbed.running_fleet import Fleet
from testbed.server import Server, ServerFailedError, ServersUnavailableError, create_database, drop_database
from testbed.servers import given_address, start


@contextmanager
def _running(kind: Literal["kafka", "postgres", "redis"]) -> Iterator[Server]:
    try:
        server = start(kind)
    except (ServersUnavailableError, ServerFailedError) as exc:
        pytest.fail(str(exc), pytrace=False)
    try:
        yield server
    finally:
        server.close()


@contextmanager
def _address(kind: Literal["kafka", "postgres", "redis"]) -> Iterator[str]:
    given = given_address(kind)
    if given:
        yield given
    else:
        with _running(kind) as server:
            yield server.address


@pytest.fixture(scope="session", autouse=True)
def _quiet_kafka_client() -> None:
    """Keep aiokafka from burying a failure's report under a line for each refused connection."""
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)


@pytest.fixture(autouse=True)
def _patient_admin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give Kafka's administration as long as this machine needs; its limit is a fixed one, and no test is about it."""
    if request.node.get_closest_marker("services"):
        monkeypatch.setattr(topic_admin, "REQUEST_TIMEOUT_MS", int(patience(topic_admin.REQUEST_TIMEOUT_MS)))


@pytest.fixture(scope="session")
def kafka() -> Iterator[str]:
    """Bootstrap address of a cluster of one broker, shared: use topics of your own or `server.recreate_topics`."""
    with _address("kafka") as address:
        yield address


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """DSN of the maintenance database of a PostgreSQL where databases may be created."""
    with _address("postgres") as dsn:
        yield dsn


@pytest.fixture
def postgres(postgres_server: str) -> Iterator[str]:
    """DSN of a database that is empty and the test's own."""
    dsn = create_database(postgres_server)
    yield dsn
    drop_database(postgres_server, dsn)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[str]:
    """URL of a Redis that keeps what earlier tests wrote."""
    with _address("redis") as url:
        yield url


@pytest.fixture
def redis_url(redis_server: str) -> str:
    """URL of an empty Redis database; one that the environment names is left as it is."""
    if not given_address("redis"):
        with redis.Redis.from_url(redis_server) as client:
            client.flushall()
    return redis_server


@pytest.fixture
def own_kafka() -> Iterator[Server]:
    """Start a Kafka that the test may stop, kill and freeze."""
    with _running("kafka") as server:
        yield server


@pytest.fixture
def own_postgres() -> Iterator[Server]:
    """Start a PostgreSQL that the test may stop, kill and freeze."""
    with _running("postgres") as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[Server]:
    """Start a Redis that the test may stop, kill and freeze."""
    with _running("redis") as server:
        yield server


@pytest.fixture
async def fleet() -> AsyncIterator[Fleet]:
    """Hand out the running fleet once everything in it is ready."""
    async with fleet_client(30) as http:
        try:
            pool = await asyncpg.create_pool(Addresses().postgres, min_size=1, max_size=2)
        except OSError as exc:
            pytest.fail(f"no fleet is running, start one with ./setup.sh: {exc}", pytrace=False)
        async with pool:
            fleet = Fleet(http, pool)
            await fleet.all_ready()
            yield fleet


@pytest.fixture
async def around(kafka: str, postgres: str, redis_url: str) -> Surroundings:
    """Topics and tables on the shared servers, all empty, and a consumer group of the test's own."""
    surroundings = Surroundings(kafka, postgres, redis_url)
    await surroundings.prepare()
    return surroundings
