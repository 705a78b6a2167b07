"""Loki's query API on a real PostgreSQL: what LogQL wants is what PostgreSQL finds, and a client that pages by time gets each line once."""

import asyncio
import json
import os
import random
import sys

from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import asyncpg
import httpx
import pytest

from asgi_lifespan import LifespanManager
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from served import served
from surroundings import as_role, make_tables
from test_reading_store import insert

from clients.install import PROGRAMS, installed
from console.app import create_app
from console.loki.conditions import LokiFilter
from console.loki.counting import Steps, count_lines
from console.loki.lines import Range, find_lines
from console.loki.logql import parse_selector
from console.loki.pattern import parse_pattern
from console.loki.wanted import filter_of
from console.parameters import Parameters
from console.query import FILTERS, Order, Query, parse_filter
from console.row import Row
from console.search import search
from console.settings import ConsoleSettings
from console.store import PostgresStore
from console.tests.fakes import FakeStore, a_row
from console.tests.loki_rows import (
    BASE,
    KEYS,
    MATCHERS,
    NAMES,
    QUERIES,
    REASONS,
    STAGES,
    TEXTS,
    VALUES,
    Said,
    parameters,
)
from console.tests.test_loki_pattern import EXPRESSIONS, LETTERS
from shared.event.times import epoch_us
from shared.process.http_client import http_client
from shared.wire.problem import BadRequestError
from testbed.patience import patience

pytestmark = pytest.mark.services

NS: Final = epoch_us(BASE) * 1000
WITHIN: Final = Range(NS, NS + 10_000)


def some_rows() -> list[Row]:
    """Rows with all that is odd, written as PostgreSQL writes attributes."""
    drawn = random.Random(11)
    rows = []
    for seq in range(1, 201):
        reason = drawn.choice(REASONS)
        attributes = {key: drawn.choice(VALUES) for key in drawn.sample(KEYS, drawn.randrange(5))}
        rows.append(
            a_row(
                seq, BASE + timedelta(microseconds=drawn.randrange(4)), service_name=drawn.choice(NAMES), message=drawn.choice(TEXTS),
                level=drawn.choice(["TRACE", "INFO", "WARN", "ERROR", "FATAL"]), correlation_id=drawn.choice(["trace-1", "trace-2", ""]),
                attributes=json.dumps(attributes), origin_region=drawn.choice(["region-a", "region-b"]), late=reason is not None,
                stored_by=drawn.choice(["region-a/consumer-a/1", "region-b/consumer-b/2"]), late_reason=reason,
                late_by_ms=None if reason is None else 5,
            )
        )  # fmt: skip
    return rows


ROWS: Final = some_rows()


@pytest.fixture(name="store")
async def a_store(postgres: str) -> AsyncIterator[PostgresStore]:
    """A database with `ROWS`."""
    await make_tables(postgres)
    await insert(postgres, ROWS)
    async with PostgresStore(as_role("logs_api", postgres)) as store:
        yield store


async def numbers(store: Any, wanted: LokiFilter) -> list[int]:
    async with store.session(None) as session:
        return [entry.row.seq for entry in (await find_lines(session, wanted, WITHIN, Order.ASC, 5000)).entries]


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(QUERIES)
async def test_postgresql_finds_what_a_query_wants(store: PostgresStore, query: str) -> None:
    wanted = filter_of(parse_selector(query))

    assert await numbers(store, wanted) == await numbers(FakeStore(list(ROWS)), wanted)


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(MATCHERS, STAGES)
async def test_logql_finds_what_a_search_finds(store: PostgresStore, matchers: list[Said], stages: list[Said]) -> None:
    query = "{" + ",".join(said[1] for said in matchers) + "} " + " ".join(said[1] for said in stages)
    searched = parse_filter(Parameters(parameters([*matchers, *stages]), FILTERS, attributes=True))

    async with store.session(None) as session:
        page = await search(Query(WITHIN.span, searched, Order.ASC, limit=1000), session)
    assert await numbers(store, filter_of(parse_selector(query))) == [row.seq for row in page.items]


@pytest.fixture(name="connection")
async def a_connection(postgres: str) -> AsyncIterator[asyncpg.Connection]:
    """An empty database."""
    connection = await asyncpg.connect(postgres)
    yield connection
    await connection.close()


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(["", "(?i)", "(?s)", "(?is)"]),
    EXPRESSIONS,
    st.lists(st.text(LETTERS, max_size=6), min_size=1, max_size=8),
)
async def test_postgresql_matches_as_python_does(
    connection: asyncpg.Connection, flags: str, expression: str, texts: Sequence[str]
) -> None:
    statement = (
        'SELECT t COLLATE "C" ~ $2, t COLLATE "C" ~ $3 FROM unnest($1::text[]) WITH ORDINALITY AS u (t, n) ORDER BY n'
    )
    for of_label in (False, True):
        pattern = parse_pattern(flags + expression, of_label=of_label)
        found = await connection.fetch(statement, texts, pattern.postgres, pattern.postgres_whole)
        assert [tuple(one) for one in found] == [(pattern.is_in(text), pattern.is_all_of(text)) for text in texts]


async def test_an_expression_that_is_too_complex_for_postgresql_is_refused(store: PostgresStore) -> None:
    wanted = filter_of(parse_selector('{} |~ "(([^a]{1,10}){1,10}){1,10}"'))
    async with store.session(None) as session:
        try:
            await find_lines(session, wanted, WITHIN, Order.ASC, 10)
        except BadRequestError as exc:
            assert "too complex" in exc.detail  # noqa: PT017 - either is right, and nothing else
    async with store.session(None) as session:
        assert (await find_lines(session, LokiFilter(), WITHIN, Order.ASC, 10)).entries


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.builds(Steps, st.integers(NS // 1000 - 5, NS // 1000 + 5), st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([None, (), ("level",), ("service_name", "late"), ("region",)]),
)  # fmt: skip
async def test_postgresql_counts_what_is_there(store: PostgresStore, steps: Steps, by: tuple[str, ...] | None) -> None:
    found = []
    for one in (store, FakeStore(list(ROWS))):
        async with one.session(None) as session:
            found.append(await count_lines(session, LokiFilter(), steps, by))

    assert found[0] == found[1]


@pytest.mark.parametrize("direction", ["forward", "backward"])
@pytest.mark.parametrize("batch", [100, 999])
async def test_a_client_that_pages_by_time_alone_gets_each_of_2700_lines_of_three_microseconds_once(
    postgres: str, direction: str, batch: int
) -> None:
    await make_tables(postgres)
    await insert(postgres, [a_row(seq, BASE + timedelta(microseconds=seq % 3)) for seq in range(1, 2701)])
    dsn, password = as_role("logs_api", postgres), ""
    app = create_app(ConsoleSettings(postgres_dsn=dsn, postgres_password=password, query_seconds_a_minute=0))
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            lines = await paged(client, direction, batch)

    assert sorted(lines) == sorted(f"line {seq}" for seq in range(1, 2701))


async def paged(client: httpx.AsyncClient, direction: str, batch: int) -> list[str]:
    """
    Page as `logcli` does.

    The next page begins at the time of the last line, which is asked for once more; the lines that are known are left out.
    """
    start, end, lines = NS, NS + 3000, []
    known: set[tuple[str, str]] = set()
    while True:
        answer = await client.get(
            "/loki/api/v1/query_range",
            params={
                "query": '{service_name="checkout"}',
                "start": start,
                "end": end,
                "limit": batch,
                "direction": direction,
            },
        )
        assert answer.status_code == 200, answer.text
        page = [(time, line) for stream in answer.json()["data"]["result"] for time, line in stream["values"]]
        fresh = [entry for entry in page if entry not in known]
        lines += [line for _, line in fresh]
        if len(page) < batch or not fresh:
            return lines
        last = page[-1][0]
        known = {entry for entry in page if entry[0] == last}
        if direction == "forward":
            start = int(last)
        else:
            end = int(last) + 1


@pytest.mark.real_time
async def test_a_client_of_other_make_understands_the_answers(postgres: str) -> None:
    now = datetime.now(UTC)
    await make_tables(postgres)
    rows = [a_row(seq, now - timedelta(seconds=seq), level="ERROR" if seq % 2 else "INFO") for seq in range(1, 8)]
    await insert(postgres, [*rows, a_row(9, now - timedelta(seconds=9), service_name="pay")])
    kit = await asyncio.to_thread(installed, "python-reading")
    app = create_app(ConsoleSettings(postgres_dsn=as_role("logs_api", postgres)))
    async with served(app) as address:
        program = await asyncio.create_subprocess_exec(
            sys.executable,
            str(PROGRAMS / "python" / "read_loki.py"),
            address,
            "checkout",
            env={"PATH": os.environ["PATH"], "PYTHONPATH": str(kit)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        said, log = await asyncio.wait_for(program.communicate(), patience(120))

    assert program.returncode == 0, log.decode()
    assert json.loads(said) == {
        "labels": ["late", "level", "region", "service_name"],
        "services": ["checkout", "pay"],
        "series": [
            {"service_name": "checkout", "level": level, "region": "region-a", "late": "false"}
            for level in ("ERROR", "INFO")
        ],
        "lines": ["line 1", "line 3", "line 5", "line 7"],
        "count": [7.0],
    }


@pytest.mark.real_time
async def test_a_live_view_is_refused_with_a_sentence_on_a_real_socket() -> None:
    app = create_app(ConsoleSettings(postgres_dsn="postgresql://127.0.0.1:1/logs"))
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    }
    async with served(app) as address, http_client(patience(10)) as client:
        answer = await client.get(f"{address}/loki/api/v1/tail", params={"query": "{}"}, headers=upgrade)

    assert answer.status_code == 501
    assert "./setup.sh tail" in answer.json()["message"]
