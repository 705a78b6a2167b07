"""
`consumer`: how fast a backlog becomes rows.

The consumer is the process that is deployed. It reads a backlog of distinct events from Kafka and stores them in a database
of its own, with the tables and indexes that are shipped. It is compared with the fastest way in which PostgreSQL can store
the same rows: one COPY of all of them into a table without index.

The clock starts when the consumer has its partitions and stops with the last row, so the start of the process is not in it.
"""

import argparse
import asyncio
import tempfile
import time

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

import asyncpg
import redis

from bench.backlog import LOCAL_REGION, OTHER_REGION, Backlog, count, fill
from bench.cpu import Meter, peak_resident_mib
from bench.report import Report, demand
from bench.rounds import interleave
from bench.stage import Stage, stage
from consumer.adapters.redis_seen import KEYS
from consumer.schema import ensure_schema
from consumer.seen_format import RECORD_BYTES
from shared.wire.regions import DEAD_LETTERS
from testbed.consumer_process import ConsumerProcess
from testbed.server import create_database, drop_database

Form = Literal["binary", "text"]
_GROUP: Final = "bench"
_NAMES: Final[Mapping[Form, str]] = {"binary": "COPY, binary", "text": "COPY"}
_LOOK_EVERY_S: Final = 0.2
_STALLED_S: Final = 90.0
_COLUMNS: Final = (
    "event_id, event_time, seq, service_name, level, message, correlation_id, attributes, origin_region, received_at, "
    "stored_at, stored_by, late, late_by_ms, late_reason"
)
_DONE: Final = "SELECT coalesce(sum(next_offset), 0)::bigint FROM consumer_offsets WHERE next_offset IS NOT NULL"
# Numbers of the last events of all, which take no part in the rate.
_LAST: Final = 10**12


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--events", type=int, default=1_000_000, help="events of the backlog (1,000,000)")
    add_traffic(parser)


def add_traffic(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what lies in Kafka, and how the consumer is set up."""
    parser.add_argument("--mirrored", type=float, default=0.0, help="share that came through the mirror (0)")
    parser.add_argument("--traffic", type=float, default=5000, help="events a second of event time (5000)")
    parser.add_argument("--batch-bytes", type=int, default=16384, help="size of the batches in Kafka (16384)")
    parser.add_argument(
        "--set", action="append", default=[], metavar="NAME=VALUE", help="a variable of the consumer, may be repeated"
    )


def variables_of(arguments: argparse.Namespace) -> Mapping[str, str]:
    """Return the consumer's variables that were asked for."""
    return dict(pair.split("=", 1) for pair in arguments.set)


async def fill_as_asked(kafka: str, events: int, arguments: argparse.Namespace) -> Backlog:
    """Write a backlog of the traffic that was asked for."""
    return await fill(
        kafka,
        events,
        rate=arguments.traffic,
        mirrored=arguments.mirrored,
        batch_bytes=arguments.batch_bytes,
    )


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    with stage("kafka", "postgres", "redis") as servers, tempfile.TemporaryDirectory(prefix="bench-") as folder:
        say(f"filling Kafka with {arguments.events:,} events")
        backlog = await fill_as_asked(servers.kafka, arguments.events, arguments)
        variables = variables_of(arguments)
        rows = Path(folder) / "rows"

        async def consume(number: int) -> float:
            drained = await drain(servers, backlog, variables, report, keep_rows=rows if number == 0 else None)
            report.add("consumer", "events/s", drained.rate)
            for name, seconds in drained.cpu_s.items():
                report.add(f"CPU, {name}", "s per 1,000 events", seconds * 1000 / backlog.events)
            report.add("RSS, consumer, at most", "MiB", drained.peak_mib)
            report.series[f"stored, round {number + 1}"] = drained.stored
            return drained.rate

        async def copy(_: int) -> float:
            for form in _NAMES:
                rate, cpu_s = await _copy(servers, rows, form, backlog.events)
                report.add(_NAMES[form], "rows/s", rate)
                report.add(f"CPU, postgres in {_NAMES[form]}", "s per 1,000 rows", cpu_s * 1000 / backlog.events)
            return rate

        for rates in await interleave({"consumer": consume, "COPY": copy}, arguments.rounds, say):
            report.add("consumer / COPY", "", rates["consumer"] / rates["COPY"])
        report.notes.append("consumer, Kafka, PostgreSQL and Redis share the cores; in COPY, PostgreSQL has them alone")
        report.notes.append(
            "the ratio is to COPY as psql's \\copy does it; the binary form spares PostgreSQL the parsing"
        )


@dataclass(slots=True)
class Drain:
    """
    How a backlog was stored.

    Attributes:
        rate: Events a second.
        cpu_s: Processor time of each process while it was stored.
        peak_mib: The most memory the consumer occupied.
        stored: Events stored, by the second.
        resident: Memory of the consumer in MiB, by the second.
    """

    rate: float
    cpu_s: Mapping[str, float]
    peak_mib: float
    stored: list[tuple[float, float]] = field(default_factory=list)
    resident: list[tuple[float, float]] = field(default_factory=list)


async def drain(
    servers: Stage,
    backlog: Backlog,
    variables: Mapping[str, str],
    report: Report,
    *,
    keep_rows: Path | None = None,
    module: str = "consumer",
) -> Drain:
    """
    Let a consumer store a backlog in an empty database, and check what it stored.

    Args:
        servers: Kafka with the backlog, PostgreSQL, Redis.
        backlog: What is in Kafka.
        variables: Of the consumer, beside those that it needs.
        report: Gets what is wrong with the rows.
        keep_rows: File, without suffix, for the rows as COPY takes them.
        module: What runs the consumer.
    """
    dsn = create_database(servers.postgres)
    with redis.Redis.from_url(servers.redis) as client:
        client.flushall()
    group = f"{_GROUP}-{time.monotonic_ns()}"
    connection = await asyncpg.connect(dsn)
    try:
        await ensure_schema(connection)
        await connection.execute("CHECKPOINT")
        consumer = ConsumerProcess(
            {
                "CONSUMER_REGION": LOCAL_REGION,
                "CONSUMER_REGIONS": f"{LOCAL_REGION},{OTHER_REGION}",
                "CONSUMER_INSTANCE": "bench",
                "CONSUMER_GROUP": group,
                "CONSUMER_KAFKA_BOOTSTRAP_SERVERS": servers.kafka,
                "CONSUMER_POSTGRES_DSN": dsn,
                "CONSUMER_REDIS_URL": servers.redis,
                **variables,
            },
            module,
        )
        await consumer.start()
        try:
            drained = await _watch(connection, consumer, servers, backlog)
        finally:
            await consumer.close()
        await _check(connection, servers, backlog, report)
        if keep_rows is not None:
            query = f"SELECT {_COLUMNS} FROM logs WHERE (attributes->>'n')::bigint < {_LAST}"  # noqa: S608 - constants
            for form in _NAMES:
                await connection.copy_from_query(query, output=keep_rows.with_suffix(f".{form}"), format=form)
        return drained
    finally:
        await connection.close()
        drop_database(servers.postgres, dsn)


async def _watch(connection: asyncpg.Connection, consumer: ConsumerProcess, servers: Stage, backlog: Backlog) -> Drain:
    """Follow the offsets that are stored with the rows; that query costs almost nothing."""
    begun = None
    while begun is None:
        demand(consumer.alive, f"the consumer has ended: {consumer.lines()[-5:]}")
        begun = await connection.fetchval("SELECT min(updated_at) FROM consumer_offsets")
        await asyncio.sleep(0.01)
    meter = Meter({"consumer": consumer.pid, **servers.pids})
    started = last_change = time.monotonic()
    stored: list[tuple[float, float]] = []
    resident: list[tuple[float, float]] = []
    cpu_s: Mapping[str, float] = {}
    done = before = 0
    while done < backlog.events + backlog.last:
        await asyncio.sleep(_LOOK_EVERY_S)
        done = await connection.fetchval(_DONE)
        now = time.monotonic()
        if done != before:
            last_change, before = now, done
        demand(consumer.alive, f"the consumer has ended: {consumer.lines()[-5:]}")
        demand(now - last_change < _STALLED_S, f"{done} events stored, and no more for {_STALLED_S} s")
        if not cpu_s:
            stored.append((now - started, done))
            resident.append((now - started, consumer.resident_bytes() / 2**20))
        if done >= backlog.events and not cpu_s:
            cpu_s = meter.seconds()
    peak_mib = peak_resident_mib(consumer.pid)
    took_s = await connection.fetchval(
        "SELECT extract(epoch FROM max(stored_at) - $1)::float FROM logs WHERE (attributes->>'n')::bigint < $2",
        begun,
        _LAST,
    )
    return Drain(backlog.events / took_s, cpu_s, peak_mib, stored, resident)


def _remembered(address: str) -> int:
    with redis.Redis.from_url(address) as client:
        slots = list(client.scan_iter(f"{KEYS}:*:*:*", count=1000))
        return sum(int(client.strlen(slot)) for slot in slots) // RECORD_BYTES


async def _check(connection: asyncpg.Connection, servers: Stage, backlog: Backlog, report: Report) -> None:
    [row] = await connection.fetch(
        "SELECT count(*) AS rows, count(DISTINCT event_id) AS ids, count(*) FILTER (WHERE late) AS late, "
        "count(DISTINCT n) FILTER (WHERE n >= 0 AND n < $1) AS numbers "
        "FROM (SELECT event_id, late, (attributes->>'n')::bigint AS n FROM logs) AS logs",
        backlog.events,
    )
    whole = backlog.events + backlog.last
    report.expect(row["numbers"] == backlog.events, f"{backlog.events - row['numbers']:,} events are not in the table")
    report.expect(row["rows"] == whole, f"{row['rows']:,} rows of {whole:,} events")
    report.expect(row["ids"] == row["rows"], f"{row['rows'] - row['ids']:,} rows more than ids")
    remembered = _remembered(servers.redis)
    report.add("remembered by Redis", "of all ids", remembered / whole)
    report.expect(remembered >= 0.9 * whole, f"of {whole:,} ids Redis remembers only {remembered:,}")
    report.expect(row["late"] == 0, f"{row['late']:,} rows of an ordinary backlog are late")
    back = await connection.fetchval(
        "SELECT count(*) FROM (SELECT event_time < lag(event_time) OVER (PARTITION BY stored_by ORDER BY seq) AS back "
        "FROM logs WHERE NOT late) AS step WHERE back"
    )
    report.expect(back == 0, f"{back:,} rows are older than the one before them")
    letters = await count(servers.kafka, DEAD_LETTERS)
    report.expect(letters == 0, f"{letters:,} dead letters")


async def _copy(servers: Stage, rows: Path, form: Form, events: int) -> tuple[float, float]:
    """Return rows a second, and PostgreSQL's processor time."""
    dsn = create_database(servers.postgres)
    connection = await asyncpg.connect(dsn)
    try:
        await ensure_schema(connection)
        await connection.execute("CREATE TABLE bare (LIKE logs INCLUDING DEFAULTS)")
        await connection.execute("CHECKPOINT")
        meter = Meter({"postgres": servers.pids["postgres"]})
        began = time.perf_counter()
        await connection.copy_to_table(
            "bare", source=rows.with_suffix(f".{form}"), columns=_COLUMNS.split(", "), format=form
        )
        took_s = time.perf_counter() - began
        cpu_s = meter.seconds()["postgres"]
        copied = await connection.fetchval("SELECT count(*) FROM bare")
        demand(copied == events, f"COPY took {copied} rows of {events}")
        return events / took_s, cpu_s
    finally:
        await connection.close()
        drop_database(servers.postgres, dsn)
