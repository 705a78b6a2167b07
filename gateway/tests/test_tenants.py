"""An event belongs to the tenant of the key that it came with, whichever protocol brought it."""

from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.tests.fleet import NEVER_CHECKED, FakeProducer, gateway, producers
from gateway.tests.front_door import NAMES, WAYS, Line, Way
from shared.event.model import ReceivedEvent

EVENT = b'{"serviceName":"checkout","level":"INFO","message":"Hello","correlationId":"trace-1"}'


@dataclass(frozen=True, slots=True)
class Person:
    """Whose key a request has, as the door leaves it in the scope."""

    tenant: str


class Door:
    """Stands for what asks for keys."""

    def __init__(self, app: ASGIApp, tenant: str) -> None:
        self._app = app
        self._person = Person(tenant)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, "principal": self._person}, receive, send)


def behind(client: httpx.AsyncClient, tenant: str) -> httpx.AsyncClient:
    """Return a client of the same gateway that has a key."""
    transport = client._transport
    assert isinstance(transport, httpx.ASGITransport)
    door: Any = Door(transport.app, tenant)
    return httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://gateway.test")


def written(regions: dict[str, FakeProducer]) -> list[ReceivedEvent]:
    return [event for region in regions.values() for event in region.written]


@pytest.mark.parametrize(("tenant", "kept"), [("acme", "acme"), ("default", None)])
@pytest.mark.parametrize("way", WAYS, ids=NAMES)
async def test_a_shippers_events_are_its_keys_tenants(way: Way, tenant: str, kept: str | None) -> None:
    regions = producers()
    async with gateway(regions, **NEVER_CHECKED) as client, behind(client, tenant) as known:
        # What a request says of itself is an attribute, and decides nothing.
        headers = {"X-Scope-OrgID": "another"}
        answer = await known.request(**way.request(Line("plain"), Line("odd \0", 0), **headers))

    assert answer.status_code < 300, answer.text
    assert [event.tenant for event in written(regions)] == [kept] * 2


@pytest.mark.parametrize("path", ["/api/logs", "/api/logs/batch"])
async def test_events_of_the_api_are_their_keys_tenants(path: str) -> None:
    regions = producers()
    body = EVENT if path == "/api/logs" else b"[" + EVENT + b"]"
    headers = {"content-type": "application/json"}
    async with gateway(regions, **NEVER_CHECKED) as client, behind(client, "acme") as known:
        answers = [await each.post(path, content=body, headers=headers) for each in (known, client)]
        named = await known.post(path, content=body.replace(b'"level"', b'"tenant":"beta","level"'), headers=headers)

    assert [answer.status_code for answer in answers] == [202, 202]
    assert named.status_code == 400
    assert "tenant" in named.text
    assert [event.tenant for event in written(regions)] == ["acme", None]


async def test_two_tenants_may_send_the_same_identity_at_the_same_time() -> None:
    regions = producers()
    body = EVENT[:-1] + b',"eventId":"01890a5d-ac96-774b-bcce-b302099a8057","timestamp":"2026-11-23T12:00:00Z"}'
    headers = {"content-type": "application/json"}
    async with (
        gateway(regions, **NEVER_CHECKED) as client,
        behind(client, "acme") as acme,
        behind(client, "beta") as beta,
    ):
        for each in (acme, beta, client):
            assert (await each.post("/api/logs", content=body, headers=headers)).status_code == 202

    assert [event.tenant for event in written(regions)] == ["acme", "beta", None]
    assert len({event.event_id for event in written(regions)}) == 1
