"""Events by id, those around one, counts, values, exports: over HTTP, with a database in memory."""

import asyncio
import json

from collections import Counter
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest

from hypothesis import given
from hypothesis import strategies as st

from console.cursor import Cursor
from console.events import ALWAYS
from console.export import lines
from console.histogram import MAX_BUCKETS, histogram, parse_interval
from console.ports import Group
from console.query import Query, Span
from console.row import Row
from console.tests.fakes import STORE, FakeStore, a_row
from console.tests.test_app import NOW, console, some_rows
from console.tests.test_search import BASE, ROWS, SPAN
from shared.event.times import format_time


async def test_an_event_is_found_by_its_id_with_and_without_its_time() -> None:
    row = a_row(7, NOW, message="x" * 10_000, attributes='{"n": 1.50, "big": 18446744073709551615}')
    async with console(FakeStore([*some_rows(5), row])) as client:
        by_both = await client.get(f"/api/logs/{row.event_id}", params={"timestamp": format_time(NOW)})
        by_id = await client.get(f"/api/logs/{row.event_id}")
        elsewhen = await client.get(f"/api/logs/{row.event_id}", params={"timestamp": "2026-11-26T12:15:00.000001Z"})
        nowhere = await client.get(f"/api/logs/{UUID(int=99)}")
        nothing = await client.get("/api/logs/nothing")

    assert by_both.status_code == by_id.status_code == 200
    assert by_both.json() == by_id.json()
    assert by_id.json()["message"] == "x" * 10_000  # whole
    assert '"n": 1.50, "big": 18446744073709551615' in by_id.text
    assert "no event with this id and timestamp" in elsewhen.json()["detail"]
    assert (elsewhen.status_code, nowhere.status_code, nothing.status_code) == (404, 404, 400)
    assert "'nothing' is no event id" in nothing.json()["detail"]


async def test_several_events_of_one_id_are_told_with_their_links() -> None:
    rows = [a_row(seq, NOW + timedelta(days=seq), event_id=UUID(int=1)) for seq in (1, 2)]
    async with console(FakeStore(rows)) as client:
        answer = await client.get(f"/api/logs/{UUID(int=1)}")
        each = [await client.get(item["href"]) for item in answer.json()["items"]]

    assert answer.status_code == 300
    assert [one.json()["seq"] for one in each] == [2, 1]


@pytest.mark.parametrize(
    ("same", "before", "after"),
    [("correlation", [2, 4], [8, 10]), ("service", [3, 5], [7, 9]), ("all", [4, 5], [7, 8])],
)
async def test_the_events_around_one(same: str, before: list[int], after: list[int]) -> None:
    rows = [a_row(seq, NOW + timedelta(hours=seq), correlation_id=f"t{seq % 2}") for seq in range(1, 12)]
    rows = [
        row if row.seq % 2 or row.seq == 6 else a_row(row.seq, row.event_time, correlation_id="t0", service_name="o")
        for row in rows
    ]
    async with console(FakeStore(rows)) as client:
        answer = await client.get(f"/api/logs/{UUID(int=6)}/context", params={"before": 2, "after": 2, "same": same})

    found = answer.json()
    assert answer.status_code == 200
    assert ([row["seq"] for row in found["before"]], found["event"]["seq"]) == (before, 6)
    assert ([row["seq"] for row in found["after"]], found["complete"]) == (after, True)


@given(ROWS, st.sampled_from(["10ms", "1s", "auto"]), st.sampled_from([Group.SERVICE, Group.LEVEL, Group.NONE]))
async def test_counts_are_those_of_the_rows(rows: list[Row], interval: str, group: Group) -> None:
    width = parse_interval(interval, SPAN)
    async with FakeStore(rows).session(None) as session:
        found = await histogram(Query(SPAN), width, group, session, asyncio.get_running_loop().time)

    name: Callable[[Row], str] = {
        Group.SERVICE: lambda row: row.service_name,
        Group.LEVEL: lambda row: row.level,
        Group.NONE: lambda _: "all",
    }[group]
    wanted = Counter(
        (row.place[0] // width.us * width.us, name(row)) for row in rows if SPAN.begin <= row.place[0] < SPAN.end
    )
    assert {(at, one): n for at, counts in found.buckets.items() for one, n in counts.items()} == wanted
    assert found.next is None


@given(st.integers(0, 10**15), st.integers(1, 10**16))
def test_an_interval_that_is_chosen_makes_few_buckets(begin: int, width: int) -> None:
    chosen = parse_interval("auto", Span(begin, begin + width))

    assert width // chosen.us <= 120
    parse_interval(chosen.written, Span(begin, begin + width))


async def test_of_many_services_the_most_frequent_are_told_apart() -> None:
    rows = [a_row(seq, NOW - timedelta(seconds=1), service_name=f"s{seq % 30:02}") for seq in range(1, 906)]
    async with console(FakeStore(rows)) as client:
        answer = await client.get("/api/logs/histogram", params={"by": "service", "interval": "1d"})

    [bucket] = answer.json()["buckets"]
    assert len(bucket["counts"]) == 21
    assert [bucket["counts"][f"s{number:02}"] for number in range(1, 6)] == [31] * 5
    assert sum(bucket["counts"].values()) == 905
    assert bucket["counts"]["(others)"] == 300


async def test_a_histogram_over_http() -> None:
    rows = [a_row(seq, NOW - timedelta(seconds=seq), level="ERROR" if seq > 3 else "INFO") for seq in range(1, 6)]
    async with console(FakeStore(rows)) as client:
        answer = await client.get("/api/logs/histogram", params={"from": "-1m", "interval": "30s"})
        many = await client.get("/api/logs/histogram", params={"from": "-1h", "interval": "1s"})
        none = await client.get("/api/logs/histogram", params={"interval": "soon"})

    assert answer.json()["buckets"] == [{"at": "2026-11-26T12:14:30.000000Z", "counts": {"ERROR": 2, "INFO": 3}}]
    assert (answer.json()["interval"], answer.json()["intervalMs"], answer.json()["by"]) == ("30s", 30_000, "level")
    assert answer.json()["complete"]
    assert f"3600 buckets, and {MAX_BUCKETS} may be" in many.json()["detail"]
    assert "interval must be auto, or like" in none.json()["detail"]


async def test_values_to_filter_by() -> None:
    rows = [
        *some_rows(5),
        a_row(6, NOW, service_name="payments", origin_region="region-b", late=True, late_reason="idle", late_by_ms=3),
    ]
    async with console(FakeStore(rows)) as client:
        found = {
            field: (await client.get(f"/api/logs/values/{field}")).json()
            for field in ("service", "region", "lateReason")
        }
        some = await client.get("/api/logs/values/service", params={"prefix": "pay"})
        none = await client.get("/api/logs/values/colour")

    assert found["service"] == {"values": ["payments", "s0", "s1", "s2"], "complete": True}
    assert found["region"] == {"values": ["region-a", "region-b"], "complete": True}
    assert found["lateReason"] == {"values": ["idle"], "complete": True}
    assert some.json()["values"] == ["payments"]
    assert "there are service, region, lateReason" in none.json()["detail"]


async def exported(client: httpx.AsyncClient, **parameters: Any) -> list[Mapping[str, Any]]:
    answer = await client.get("/api/logs", params=parameters, headers={"Accept": "application/x-ndjson"})
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-ndjson")
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_an_export_has_all_rows_and_an_end() -> None:
    rows = [a_row(seq, NOW - timedelta(milliseconds=seq)) for seq in range(1, 25_001)]
    async with console(FakeStore(rows)) as client:
        found = await exported(client)
        packed = await client.get("/api/logs", headers={"Accept": "application/x-ndjson", "Accept-Encoding": "gzip"})

    marks = [place for place, line in enumerate(found) if "at" in line]
    assert [line["seq"] for line in found if "seq" in line] == list(range(1, 25_001))
    assert marks == [10_000, 20_001]
    assert found[-1] == {"end": True, "count": 25_000, "next": None}
    assert packed.headers["content-encoding"] == "gzip"
    assert [json.loads(line) for line in packed.text.splitlines()][-1] == found[-1]


async def test_an_export_that_broke_off_goes_on_from_the_last_mark() -> None:
    rows = [a_row(seq, NOW - timedelta(milliseconds=seq)) for seq in range(1, 25_001)]
    async with console(FakeStore(rows)) as client:
        first = (await exported(client))[:15_000]
        place = max(place for place, line in enumerate(first) if "at" in line)
        rest = await exported(client, cursor=first[place]["at"])

    kept = [line["seq"] for line in [*first[:place], *rest] if "seq" in line]
    assert kept == list(range(1, 25_001))
    assert rest[-1] == {"end": True, "count": 15_000, "next": None}


async def test_an_export_that_cannot_go_on_says_so_and_has_no_end() -> None:
    store = FakeStore([a_row(seq, BASE) for seq in range(1, 5_001)])
    cursor = Cursor(STORE, b"", ALWAYS.begin, ALWAYS.end, SPAN.begin, SPAN.end, (SPAN.end, 0), back=False, width=0)
    found: list[Any] = []
    async for portion, line in lines(
        Query(SPAN), cursor, partial(store.session, None), asyncio.get_running_loop().time
    ):
        found += [row.seq for row in portion] + ([line] if line else [])
        store.away = "PostgreSQL does not answer"

    assert found[:-1] == list(range(5_000, 3_000, -1))
    assert (found[-1]["cut"], found[-1]["why"], found[-1]["count"]) == (True, "PostgreSQL does not answer", 2_000)


async def test_what_an_export_does_not_take() -> None:
    async with console(FakeStore(some_rows(3))) as client:
        ndjson = {"Accept": "application/x-ndjson"}
        limited = await client.get("/api/logs?limit=3", headers=ndjson)
        broken = await client.get("/api/logs?cursor=c1.x", headers=ndjson)

    assert "'limit' is no parameter here" in limited.json()["detail"]
    assert broken.status_code == 400


async def test_filters_of_the_url_are_those_of_the_rows() -> None:
    rows = [
        a_row(
            1,
            NOW - timedelta(seconds=1),
            level="WARN",
            message="Über 100% of café_1",
            attributes='{"n": 200, "s": "200"}',
        ),
        a_row(2, NOW - timedelta(seconds=2), level="ERROR", message="quiet", attributes='{"n": 200.0}'),
        a_row(
            3,
            NOW - timedelta(seconds=3),
            level="INFO",
            message="über",
            service_name="payments",
            attributes='{"ok": true}',
        ),
    ]
    wanted = {
        "level=warn": [1, 2], "levels=INFO,error": [2, 3], "service=pay*": [3], "service=payments&service=checkout": [1, 2, 3],
        "text=%C3%BCBER": [1, 3], "text=100%25": [1], "text=1%2500": [], "text=CAF%C3%89_": [1], "-text=quiet": [1, 3],
        "attr.n=200": [1, 2], "attr.s=%22200%22": [1], "attr.s=200": [], "attr.n": [1, 2], "attr.ok=true": [3], "attr.ok=1": [],
        "late=false": [1, 2, 3], "late=true": [], "text=": [1, 2, 3], "region=region-a": [1, 2, 3], "service=*": [1, 2, 3],
    }  # fmt: skip
    async with console(FakeStore(rows)) as client:
        found = {
            query: [row["seq"] for row in (await client.get(f"/api/logs?{query}")).json()["items"]] for query in wanted
        }

    assert found == wanted


async def test_what_is_long_is_cut_in_lists_and_whole_on_demand() -> None:
    attributes = json.dumps({"a": 1, "long": "ü" * 5000, "z": 2})
    row = a_row(1, NOW - timedelta(seconds=1), message="é" * 3000, attributes=attributes)
    async with console(FakeStore([row])) as client:
        [short] = (await client.get("/api/logs")).json()["items"]
        [whole] = (await client.get("/api/logs?full=true")).json()["items"]

    assert (short["message"], short["cut"], short["attributes"]["a"]) == ("é" * 1024, True, 1)
    assert set(short["attributes"]["long"]) == {"ü"}
    assert len(json.dumps(short["attributes"], ensure_ascii=False).encode()) < 4200
    assert (whole["message"], whole["attributes"]) == (row.message, json.loads(attributes))
    assert "cut" not in whole
