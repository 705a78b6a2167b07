"""
Two tenants of a secured fleet: the same identity in both is two events, whatever fails meanwhile, and neither reads the other's.

`run-integration-tests.sh --deep` starts the fleet.
"""

import asyncio
import json
import re
import secrets

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

import pytest

from uuid_utils.compat import uuid7

from chaos.fleet import Addresses
from chaos.observe import lag
from shared.process.http_client import Streams
from testbed.access import tls
from testbed.keys import bearer
from testbed.patience import eventually, patience
from testbed.running_fleet import REGIONS, Fleet

pytestmark = [pytest.mark.fleet, pytest.mark.secured, pytest.mark.deep]

KEY: Final = re.compile(r"\bmrl_[A-Za-z0-9_-]{60}\b")
TENANTS: Final = ("acme", "beta")


@dataclass
class Tenant:
    """
    A tenant with a key of its own.

    Attributes:
        mark: A word in each of its messages, which no other tenant has.
        sent: Ids of its events, with the number of identities that the other one has as well.
    """

    name: str
    key: str
    mark: str = field(default_factory=lambda: secrets.token_hex(8))

    @property
    def headers(self) -> dict[str, str]:
        return bearer(self.key)

    def event(self, identity: dict[str, str], service: str) -> dict[str, Any]:
        said = {"serviceName": service, "level": "WARN", "message": f"secret of {self.mark}", "correlationId": "shared"}
        return identity | said | {"attributes": {"mine": self.mark}}


def an_identity() -> dict[str, str]:
    return {"eventId": str(uuid7()), "timestamp": datetime.now(UTC).isoformat()}


@pytest.fixture
async def tenants(fleet: Fleet) -> AsyncIterator[tuple[Tenant, Tenant]]:
    """Two tenants whose keys both doors know."""
    made = []
    for name in TENANTS:
        status, said = await fleet.try_control(
            "key", "new", f"{name}-test", "--scope", "write,read", "--tenant", name, "--expires", "1d"
        )
        found = KEY.search(said)
        assert status == 0, said
        assert found is not None, said
        made.append(Tenant(name, found[0]))
    for tenant in made:
        for door in (fleet.at.gateway, fleet.at.console):

            async def is_known(door: str = door, tenant: Tenant = tenant) -> bool:
                status = (await fleet.http.get(f"{door}/api/logs", headers=tenant.headers)).status_code
                assert status in {200, 401, 429}, "the key is no good for reading"
                return status == 200

            await eventually(is_known, "the new key is known", within_s=30)
    yield made[0], made[1]
    for tenant in made:
        await fleet.control("key", "revoke", tenant.key.split("_")[1])


async def accepted(fleet: Fleet, tenant: Tenant, event: dict[str, Any], region: str) -> None:
    """Post until an event is acknowledged, as a client does."""

    async def post() -> bool:
        answer = await fleet.http.post(
            f"{fleet.at.gateway}/api/logs", json=event, headers=tenant.headers | {"X-Region": region}
        )
        assert answer.status_code in {202, 503}, answer.text
        return answer.status_code == 202

    await eventually(post, f"an event of {tenant.name} is acknowledged", within_s=60, every_s=0.5)


@asynccontextmanager
async def away(fleet: Fleet, *lever: tuple[str, str, str]) -> AsyncIterator[None]:
    """Have parts stopped or links cut inside the block."""
    for verb, _, what in lever:
        await fleet.control(verb, what)
    try:
        yield
    finally:
        for _, back, what in lever:
            await fleet.control(back, what)


async def test_one_identity_in_two_tenants_is_one_row_each_whatever_is_away(
    fleet: Fleet, tenants: tuple[Tenant, Tenant]
) -> None:
    acme, beta = tenants
    service = f"two-tenants-{secrets.token_hex(4)}"
    identities: list[dict[str, str]] = []
    copied = {region: await fleet.end_offsets(other, f"{region}.logs") for region, other in pairs()}
    sent = dict.fromkeys(REGIONS, 0)

    async def both(*regions: str) -> None:
        """Send a new identity as both tenants, to each region, and each of them twice."""
        identity = an_identity()
        identities.append(identity)
        for region in regions * 2:
            for tenant in tenants:
                await accepted(fleet, tenant, tenant.event(identity, service), region)
                sent[region] += 1

    await both(*REGIONS)
    async with away(fleet, ("cut", "heal", "a-to-b"), ("cut", "heal", "b-to-a")):
        await both(*REGIONS)
    async with away(fleet, ("stop", "start", "redis")):
        await both(*REGIONS)
    async with away(fleet, ("stop", "start", "consumer-a")):
        await both("region-a")
    # Redis lost all that it knew, and a consumer its filter: PostgreSQL decides alone.
    async with away(fleet, ("restart", "start", "consumer-b"), ("restart", "start", "redis")):
        await both("region-b")

    for region, other in pairs():

        async def is_copied(region: str = region, other: str = other) -> bool:
            return await fleet.end_offsets(other, f"{region}.logs") >= copied[region] + sent[region]

        await eventually(is_copied, f"what {region} took is in {other}", within_s=120, every_s=1)

    async def nothing_waits() -> bool:
        return await lag(Addresses()) == 0

    await eventually(nothing_waits, "the consumers have read all of it", within_s=120, every_s=1)
    rows = await fleet.query(
        "SELECT name, coalesce(tenant_event_id, event_id)::text AS id, message FROM logs JOIN tenants USING (tenant_id) WHERE service_name = $1",
        service,
    )
    wanted = sorted((tenant.name, identity["eventId"]) for tenant in tenants for identity in identities)
    assert sorted((row["name"], row["id"]) for row in rows) == wanted
    marks = {tenant.name: tenant.mark for tenant in tenants}
    assert all(row["message"] == f"secret of {marks[row['name']]}" for row in rows)
    assert acme.mark != beta.mark


def pairs() -> list[tuple[str, str]]:
    return [REGIONS, (REGIONS[1], REGIONS[0])]


READ: Final = {
    "search": "{door}/api/logs?from=-1h&service={service}",
    "search by text": "{door}/api/logs?from=-1h&service={service}&text=secret",
    "export": "{door}/api/logs?from=-1h&order=asc&service={service}",
    "event": "{door}/api/logs/{shared}",
    "context": "{door}/api/logs/{shared}/context",
    "Loki": '{console}/loki/api/v1/query_range?query={{service_name="{service}"}}',
    "Loki, fields": '{console}/loki/api/v1/detected_field/mine/values?query={{service_name="{service}"}}',
    "page of a search": "{console}/?service={service}",
    "page of an event": "{console}/events/{shared}",
}
COUNTED: Final = {
    "histogram": "{door}/api/logs/histogram?from=-1h&service={service}&by=service",
    "values": "{door}/api/logs/values/service?from=-1h",
    "Loki, series": '{console}/loki/api/v1/series?match[]={{service_name="{service}"}}',
    "Loki, labels": "{console}/loki/api/v1/label/service_name/values",
}
FOREIGN: Final = ("{door}/api/logs/{own}", "{door}/api/logs/{own}/context", "{console}/events/{own}")


async def test_neither_tenant_reads_counts_or_follows_the_others_events(
    fleet: Fleet, tenants: tuple[Tenant, Tenant]
) -> None:
    service, identity = f"apart-{secrets.token_hex(4)}", an_identity()
    own = {tenant.name: an_identity()["eventId"] for tenant in tenants}
    async with asyncio.TaskGroup() as group:
        followed = {tenant.name: [] for tenant in tenants}  # type: dict[str, list[bytes]]
        begun = {tenant.name: asyncio.Event() for tenant in tenants}
        tails = [
            group.create_task(follow(fleet, tenant, service, followed[tenant.name], begun[tenant.name]))
            for tenant in tenants
        ]
        for event in begun.values():
            async with asyncio.timeout(patience(60)):
                await event.wait()
        for tenant in tenants:
            await accepted(fleet, tenant, tenant.event(identity, service), "region-a")
            alone = tenant.event(an_identity() | {"eventId": own[tenant.name]}, f"{service}-{tenant.name}")
            await accepted(fleet, tenant, alone, "region-b")
        for tenant in tenants:
            await shows(fleet, tenant, READ["search"], service, identity["eventId"])
            await shows(fleet, tenant, READ["search"], f"{service}-{tenant.name}", own[tenant.name])
            await eventually(
                partial(has, followed[tenant.name], tenant.mark),
                f"the tail of {tenant.name} has its event",
                within_s=60,
            )
        for task in tails:
            task.cancel()

    for tenant, other in ((tenants[0], tenants[1]), (tenants[1], tenants[0])):
        assert not has(followed[tenant.name], other.mark)
        for door in (fleet.at.gateway, fleet.at.console):
            told = partial(answer, fleet, tenant, door=door, shared=identity["eventId"])
            for what, target in READ.items():
                text = await told(target, service=service, export=what == "export")
                assert tenant.mark in text, f"{what} at {door} has not the event of {tenant.name}: {text[:500]}"
                assert other.mark not in text, f"{what} at {door} shows {tenant.name} an event of {other.name}"
            for what, target in COUNTED.items():
                text = await told(target, service=f"{service}-{tenant.name}")
                assert f"{service}-{tenant.name}" in text, (
                    f"{what} at {door} counts no event of {tenant.name}: {text[:500]}"
                )
                text += await told(target, service=f"{service}-{other.name}")
                assert f"{service}-{other.name}" not in text, f"{what} at {door} tells {tenant.name} of {other.name}"
            for target in FOREIGN:
                url = target.format(door=door, console=fleet.at.console, own=own[other.name])
                assert (await fleet.http.get(url, headers=tenant.headers)).status_code == 404, url
            # A life has no message. That of the shared identity is one event, in Kafka too, and the other's own was never sent.
            life = json.loads(await told("{door}/api/logs/{shared}/trace", service=service))
            assert life["kinds"] == ["stored"], life
            assert [
                step["region"] for step in life["steps"] if (step["what"], step.get("topic")) == ("kafka", "logs")
            ] == ["region-a"]
            foreign = await told(f"{{door}}/api/logs/{own[other.name]}/trace", service=service)
            assert "stored" not in json.loads(foreign)["kinds"], foreign


async def answer(
    fleet: Fleet, tenant: Tenant, target: str, *, door: str, service: str, shared: str, export: bool = False
) -> str:
    headers = tenant.headers | ({"Accept": "application/x-ndjson"} if export else {})
    url = target.format(door=door, console=fleet.at.console, service=service, shared=shared)
    found = await fleet.http.get(url, headers=headers)
    assert found.status_code == 200, f"{url}: {found.text[:500]}"
    return found.text


async def shows(fleet: Fleet, tenant: Tenant, target: str, service: str, event_id: str) -> None:
    """Wait until a tenant finds its event."""

    async def is_found() -> bool:
        return tenant.mark in await answer(
            fleet, tenant, target, door=fleet.at.console, service=service, shared=event_id
        )

    await eventually(is_found, f"{tenant.name} finds its event", within_s=60)


async def follow(fleet: Fleet, tenant: Tenant, service: str, into: list[bytes], begun: asyncio.Event) -> None:
    """Keep all that a tail says of a service."""
    streams = Streams(1, patience(10), patience(60), tls=tls())
    try:
        async with streams.get(f"{fleet.at.console}/api/logs/tail?service={service}", tenant.headers) as stream:
            assert stream.status == 200
            async for piece in stream.pieces():
                into.append(piece)
                begun.set()
    finally:
        await streams.close()


def has(pieces: list[bytes], mark: str) -> bool:
    return mark.encode() in b"".join(pieces)
