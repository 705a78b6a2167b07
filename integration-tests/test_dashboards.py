"""
Dashboards and what they stand on, on the running fleet: each part is scraped, each query of each panel has an answer.

Queries are put to Prometheus and PostgreSQL as Grafana would put them, whether there is a Grafana or not. Where one is, it
has to have taken the dashboards as they are.
"""

import asyncio
import json
import os
import re

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import httpx
import pytest

from test_contracts import EXPORTERS, PROCESS

from testbed.patience import eventually
from testbed.running_fleet import REGIONS, ROOT, Fleet, an_event, steady_writers

pytestmark = [pytest.mark.fleet, pytest.mark.both_modes]

BOARDS: Final[dict[str, dict[str, Any]]] = {
    path.stem: json.loads(path.read_text()) for path in sorted((ROOT / "grafana/dashboards").glob("*.json"))
}
# What Grafana makes of its macros in a statement, for the last quarter of an hour.
MACROS: Final = (
    (r"\$__timeFilter\(([^()]+)\)", r"\1 BETWEEN now() - interval '15 minutes' AND now()"),
    (r"\$__timeGroupAlias\(([^(),]+),[^()]*\)", r"""date_bin('15 s', \1, 'epoch') AS "time\""""),
)


def queries(kind: str) -> dict[str, str]:
    """Return all queries of a kind, `expr` or `rawSql`, by where they stand."""
    return {
        f"{board['title']}: {panel['title']}: {target[kind][:80]}": with_values(target[kind], board)
        for board in BOARDS.values()
        for panel in board["panels"]
        for target in panel.get("targets", [])
        if kind in target
    }


def with_values(query: str, board: dict[str, Any]) -> str:
    """Put in what the dashboard's variables have at first, and what Grafana knows by itself."""
    for pattern, replacement in MACROS:
        query = re.sub(pattern, replacement, query)
    query = re.sub(r"\$\{?__rate_interval\}?", "1m", query)
    for variable in board["templating"].get("list", []):
        if "current" not in variable:
            continue  # of links, which are no queries
        value = variable["current"]["value"]
        value = variable["allValue"] if value == "$__all" else value
        query = re.sub(rf"\$\{{?{variable['name']}(:\w+)?\}}?(?!\w)", value, query)
    return query


def search_statement(statement: str, **values: str) -> str:
    """Fill a statement of the *Logs* dashboard with values as a user chooses and types them."""
    for pattern, replacement in MACROS:
        statement = re.sub(pattern, replacement, statement)
    wanted = {"correlationId": "", "service": "*", "level": "TRACE", "text": "", "late": "all", "region": ".*"} | values
    # In one go, as the data source does with variables that are no lists: what was typed is not searched for others.
    names = re.compile(rf"\$\{{?({'|'.join(wanted)})(?::\w+)?\}}?(?!\w)")
    return names.sub(lambda match: wanted[match[1]].replace("'", "''"), statement)


@asynccontextmanager
async def steady_reader(fleet: Fleet) -> AsyncIterator[None]:
    """Search once a second: what reading takes is told of those who read."""

    async def read() -> None:
        while True:
            await fleet.http.get(f"{fleet.at.gateway}/api/logs", params={"limit": 10})
            await asyncio.sleep(1)

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def test_every_panel_of_every_dashboard_has_something_to_show(fleet: Fleet) -> None:
    expressions, statements = queries("expr"), queries("rawSql")
    assert len(expressions) > 80
    assert len(statements) > 5

    async def answered(expression: str) -> bool:
        return bool(await fleet.prometheus(expression))

    async def found(statement: str) -> bool:
        return bool(await fleet.query(statement))

    async with steady_writers(fleet), steady_reader(fleet):
        for name, expression in expressions.items():
            await eventually(partial(answered, expression), f"something for {name}", within_s=60, every_s=1)
        for name, statement in statements.items():
            await eventually(partial(found, statement), f"something for {name}", within_s=15, every_s=1)


async def test_a_search_finds_what_was_logged_and_nothing_else(fleet: Fleet) -> None:
    marked = an_event('it\'s "odd"', message="100% of it", level="ERROR", serviceName="o'brien")
    other = an_event("another", message="100 of it", level="INFO")
    umlaut = an_event("another", message="ÜBERLAUF in user_id, C:\\temp")
    answer = await fleet.post([marked, other, umlaut], batch=True)
    assert answer.status_code == 202
    await fleet.rows([marked["eventId"], other["eventId"], umlaut["eventId"]])
    [statement] = [
        target["rawSql"]
        for panel in BOARDS["logs"]["panels"]
        for target in panel.get("targets", [])
        if panel["title"] == "Events"
    ]

    async def search(**values: str) -> set[str]:
        return {row["eventId"] for row in await fleet.query(search_statement(statement, **values))}

    one = {marked["eventId"]}
    both = one | {other["eventId"]}
    assert await search() >= both
    assert await search(correlationId='it\'s "odd"') >= one
    assert not await search(correlationId='it\'s "odd"') & {other["eventId"]}
    assert await search(service="o'brien", level="ERROR") >= one
    assert not await search(level="FATAL") & both
    assert await search(text="100% of it", service="o'brien") >= one
    assert not await search(text="1% of it") & both
    assert await search(text="überlauf in USER_ID, c:\\TEMP") >= {umlaut["eventId"]}
    assert not await search(text="user%id") & {umlaut["eventId"]}
    assert not await search(text="user.id") & {umlaut["eventId"]}
    assert not await search(late="late") & both


async def test_prometheus_scrapes_every_part_and_its_exporters_see_what_they_watch(fleet: Fleet) -> None:
    async def all_up() -> bool:
        answer = await fleet.http.get(f"{fleet.at.prometheus}/api/v1/targets", params={"state": "active"})
        targets = answer.json()["data"]["activeTargets"]
        ill = [target["scrapeUrl"] for target in targets if target["health"] != "up"]
        assert not ill, ill
        jobs = {target["labels"]["job"] for target in targets}
        assert jobs >= {"gateway", "producer", "consumer", "kafka", "mirrormaker", "postgres", "redis", "disks"}
        blind = await fleet.prometheus("pg_up == 0 or redis_up == 0")
        assert not blind, blind
        return True

    await eventually(all_up, "every target is up", within_s=60, every_s=1)


@pytest.mark.parametrize("name", sorted(EXPORTERS | PROCESS))
async def test_what_is_listed_as_an_exporters_is_exported(fleet: Fleet, name: str) -> None:
    async def there() -> bool:
        return bool(await fleet.prometheus(f"count({name})"))

    await eventually(there, f"{name} is exported", within_s=45, every_s=1)


async def test_no_rule_has_an_error_and_objectives_are_recorded(fleet: Fleet) -> None:
    async def evaluated() -> bool:
        groups = (await fleet.http.get(f"{fleet.at.prometheus}/api/v1/rules")).json()["data"]["groups"]
        wrong = [rule for group in groups for rule in group["rules"] if rule["health"] != "ok"]
        assert not wrong, wrong
        return bool(groups)

    async with steady_writers(fleet):
        await eventually(evaluated, "all rules are evaluated", within_s=90, every_s=1)


async def test_a_grafana_has_taken_the_dashboards_as_they_are(fleet: Fleet) -> None:
    login = httpx.BasicAuth("logs", os.environ.get("GRAFANA_PASSWORD", "logs"))
    try:
        listed = await fleet.http.get(f"{fleet.at.grafana}/api/search", params={"type": "dash-db"}, auth=login)
    except httpx.ConnectError:
        # Native mode without the program: the queries above were asked all the same.
        assert (await fleet.try_control("status"))[1].count("grafana            --  not installed") == 1
        return
    assert {board["uid"] for board in listed.json()} == {board["uid"] for board in BOARDS.values()}

    async def all_answered() -> bool:
        # Some Grafanas cannot render and answer this. Then each query is put to the provisioned data source.
        answer = await fleet.http.get(f"{fleet.at.grafana}/api/standin/panels")
        if answer.status_code == 404:
            return True
        wrong = [asked for asked in answer.json() if asked["status"] != "ok"]
        assert not wrong, wrong
        return True

    async with steady_writers(fleet):
        await eventually(all_answered, "each query has an answer", within_s=90, every_s=2)


async def test_the_gateway_tells_how_old_the_newest_heartbeat_is(fleet: Fleet) -> None:
    for source, target in (REGIONS, REGIONS[::-1]):
        labels = f'{{source="{source}", target="{target}"}}'

        async def young(labels: str = labels) -> bool:
            found = await fleet.prometheus(f"replication_heartbeat_age_seconds{labels}")
            return bool(found) and float(found[0]["value"][1]) < 10

        await eventually(young, "heartbeats get through", within_s=60, every_s=1)
