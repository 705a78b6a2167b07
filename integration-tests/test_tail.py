"""The tail on real servers: T3 restarts, T4 slow readers, T5 a database set back, T6 days; by the console and through a gateway."""

import asyncio

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final
from urllib.parse import urlencode

import aiohttp
import httpx
import pytest

from surroundings import LOCAL, Surroundings, an_event, as_role, make_tables
from test_ports import query

from console.tests.sse import Parser
from shared.event.model import LogRecord
from shared.process.http_client import StreamedAnswer, Streams, http_client
from testbed.consumer_process import ConsumerProcess
from testbed.patience import eventually, patience
from testbed.server import Server, recreate_topics

pytestmark = pytest.mark.services

PATH: Final = "/api/logs/tail"


def a_console(dsn: str, *, port: int | None = None) -> ConsumerProcess:
    variables = {"CONSOLE_POSTGRES_DSN": as_role("logs_api", dsn)}
    return ConsumerProcess(variables, "console", port=port)


@asynccontextmanager
async def console(dsn: str, *, port: int | None = None) -> AsyncIterator[ConsumerProcess]:
    process = a_console(dsn, port=port)
    await process.start()
    try:
        await eventually(process.readiness, "the console answers")
        yield process
    finally:
        await process.close()


class Tail:
    """
    A client that comes back with the last id whatever happens, as a browser does.

    Attributes:
        seen: Ids of the events.
        others: Names of the other events.
        resets: What was said of positions that are gone.
        connections: How often it came.
    """

    def __init__(self, url: str, **parameters: str) -> None:
        self._url = url
        self._parameters = parameters
        self.seen: list[str] = []
        self.others: list[str] = []
        self.resets: list[dict[str, str]] = []
        self.connections = 0
        self.pace_s = 0.0
        self._parser = Parser()

    @asynccontextmanager
    async def following(self) -> AsyncIterator["Tail"]:
        task = asyncio.create_task(self._run())
        try:
            await eventually(lambda: self.others, "the tail has begun")
            assert "at" in self.others, self.others
            yield self
        finally:
            task.cancel()
            await asyncio.wait([task])

    async def _run(self) -> None:
        while True:
            with suppress(httpx.TransportError, aiohttp.ClientError):
                await self._connect()
            await asyncio.sleep(0.1)

    async def _connect(self) -> None:
        last_id = self._parser.last_id
        self._parser = Parser(last_id)
        headers = {"Last-Event-ID": last_id} if last_id else {}
        url = f"{self._url}{PATH}?{urlencode(self._parameters)}"
        streams = Streams(1, patience(5), patience(30))
        try:
            async with streams.get(url, headers) as answer:
                await self._read(answer)
        finally:
            await streams.close()

    async def _read(self, answer: StreamedAnswer) -> None:
        if answer.status != 200:
            self.others.append(str([piece async for piece in answer.pieces()]))
            return
        self.connections += 1
        async for piece in answer.pieces():
            for event, data in self._parser.feed(piece):
                if event == "log":
                    self.seen.append(data["eventId"])
                else:
                    self.others.append(event)
                if event == "reset":
                    self.resets.append(data)
            if self.pace_s:
                await asyncio.sleep(self.pace_s)


async def has_each_once(tail: Tail, sent: Sequence[LogRecord], within_s: float = 60) -> None:
    wanted = Counter(event.event_id for event in sent)
    await eventually(lambda: len(set(tail.seen)) >= len(wanted), f"{len(wanted)} events", within_s=within_s)
    assert Counter(map(str, wanted)) == Counter(tail.seen)


def some_events(count: int = 50, message: str = "m") -> list[LogRecord]:
    now = datetime.now(UTC)
    return [an_event(now + timedelta(microseconds=n), correlation_id=f"c{n}", message=message) for n in range(count)]


async def prepared(around: Surroundings) -> None:
    await recreate_topics(around.kafka, [LOCAL, "region-b.logs", "logs-dlq"])
    await make_tables(around.postgres)


async def test_events_of_all_days_come_once_late_ones_too(around: Surroundings) -> None:
    """T6: of yesterday, of midnight, of days without a partition, and long ago."""
    await prepared(around)
    midnight = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    moments = [0, -1, 86_400, 86_399, -86_400, -40 * 86_400, -9000 * 86_400, 40 * 86_400]
    sent = [an_event(midnight + timedelta(seconds=moment)) for moment in moments]
    async with console(around.postgres) as process, Tail(process.url).following() as tail, around.process("one"):
        await around.send(sent)
        await has_each_once(tail, sent)


@pytest.mark.parametrize("at", ["before-commit", "after-commit"])
async def test_consumers_are_killed_and_replaced_and_the_console_started_again(around: Surroundings, at: str) -> None:
    """T3."""
    await prepared(around)
    sent: list[LogRecord] = []

    async def send() -> None:
        events = some_events()
        await around.send(events)
        sent.extend(events)

    async with console(around.postgres) as process, Tail(process.url).following() as tail:
        async with around.process("one", CONSUMER_FAILPOINT=f"{at}:2") as doomed:
            for _ in range(4):
                await send()
            assert await doomed.ended() != 0
        async with around.process("two"), around.process("three"):
            await send()
            await has_each_once(tail, sent)
            await process.close()
            await send()
            async with console(around.postgres, port=process.port):
                await has_each_once(tail, sent)
                async with around.process("four"):
                    await send()
                    await has_each_once(tail, sent)
    assert "bye" in tail.others
    assert tail.connections > 1


async def test_postgresql_is_started_again(own_postgres: Server, kafka: str, redis_url: str) -> None:
    around = Surroundings(kafka, own_postgres.address, redis_url)
    await prepared(around)
    sent = some_events()
    async with console(around.postgres) as process, Tail(process.url).following() as tail, around.process("one"):
        await around.send(sent)
        await has_each_once(tail, sent)
        await asyncio.to_thread(own_postgres.stop)
        more = some_events()
        await around.send(more)
        await eventually(lambda: "behind" in tail.others, "it says that PostgreSQL is away")
        await asyncio.to_thread(own_postgres.start)
        await has_each_once(tail, [*sent, *more])
        assert tail.connections == 1, "it goes on by itself"


async def test_a_slow_reader_has_all_of_it_while_others_go_on(around: Surroundings) -> None:
    """T4: it takes little while much is stored, and all of it in the end."""
    await prepared(around)
    async with (
        console(around.postgres) as process,
        Tail(process.url, full="true").following() as slow,
        Tail(process.url).following() as fast,
        around.process("one"),
    ):
        slow.pace_s = patience(0.5)
        sent: list[LogRecord] = []
        for _ in range(8):
            events = some_events(1000, message="x" * 2000)
            await around.send(events)
            sent.extend(events)
        await has_each_once(fast, sent)
        before = len(slow.seen)
        slow.pace_s = 0.0
        await has_each_once(slow, sent)
        assert before < len(sent)
        assert slow.connections == fast.connections == 1


async def test_a_database_that_was_restored_is_told(around: Surroundings) -> None:
    """T5."""
    await prepared(around)
    sent = some_events()
    async with console(around.postgres) as process, Tail(process.url).following() as tail, around.process("one"):
        await around.send(sent)
        await has_each_once(tail, sent)
        await query(around.postgres, "UPDATE store_identity SET id = gen_random_uuid()")
        await eventually(lambda: "reset" in tail.others, "a reset")
        tail.seen.clear()
        more = some_events()
        await around.send(more)
        await eventually(lambda: set(tail.seen) >= {str(event.event_id) for event in more}, "it goes on")


async def test_through_a_gateway_it_is_the_same(around: Surroundings) -> None:
    await prepared(around)
    sent = some_events()
    async with console(around.postgres) as process:
        gateway = ConsumerProcess(
            {"GATEWAY_REGIONS": "region-a=http://127.0.0.1:9", "GATEWAY_CONSOLE": process.url}, "gateway"
        )
        await gateway.start()
        try:
            await eventually(gateway.readiness, "the gateway answers")
            async with Tail(gateway.url, service="test").following() as tail, around.process("one"):
                await around.send(sent)
                await has_each_once(tail, sent)
                await gateway.close()
                assert tail.connections == 1
        finally:
            await gateway.close()


async def test_from_a_time_comes_what_was_stored_since_then(around: Surroundings) -> None:
    await prepared(around)
    async with around.process("one"):
        old = some_events()
        await around.send(old)
        await around.rows(len(old))
        [(moment,)] = await query(around.postgres, "SELECT max(stored_at) + interval '1 microsecond' FROM logs")
        sent = some_events()
        await around.send(sent)
        await around.rows(len(old) + len(sent))
        async with (
            console(around.postgres) as process,
            Tail(process.url, **{"from": moment.isoformat()}).following() as tail,
        ):
            more = some_events()
            await around.send(more)
            await has_each_once(tail, [*sent, *more])


async def test_what_makes_no_sense_is_refused_and_too_many_have_to_wait(postgres: str) -> None:
    await make_tables(postgres)
    async with console(postgres) as process, http_client(patience(30)) as client:
        for parameters, said in (
            ({"from": "t1.xx"}, "cut off or was changed"),
            ({"from": "c1.xx"}, "cursor of a search"),
            ({"from": "yesterday"}, "from='yesterday'"),
            ({"limit": "5"}, "'limit' is no parameter"),
        ):
            answer = await client.get(process.url + PATH, params=parameters)
            assert answer.status_code == 400
            assert said in answer.json()["detail"]
        tails = [Tail(process.url) for _ in range(10)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(tail._run()) for tail in tails]
            await eventually(lambda: all("at" in tail.others for tail in tails), "ten tails")
            answer = await client.get(process.url + PATH)
            for task in tasks:
                task.cancel()
        assert answer.status_code == 429
        assert answer.headers["Retry-After"] == "1"
