"""
`reading`: searches by the console, `python -m console`, beside the same questions put to PostgreSQL at once.

By correlation id, by service and level, and by text, over a day of rows. What the console answers is compared with the rows that SQL finds.
"""

import argparse
import json
import time

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Any, Final, TypeVar

import asyncpg
import httpx

from bench.report import BrokenRunError, Report
from bench.service import Service, module
from bench.stage import stage
from consumer.schema import ensure_schema
from shared.process.http_client import http_client
from testbed.server import create_database, free_port

T = TypeVar("T")

_PORTION: Final = 500_000
_SPAN_S: Final = 20 * 3600
_PAGE: Final = 100
_SERVICES: Final = 20
_LINES: Final = 4
_SINCE: Final = "-1d"
# A row in a hundred thousand has its own word; so a text is found a few times.
_RARE: Final = 100_000
_FILL: Final = """
    INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes, origin_region, received_at, stored_by, late)
    SELECT gen_random_uuid(), t, 'service-' || n % $3, CASE WHEN n % 97 = 0 THEN 'ERROR' WHEN n % 31 = 0 THEN 'WARN' ELSE 'INFO' END,
           'request ' || md5(n::text) || ' took ' || n % 977 || ' ms, status ' || n % 7 || ', ' || md5((n * 7)::text)
               || CASE WHEN n % $4 = 0 THEN ' Needle-' || n / $4 ELSE '' END,
           'trace-' || n / $5, jsonb_build_object('n', n), 'region-' || CASE WHEN n % 2 = 0 THEN 'a' ELSE 'b' END, t, 'bench/1/1', false
    FROM generate_series($1::bigint, $2::bigint - 1) AS n,
         LATERAL (SELECT now() - interval '1 minute' - (($6::bigint - n) * $7::float8) * interval '1 second' AS t) AS at
"""  # fmt: skip
_SQL: Final = "SELECT event_id, event_time, message FROM logs WHERE event_time >= now() - interval '1 day' AND {} ORDER BY event_time DESC, seq DESC LIMIT 100"


@dataclass(frozen=True, slots=True)
class Question:
    """
    One search in both ways.

    Attributes:
        parameters: Of the console.
        where: Of SQL.
        values: Its values.
    """

    parameters: dict[str, str]
    where: str
    values: Sequence[Any]


def by_correlation_id(drawn: Random, rows: int) -> Question:
    """Ask for one trace."""
    trace = f"trace-{drawn.randrange(rows // _LINES)}"
    return Question({"correlationId": trace}, "correlation_id = $1", [trace])


def by_service_and_level(drawn: Random, _: int) -> Question:
    """Ask for the newest errors of a service."""
    name = f"service-{drawn.randrange(_SERVICES)}"
    return Question({"service": name, "levels": "ERROR"}, "service_name = $1 AND level = 'ERROR'", [name])


def by_text(drawn: Random, rows: int) -> Question:
    """Ask for a word that stands in one row."""
    word = f"needle-{drawn.randrange(max(1, rows // _RARE))}"
    return Question({"text": word}, "message ILIKE '%' || $1 || '%'", [word])


KINDS: Final = {"correlation id": by_correlation_id, "service and level": by_service_and_level, "text": by_text}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows in the table (10,000,000)")
    parser.add_argument("--searches", type=int, default=200, help="of each kind that has an index (200)")
    parser.add_argument("--texts", type=int, default=5, help="of those by text (5)")
    parser.add_argument("--quick", action="store_true", help="300,000 rows, a few searches")


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    rows, searches, texts = arguments.rows, arguments.searches, arguments.texts
    if arguments.quick:
        rows, searches, texts = 300_000, 20, 2
    with stage("postgres") as servers:
        dsn = create_database(servers.postgres)
        connection = await asyncpg.connect(dsn)
        try:
            await _fill(connection, rows, say)
            limits = {"CONSOLE_QUERY_SECONDS_A_MINUTE": "0", "CONSOLE_POSTGRES_DSN": dsn}
            with module("console", free_port(), trusted=None, **limits) as console:
                async with http_client(60) as client:
                    for round_ in range(arguments.rounds):
                        for kind, ask in KINDS.items():
                            say(f"round {round_ + 1}: {kind}")
                            drawn = Random(round_)
                            wanted = texts if kind == "text" else searches
                            questions = [ask(drawn, rows) for _ in range(wanted)]
                            await _compare(kind, questions, Sides(connection, client, console), report)
            report.notes.append(
                f"{rows:,} rows of a day; a page of the console has {_PAGE} rows and takes two seconds at most"
            )
        finally:
            await connection.close()


async def _fill(connection: asyncpg.Connection, rows: int, say: Callable[[str], None]) -> None:
    await ensure_schema(connection)
    for first in range(0, rows, _PORTION):
        say(f"{first:,} of {rows:,} rows are there")
        until = min(first + _PORTION, rows)
        await connection.execute(_FILL, first, until, _SERVICES, _RARE, _LINES, rows, _SPAN_S / rows, timeout=600)
    await connection.execute("VACUUM ANALYZE logs", timeout=1200)


@dataclass(frozen=True, slots=True)
class Sides:
    """Both ways to ask."""

    connection: asyncpg.Connection
    client: httpx.AsyncClient
    console: Service

    async def sql(self, question: Question) -> list[str]:
        """Ask PostgreSQL at once."""
        found = await self.connection.fetch(_SQL.format(question.where), *question.values, timeout=600)
        return [str(row["event_id"]) for row in found]

    async def api(self, question: Question) -> tuple[list[str], int]:
        """Ask the console; return the first rows, and how many pages it took to find them."""
        found: list[str] = []
        cursor: dict[str, str] = {}
        for pages in count(1):
            parameters = {"from": _SINCE, **question.parameters, **cursor}
            answer = await self.client.get(f"{self.console.url}/api/logs", params=parameters)
            if answer.status_code != httpx.codes.OK:
                raise BrokenRunError(f"the console answered {answer.status_code}: {answer.text[:300]}")
            page = json.loads(answer.content)
            found += [item["eventId"] for item in page["items"]]
            if page["next"] is None or len(found) >= _PAGE:
                return found[:_PAGE], pages
            cursor = {"cursor": page["next"]}
        raise AssertionError


async def _compare(kind: str, questions: Sequence[Question], sides: Sides, report: Report) -> None:
    """Put each question in both ways, in turns."""
    by_console: list[float] = []
    by_sql: list[float] = []
    pages = 0
    for number, question in enumerate(questions):
        if number % 2:
            (found, needed), took = await _timed(sides.api(question))
            known, sql_took = await _timed(sides.sql(question))
        else:
            known, sql_took = await _timed(sides.sql(question))
            (found, needed), took = await _timed(sides.api(question))
        pages += needed
        by_console.append(took)
        by_sql.append(sql_took)
        report.expect(found == known, f"{kind}: the console found {len(found)} rows, and SQL {len(known)}")
    for name, times in (("console", by_console), ("SQL", by_sql)):
        for part in (0.5, 0.99):
            report.add(f"{kind}, {name}, p{part * 100:g}", "ms", _quantile(times, part) * 1000)
    report.add(f"{kind}, pages a search", "", pages / len(questions))


async def _timed(work: Awaitable[T]) -> tuple[T, float]:
    began = time.perf_counter()
    result = await work
    return result, time.perf_counter() - began


def _quantile(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(part * len(ordered)))]
