"""The servers that the tests stand on: each can be had, survives what tests do to it, and keeps its address and data."""

from collections.abc import Callable

import asyncpg
import pytest
import redis

from aiokafka.errors import KafkaError

from testbed.server import Server, ServersUnavailableError, check_kafka, check_postgres, check_redis, recreate_topics
from testbed.servers import start

pytestmark = pytest.mark.services


@pytest.fixture(params=["kafka", "postgres", "redis"])
def server_and_check(request: pytest.FixtureRequest) -> tuple[Server, Callable[[str], None]]:
    checks: dict[str, Callable[[str], None]] = {
        "kafka": check_kafka,
        "postgres": check_postgres,
        "redis": check_redis,
    }
    return request.getfixturevalue(f"own_{request.param}"), checks[request.param]


def test_a_server_answers_again_after_a_crash_a_stop_and_a_freeze(
    server_and_check: tuple[Server, Callable[[str], None]],
) -> None:
    server, check = server_and_check
    silent = (OSError, TimeoutError, KafkaError, redis.RedisError)

    check(server.address)
    server.kill()
    with pytest.raises(silent):
        check(server.address)
    server.start()
    server.stop()
    with pytest.raises(silent):
        check(server.address)
    server.start()
    server.suspend()
    with pytest.raises(silent):
        check(server.address)
    server.resume()
    check(server.address)


async def test_each_test_gets_an_empty_database(postgres: str) -> None:
    connection = await asyncpg.connect(postgres)
    tables = await connection.fetch(
        "SELECT 1 FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace WHERE nspname = 'public'"
    )
    await connection.execute("CREATE TABLE seen_by_the_next_test ()")
    await connection.close()

    assert tables == []


async def test_and_so_does_the_next(postgres: str) -> None:
    await test_each_test_gets_an_empty_database(postgres)


async def test_topics_can_be_emptied(kafka: str) -> None:
    await recreate_topics(kafka, ["emptied"])
    await recreate_topics(kafka, ["emptied"])


def test_an_unknown_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_SERVERS", "elsewhere")

    with pytest.raises(ServersUnavailableError, match="containers or local"):
        start("redis")
