"""Each tenant reads its own: no route returns or counts a row of another one, and no route is left out of this test."""

import asyncio
import re

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import httpx
import pytest

from asgi_lifespan import LifespanManager
from starlette.types import ASGIApp, Receive, Scope, Send

from console.app import create_app, create_internal_app
from console.filter import Filter
from console.marks import newest
from console.row import Row
from console.settings import ConsoleSettings
from console.tail.fanouts import FanOuts
from console.tests.fake_table import FakeTable
from console.tests.fakes import FakeStore, a_row
from console.tests.test_app import NOW
from console.tests.test_tail import Client, has
from console.tests.test_trace import CONSUMERS, Consumers
from shared.event.times import epoch_us
from shared.wire.internal import PREFIX
from shared.wire.reading import TENANT_HEADER
from testbed.doors import Doors

ID: Final = UUID(int=1)
THEIRS: Final = UUID(int=77)
LOKI: Final = "/loki/api/v1"
ALL: Final = {"query": '{service_name=~".+"}'}
SINCE: Final = str(int((NOW - timedelta(minutes=10)).timestamp()))
UNTIL: Final = str(int(NOW.timestamp()) + 1)
RANGE: Final = {"start": SINCE, "end": UNTIL}


@dataclass(frozen=True, slots=True)
class Person:
    """Whose key a request has, as the door leaves it in the scope."""

    tenant: str
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class Asked:
    """
    A request for a route.

    Attributes:
        shows: Whether it shows events, or numbers of them: then their own tenant must find them.
    """

    path: str
    params: dict[str, str] | None = None
    shows: bool = True


# Every route of the console with what is asked of it.
ROUTES: Final[dict[str, Sequence[Asked]]] = {
    "/api/logs": [
        Asked("/api/logs"),
        Asked("/api/logs", {"service": "acme-pay"}),
        Asked("/api/logs", {"by": "stored"}),
    ],
    "/api/logs/{event_id}": [Asked(f"/api/logs/{THEIRS}"), Asked(f"/api/logs/{ID}", shows=False)],
    "/api/logs/{event_id}/context": [
        Asked(f"/api/logs/{THEIRS}/context"),
        Asked(f"/api/logs/{ID}/context", {"same": "all"}, shows=False),
    ],
    "/api/logs/{event_id}/trace": [Asked(f"/api/logs/{THEIRS}/trace")],
    "/api/logs/histogram": [Asked("/api/logs/histogram", {"by": by}) for by in ("level", "service", "region", "none")],
    "/api/logs/values/{field}": [Asked(f"/api/logs/values/{field}") for field in ("service", "region", "lateReason")],
    f"{LOKI}/query_range": [
        Asked(f"{LOKI}/query_range", ALL | RANGE),
        Asked(f"{LOKI}/query_range", {"query": 'count_over_time({service_name=~".+"}[1m])', "step": "60"} | RANGE),
    ],
    f"{LOKI}/query": [
        Asked(f"{LOKI}/query", {"query": 'sum(count_over_time({service_name=~".+"}[10m]))', "time": UNTIL})
    ],
    f"{LOKI}/label/{{name}}/values": [Asked(f"{LOKI}/label/{name}/values") for name in ("service_name", "region")],
    f"{LOKI}/series": [Asked(f"{LOKI}/series", {"match[]": ALL["query"]} | RANGE)],
    f"{LOKI}/index/stats": [Asked(f"{LOKI}/index/stats", ALL | RANGE)],
    f"{LOKI}/index/volume": [Asked(f"{LOKI}/index/volume", ALL | RANGE)],
    f"{LOKI}/index/volume_range": [Asked(f"{LOKI}/index/volume_range", ALL | RANGE | {"step": "60"})],
    f"{LOKI}/detected_labels": [Asked(f"{LOKI}/detected_labels", shows=False)],
    f"{LOKI}/detected_fields": [Asked(f"{LOKI}/detected_fields", ALL | RANGE)],
    f"{LOKI}/detected_field/{{name}}/values": [Asked(f"{LOKI}/detected_field/acme_key/values", ALL | RANGE)],
    "/": [Asked("/"), Asked("/", {"service": "acme-pay"}, shows=False)],
    "/events/{event_id}": [Asked(f"/events/{THEIRS}")],
}
# They know no event: names, forms, files, refusals, and how replication is.
WITHOUT: Final = {
    f"{LOKI}/format_query", f"{LOKI}/label", f"{LOKI}/labels", f"{LOKI}/patterns", f"{LOKI}/drilldown-limits", f"{LOKI}/status/buildinfo",
    f"{LOKI}/tail", f"{LOKI}/push", "/api/prom/{path:path}", "/loki/{path:path}", "/health", "/ready", "/metrics", "/internal/{path:path}",
    "/docs", "/openapi.json", "/api/replication/history", "/static/{version}/{name}", "/api/replication", "/tail", "/replication",
}  # fmt: skip
# It has no end, and has a test of its own.
ENDLESS: Final = {"/api/logs/tail"}


def ours() -> list[Row]:
    return [a_row(seq, NOW - timedelta(seconds=seq), correlation_id=f"trace-{seq % 2}") for seq in (1, 3, 5)]


def theirs() -> list[Row]:
    """Rows among ours, with an id that we have as well, and all that a reader may list or count."""
    shared: dict[str, Any] = {
        "service_name": "acme-pay",
        "origin_region": "acme-region",
        "attributes": '{"acme_key": "acme"}',
    }
    late: dict[str, Any] = {"late": True, "late_by_ms": 7, "late_reason": "acme-delayed"}
    return [
        a_row(2, NOW - timedelta(seconds=1), event_id=ID, message="acme-secret", correlation_id="trace-1", **shared),
        a_row(4, NOW - timedelta(seconds=3), event_id=THEIRS, message="acme-secret", **shared, **late),
    ]


class Door:
    """Leaves in each request's scope whose key it has, as what asks for keys does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        named = dict(scope.get("headers", ())).get(b"of")
        await self._app(scope if named is None else {**scope, "principal": Person(named.decode())}, receive, send)


@asynccontextmanager
async def console(others: dict[str, list[Row]], consumers: Consumers | None = None) -> AsyncIterator[httpx.AsyncClient]:
    settings = ConsoleSettings(consumers=CONSUMERS)
    store = FakeStore(ours(), of_tenants=others)
    app = create_app(settings, store=store, wall_us=lambda: epoch_us(NOW), transport=consumers or Consumers())
    async with LifespanManager(Doors(app, create_internal_app(app))) as manager:
        transport = httpx.ASGITransport(Door(manager.app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://console.test") as client:
            yield client


def seen(answer: httpx.Response) -> tuple[int, str]:
    """Return what a reader can tell from an answer; how long it took is no matter."""
    return answer.status_code, re.sub(r'"tookMs":\d+|[\d.,]+ m?s\b', "", answer.text)


def paths_of(routes: Iterable[Any]) -> Iterator[str]:
    for route in routes:
        if hasattr(route, "path"):
            yield route.path
        else:
            yield from paths_of(route.original_router.routes)


def test_every_route_is_in_the_tables_here() -> None:
    app = create_app(ConsoleSettings(), store=FakeStore())

    assert set(paths_of(app.routes)) == ROUTES.keys() | WITHOUT | ENDLESS, (
        "say here what another tenant's key gets of it"
    )


@pytest.mark.parametrize(
    "asked", [asked for each in ROUTES.values() for asked in each], ids=lambda a: f"{a.path} {a.params or ''}"
)
async def test_no_other_tenants_key_gets_or_counts_a_row(asked: Asked) -> None:
    async with console({"acme": theirs()}) as both, console({}) as alone:
        for of in ({}, {"of": "default"}, {"of": "beta"}):
            answer = await both.get(asked.path, params=asked.params, headers=of)
            expected = await alone.get(asked.path, params=asked.params, headers=of)
            assert answer.status_code < 500, answer.text
            assert seen(answer) == seen(expected), "the other tenant's rows make no difference"
        if asked.shows:
            own = await both.get(asked.path, params=asked.params, headers={"of": "acme"})
            assert own.status_code == 200, own.text
            assert seen(own) != seen(await alone.get(asked.path, params=asked.params, headers={"of": "acme"}))


async def test_an_export_has_its_tenants_rows() -> None:
    accept = {"accept": "application/x-ndjson"}
    async with console({"acme": theirs()}) as client:
        exports = [await client.get("/api/logs", headers=accept | {"of": of}) for of in ("default", "acme", "beta")]

    assert [export.text.count('"eventId"') for export in exports] == [3, 2, 0]
    assert ["acme-secret" in export.text for export in exports] == [False, True, False]


async def test_values_that_were_found_for_one_tenant_are_not_shown_to_another() -> None:
    async with console({"acme": theirs()}) as client:
        found = [
            (await client.get("/api/logs/values/service", headers={"of": of})).json() for of in ("acme", "default")
        ]

    assert [each["values"] for each in found] == [["acme-pay"], ["checkout"]]


async def test_a_gateway_names_its_clients_tenant_at_the_internal_listener_alone() -> None:
    named = {TENANT_HEADER: "acme"}
    async with console({"acme": theirs()}) as client:
        inside = await client.get(f"http://internal{PREFIX}/api/logs", headers=named)
        outside = await client.get("/api/logs", headers=named)

    assert {item["message"] for item in inside.json()["items"]} == {"acme-secret"}
    assert {item["serviceName"] for item in outside.json()["items"]} == {"checkout"}


async def test_a_life_is_asked_for_in_its_tenant() -> None:
    consumers = Consumers()
    async with console({"acme": theirs()}, consumers) as client:
        for of in ("acme", "default"):
            await client.get(f"/api/logs/{ID}/trace", headers={"of": of})

    assert [question.tenant for question in consumers.questions] == ["acme", "acme", None, None]


async def test_a_tail_has_its_tenants_rows_and_all_of_them() -> None:
    table = FakeTable()
    async with FanOuts(table) as fan_outs:
        async with table.snapshot(None) as now:
            begin = newest(await now.marks())
        clients = {tenant: Client(fan_outs.of(tenant), begin, Filter()) for tenant in (None, "acme", "beta")}
        tasks = [asyncio.create_task(client.run()) for client in clients.values()]
        slow = table.insert(2, generation=2)
        for row in slow.rows:
            table.whose[row.seq] = "acme"
        for number in range(1, 6):
            [row] = table.insert(1).rows
            if number % 2:
                table.whose[row.seq] = "acme"
            table.rows.append(row)
            table.marks[1] = row.seq
        slow.commit()
        await has(clients[None], [row.seq for row in table.rows if row.seq not in table.whose])
        await has(clients["acme"], list(table.whose))
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    assert clients["beta"].seen == []
