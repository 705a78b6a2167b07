"""
The running fleet as tests see it: its addresses, its table, and the means to stop and start its parts.

Both modes look the same. The addresses come from the variables that move the ports, and `./setup.sh` controls the parts.
"""

import asyncio
import uuid

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final

import asyncpg
import httpx

from aiokafka import AIOKafkaConsumer
from aiokafka.structs import TopicPartition
from uuid_utils.compat import uuid7

from testbed.access import to_kafka
from testbed.addresses import Addresses
from testbed.patience import eventually

ROOT: Final = Path(__file__).resolve().parent.parent
REGIONS: Final = ("region-a", "region-b")


class Fleet:
    """
    The fleet, with the operations that tests need.

    Args:
        http: Client without a base address.
        database: Pool on the fleet's PostgreSQL.
    """

    def __init__(self, http: httpx.AsyncClient, database: asyncpg.Pool) -> None:
        self.at = Addresses()
        self.http = http
        self._database = database

    async def post(self, body: Any, *, region: str | None = None, batch: bool = False) -> httpx.Response:
        """Post one event, or a batch, to the gateway."""
        path = "/api/logs/batch" if batch else "/api/logs"
        headers = {} if region is None else {"X-Region": region}
        return await self.http.post(f"{self.at.gateway}{path}", json=body, headers=headers)

    async def query(self, sql: str, *arguments: Any) -> list[asyncpg.Record]:
        """Run a query, again and again while PostgreSQL is away."""

        async def look() -> list[list[asyncpg.Record]]:
            try:
                return [await self._database.fetch(sql, *arguments)]
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
                raise AssertionError(str(exc)) from exc

        [rows] = await eventually(look, "postgres answers", within_s=60)
        return list(rows)

    async def rows(self, ids: Iterable[str], within_s: float = 30.0) -> list[asyncpg.Record]:
        """Wait until each id has a row, and return all rows with these ids, in the order written."""
        wanted = [uuid.UUID(i) for i in ids]

        async def look() -> list[asyncpg.Record]:
            rows = await self.query("SELECT * FROM logs WHERE event_id = ANY($1) ORDER BY seq", wanted)
            found = {row["event_id"] for row in rows}
            missing = [i for i in wanted if i not in found]
            assert not missing, f"{len(missing)} of {len(wanted)} are missing, {missing[0]} for one"
            return rows

        rows: list[asyncpg.Record] = await eventually(look, "all events are stored", within_s=within_s, every_s=0.1)
        return rows

    async def ready(self, service: str) -> bool:
        """Return whether a service's `/ready` answers with success."""
        try:
            answer = await self.http.get(f"{self.at.services[service]}/ready")
        except httpx.TransportError:
            return False
        return answer.is_success

    async def all_ready(self, within_s: float = 90.0) -> None:
        """Wait until every service is ready."""
        for service in self.at.services:
            await eventually(partial(self.ready, service), f"{service} is ready", within_s=within_s)

    async def control(self, verb: str, *arguments: str) -> None:
        """Run `./setup.sh VERB ARGUMENT...`. `./setup.sh --help` lists the verbs."""
        status, output = await self.try_control(verb, *arguments)
        assert status == 0, output

    async def try_control(self, verb: str, *arguments: str) -> tuple[int | None, str]:
        """Run the same, and return its exit status and its output."""
        process = await asyncio.create_subprocess_exec(
            ROOT / "setup.sh", verb, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        output, _ = await process.communicate()
        return process.returncode, output.decode()

    async def counter(self, service: str, name: str, **labels: str) -> float:
        """Read the sum of a metric's series that have these labels, from the service itself."""
        text = (await self.http.get(f"{self.at.services[service]}/metrics")).text
        total = 0.0
        for line in text.splitlines():
            if line.startswith(name) and all(f'{key}="{value}"' in line for key, value in labels.items()):
                series, _, value = line.rpartition(" ")
                if series.partition("{")[0] == name:
                    total += float(value)
        return total

    async def prometheus(self, expression: str) -> list[dict[str, Any]]:
        """Evaluate an expression now. Each element has `metric`, the labels, and `value`, a time and a number."""
        answer = await self.http.get(f"{self.at.prometheus}/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, answer.text
        found: list[dict[str, Any]] = answer.json()["data"]["result"]
        return found

    async def end_offsets(self, region: str, topic: str) -> int:
        """Return the sum of the topic's end offsets in that region's Kafka: all records that it ever had."""
        consumer = AIOKafkaConsumer(**to_kafka(self.at.kafka[region]))
        await consumer.start()
        try:
            ends = await consumer.end_offsets([TopicPartition(topic, n) for n in range(6)])
            return sum(ends.values())
        finally:
            await consumer.stop()


def an_event(correlation_id: str = "trace-1", *, time: datetime | None = None, **fields: Any) -> dict[str, Any]:
    """Make an event with a client identity, as JSON."""
    return {
        "eventId": str(uuid7()),
        "timestamp": (time or datetime.now(UTC)).isoformat(),
        "serviceName": "end-to-end",
        "level": "INFO",
        "message": "Hello",
        "correlationId": correlation_id,
    } | fields


def in_order(rows: Sequence[asyncpg.Record]) -> bool:
    """Return whether, for each `stored_by`, the rows that are not late are in event-time order."""
    newest: dict[str, datetime] = {}
    for row in rows:
        if not row["late"]:
            if row["event_time"] < newest.get(row["stored_by"], row["event_time"]):
                return False
            newest[row["stored_by"]] = row["event_time"]
    return True


@asynccontextmanager
async def steady_writers(fleet: Fleet) -> AsyncIterator[list[str]]:
    """Post to both regions, each event until it is acknowledged, always under the same identity."""
    acknowledged: list[str] = []
    stop = asyncio.Event()

    async def write(region: str) -> None:
        while not stop.is_set():
            event = an_event(f"steady-{region}")
            while True:
                try:
                    answer = await fleet.post(event, region=region)
                except httpx.TransportError:
                    await asyncio.sleep(0.1)  # the gateway itself is away, and a client tries again
                    continue
                if answer.status_code == 202:
                    acknowledged.append(event["eventId"])
                    break
                assert answer.status_code == 503, answer.text
                await asyncio.sleep(0.1)
            await asyncio.sleep(0.01)

    writers = [asyncio.create_task(write(region)) for region in REGIONS for _ in range(2)]
    try:
        yield acknowledged
    finally:
        stop.set()
        await asyncio.gather(*writers)
