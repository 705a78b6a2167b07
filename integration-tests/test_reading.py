"""Reading on the running fleet: what was posted is found, the fleet does not need its console, and readers cost no event."""

import asyncio
import json

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from testbed.patience import eventually, patience
from testbed.running_fleet import ROOT, Fleet, an_event, steady_writers

pytestmark = pytest.mark.fleet

NDJSON = {"Accept": "application/x-ndjson"}


async def get(fleet: Fleet, target: str, *, at: str = "", **parameters: Any) -> httpx.Response:
    """Read, and come back when the answer says that others have their turn."""

    async def answered() -> list[httpx.Response]:
        answer = await fleet.http.get(f"{at or fleet.at.gateway}/api/logs{target}", params=parameters)
        assert answer.status_code != 429, answer.text
        return [answer]

    found: list[httpx.Response] = await eventually(answered, "a reader has its turn", within_s=patience(60), every_s=1)
    return found[0]


async def posted(fleet: Fleet, count: int, **fields: Any) -> list[dict[str, Any]]:
    """Post events of a correlation id of their own, and wait for their rows."""
    correlation_id = f"reading-{uuid4()}"
    events = [an_event(correlation_id, message=f"line {n} of it", **fields) for n in range(count)]
    answer = await fleet.post(events, batch=True)
    assert answer.status_code == 202, answer.text
    await fleet.rows([event["eventId"] for event in events])
    return events


@pytest.mark.both_modes
async def test_what_was_posted_is_found_at_both_doors(fleet: Fleet) -> None:
    events = await posted(fleet, 30, attributes={"n": 1.50}, level="ERROR")
    wanted = [event["eventId"] for event in reversed(events)]
    trace = events[0]["correlationId"]

    for door in (fleet.at.gateway, fleet.at.console):
        found = (await get(fleet, "", at=door, correlationId=trace)).json()
        assert [item["eventId"] for item in found["items"]] == wanted
        assert found["complete"]
        assert {item["region"] for item in found["items"]} <= {"region-a", "region-b"}
        pages: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = (await get(fleet, "", at=door, correlationId=trace, limit=7, **cursor)).json()
            pages += [item["eventId"] for item in page["items"]]
            if page["next"] is None:
                break
            cursor = {"cursor": page["next"]}
        assert pages == wanted
        by_text = (await get(fleet, "", at=door, text=["LINE 17 of it"], level="error", **{"attr.n": "1.5"})).json()
        assert events[17]["eventId"] in [item["eventId"] for item in by_text["items"]]

    one = (await get(fleet, f"/{wanted[3]}")).json()
    assert (one["eventId"], one["attributes"]) == (wanted[3], {"n": 1.5})
    around = (await get(fleet, f"/{wanted[3]}/context", before=2, after=1, timestamp=one["timestamp"])).json()
    assert [item["eventId"] for item in around["before"]] == [wanted[5], wanted[4]]
    assert [item["eventId"] for item in around["after"]] == [wanted[2]]
    counts = (await get(fleet, "/histogram", correlationId=trace)).json()
    assert sum(bucket["counts"]["ERROR"] for bucket in counts["buckets"]) == 30
    assert "end-to-end" in (await get(fleet, "/values/service")).json()["values"]


async def test_an_export_through_the_gateway_has_each_row_once_also_when_it_breaks_off(fleet: Fleet) -> None:
    events = [event for _ in range(3) for event in await posted(fleet, 5000)]
    begin = events[0]["timestamp"]
    wanted = {event["eventId"] for event in events}
    target = f"{fleet.at.gateway}/api/logs"

    lines: list[dict[str, Any]] = []
    async with fleet.http.stream("GET", target, params={"from": begin, "order": "asc"}, headers=NDJSON) as answer:
        async for line in answer.aiter_lines():
            lines.append(json.loads(line))
            if len(lines) == 12_000:
                break
    place = max(place for place, line in enumerate(lines) if "at" in line)
    rest = await fleet.http.get(
        target, params={"from": begin, "order": "asc", "cursor": lines[place]["at"]}, headers=NDJSON
    )
    lines = lines[:place] + [json.loads(line) for line in rest.text.splitlines()]

    found = [line["eventId"] for line in lines if "eventId" in line]
    assert lines[-1]["end"]
    assert len(found) == len(set(found))
    assert wanted <= set(found)


@pytest.mark.both_modes
async def test_without_its_console_the_fleet_takes_and_stores_events(fleet: Fleet) -> None:
    await fleet.control("stop", "console")
    try:
        read = await fleet.http.get(f"{fleet.at.gateway}/api/logs")
        ready = await fleet.ready("gateway")
        event = an_event()
        written = await fleet.post(event)
        await fleet.rows([event["eventId"]])
    finally:
        await fleet.control("start", "console")
    await fleet.all_ready()

    assert read.status_code == 503
    assert "the console, which finds stored events, does not answer" in read.json()["detail"]
    assert (ready, written.status_code) == (True, 202)
    assert (await get(fleet, f"/{event['eventId']}")).status_code == 200


async def test_without_postgresql_readers_are_told_and_writers_go_on(fleet: Fleet) -> None:
    event = an_event()
    await fleet.control("suspend", "postgres")
    try:
        reads = [await get(fleet, "", text="x") for _ in range(2)]
        written = await fleet.post(event)
        await eventually(partial(is_not_ready, fleet), "the console says so", within_s=patience(15))
    finally:
        await fleet.control("resume", "postgres")
    await fleet.rows([event["eventId"]])
    await fleet.all_ready()

    assert written.status_code == 202
    for read in reads:
        assert read.status_code == 503
        assert "PostgreSQL does not answer" in read.json()["detail"]
    assert (await get(fleet, f"/{event['eventId']}")).status_code == 200


async def is_not_ready(fleet: Fleet) -> bool:
    return not await fleet.ready("console")


@asynccontextmanager
async def worst_readers(fleet: Fleet) -> AsyncIterator[list[int]]:
    """Ten clients that look for a text that is nowhere, in a month of events, again and again; their statuses."""
    statuses: list[int] = []

    async def read() -> None:
        cursor: dict[str, str] = {}
        while True:
            answer = await fleet.http.get(
                f"{fleet.at.console}/api/logs", params={"from": "-31d", "text": f"nowhere {uuid4()}"} | cursor
            )
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                await asyncio.sleep(1)

    readers = [asyncio.create_task(read()) for _ in range(10)]
    try:
        yield statuses
    finally:
        for one in readers:
            one.cancel()
        await asyncio.wait(readers)


async def test_ten_of_the_worst_readers_cost_no_event_and_leave_nothing_behind(fleet: Fleet) -> None:
    day = datetime.now(UTC).date()
    async with steady_writers(fleet) as acknowledged, worst_readers(fleet) as statuses:
        await eventually(lambda: len(statuses) > 30, "readers read", within_s=patience(60))
        count = len(acknowledged)
        await eventually(lambda: len(acknowledged) > count + 200, "events are acknowledged", within_s=patience(60))
        await fleet.rows(acknowledged[: count + 200])
    assert set(statuses) <= {200, 429}
    assert 200 in statuses

    async def nothing_runs() -> bool:
        [row] = await fleet.query(
            "SELECT count(*) AS n FROM pg_stat_activity WHERE application_name = 'console' AND state <> 'idle' AND query LIKE '%FROM logs%'"
        )
        return bool(row["n"] == 0)

    await eventually(nothing_runs, "no statement of theirs runs on", within_s=patience(10))
    [row] = await fleet.query("SELECT has_log_partition($1) AS made", day)
    assert row["made"]
    await fleet.rows(acknowledged)


async def test_in_native_mode_the_console_stands_behind_the_writers(fleet: Fleet) -> None:
    await fleet.all_ready()
    pid = int((ROOT / ".run/pid/console").read_text().split()[0])
    gateway = int((ROOT / ".run/pid/gateway").read_text().split()[0])

    assert nice(pid) == nice(gateway) + 5


def nice(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])
