"""Keys at the console: which requests it lets in, and whose a gateway says that they are."""

import asyncio

from pathlib import Path
from typing import Any, Final

import httpx
import pytest

from asgi_lifespan import LifespanManager

from console.access import RULES, needs
from console.app import create_app, create_internal_app
from console.settings import ConsoleSettings
from console.tests.fake_table import FakeTable
from console.tests.fakes import FakeStore
from console.tests.test_app import NOW, some_rows
from shared.access.needs import PUBLIC, Rule
from shared.access.principal import ANYONE, Principal
from shared.access.scopes import Scope
from shared.event.times import epoch_us
from shared.ingest.caller import PRINCIPAL
from testbed.doors import Doors
from testbed.keys import Keys, all_routes, bearer, known_id
from testbed.patience import eventually

PATHS: Final = ("/api/logs", "/api/logs/tail", "/api/logs/values/service", "/loki/api/v1/labels", "/", "/tail", "/docs", "/nothing")  # fmt: skip


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return Keys(tmp_path / "keys.json")


class Console:
    """A console that asks for keys, and its clients."""

    def __init__(self, keys: Keys, store: FakeStore | None = None, **changes: Any) -> None:
        self.store = store or FakeStore(some_rows(3))
        self.app = create_app(
            ConsoleSettings(**keys.settings, **changes),
            store=self.store,
            table=FakeTable(),
            wall_us=lambda: epoch_us(NOW),
        )

    async def __aenter__(self) -> httpx.AsyncClient:
        self._manager = LifespanManager(Doors(self.app, create_internal_app(self.app)))
        await self._manager.__aenter__()
        transport = httpx.ASGITransport(self._manager.app, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://console.test")
        return self._client

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()
        await self._manager.__aexit__()


@pytest.mark.parametrize("path", PATHS)
async def test_without_a_good_key_nothing_is_read(path: str, keys: Keys) -> None:
    good, writer = keys.make(Scope.READ), keys.make(Scope.WRITE, Scope.ADMIN)
    bad = [{}, bearer("x"), bearer(good[:-1]), bearer(keys.make(Scope.READ, revoked=0.0))]
    console = Console(keys)
    async with console as client:
        answers = [await client.get(path, headers=headers) for headers in bad]
        of_writer = await client.get(path, headers=bearer(writer))
        in_url = await client.get(path, params={"key": good}, headers=bearer(good))

    assert [answer.status_code for answer in answers] == [401] * 4
    assert "Bearer" in answers[0].headers["www-authenticate"]
    assert all({"content-security-policy", "x-content-type-options"} <= {*answer.headers} for answer in answers)
    assert {answer.headers["cache-control"] for answer in answers} == {"no-store"}
    assert of_writer.status_code == {"/docs": 200, "/nothing": 404}.get(path, 403)
    assert in_url.status_code == 400
    assert "must not be in a URL" in in_url.text
    assert console.store.looked_at == []


async def test_with_a_key_searches_and_pages_are_answered(keys: Keys) -> None:
    key = keys.make(Scope.READ)
    async with Console(keys) as client:
        found = await client.get("/api/logs", headers=bearer(key))
        page = await client.get("/", headers=bearer(key))
        as_password = await client.get("/", auth=("any", key))

    assert len(found.json()["items"]) == 3
    assert (page.status_code, as_password.status_code) == (200, 200)
    assert "line 1" in page.text
    assert "line 1" in as_password.text


async def test_probes_and_style_need_no_key(keys: Keys) -> None:
    async with Console(keys) as client:
        health, ready, metrics = [await client.get(path) for path in ("/health", "/ready", "/metrics")]
        inside = await client.get("http://internal/metrics")

    assert (health.status_code, ready.status_code, metrics.status_code) == (200, 200, 401)
    assert 'console_keys_refused_total{reason="missing"} 1.0' in inside.text
    assert "console_keys_file_current 1.0" in inside.text


async def test_what_a_caller_may_have_at_once_is_each_keys_own_wherever_it_is_used(keys: Keys) -> None:
    one, other = keys.make(Scope.READ), keys.make(Scope.READ)
    store = FakeStore(some_rows(3), held=asyncio.Event())
    inside = {"Fleet-Tenant": "default", "Fleet-Key": known_id(one), "Fleet-Caller": "192.0.2.9"}
    async with Console(keys, store, searches_a_caller=1) as client:
        first = asyncio.create_task(client.get("/api/logs", headers=bearer(one)))
        await eventually(lambda: len(store.looked_at) == 1, "the search is under way")
        # From another address, by way of a gateway; and another key from the same address.
        async with asyncio.timeout(60):
            refused = await client.get("http://internal/internal/api/logs", headers=inside)
        second = asyncio.create_task(client.get("/api/logs", headers=bearer(other)))
        await eventually(lambda: len(store.looked_at) == 2, "the other key has its own place")
        assert store.held is not None
        store.held.set()
        answers = [await first, await second]

    assert refused.status_code == 429
    assert [answer.status_code for answer in answers] == [200, 200]


async def test_a_gateway_says_whose_the_request_is_and_a_client_does_not(keys: Keys) -> None:
    key, seen = keys.make(Scope.READ), list[tuple[Principal, str | None]]()
    console = Console(keys)
    looked = console.store.session

    def session(tenant: str | None) -> object:
        seen.append((PRINCIPAL.get(), tenant))
        return looked(tenant)

    console.store.session = session  # type: ignore[method-assign, assignment]
    named = {"Fleet-Tenant": "acme", "Fleet-Key": "abcdefghij", "Fleet-Caller": "192.0.2.1"}
    async with console as client:
        inside = await client.get("http://internal/internal/api/logs", headers=named)
        odd = await client.get("http://internal/internal/api/logs", headers={"Fleet-Tenant": "No Tenant"})
        outside = await client.get("/api/logs", headers=named | bearer(key))
        none = await client.get("/api/logs", headers=named)

    assert [answer.status_code for answer in (inside, odd, outside, none)] == [200, 400, 200, 401]
    # The console looks by itself, too.
    asked = [(one.tenant, one.key_id, tenant) for one, tenant in seen if one != ANYONE]
    assert asked == [("acme", "abcdefghij", "acme"), ("default", known_id(key), None)]


def test_every_route_of_the_console_is_in_the_table() -> None:
    app = create_app(ConsoleSettings(), store=FakeStore(), table=FakeTable())
    table = needs()
    for route in all_routes(app.routes):
        for method in route.methods or ():
            known = table.of(method, route.path) is not None
            # With keys it is on the internal listener alone.
            assert known == (route.path != "/metrics"), (method, route.path)
    public = [rule.path for rule in RULES if rule.need == PUBLIC]
    assert public == ["/health", "/ready", "/internal/*", "/login", "/logout", "/static/{version}/{name}"]
    assert Rule("/api/logs", frozenset({Scope.READ}), ("GET", "HEAD")) in RULES
