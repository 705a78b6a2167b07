"""Clients of other make, through a proxy that does to them what networks do: what is then in Kafka, and how often."""

import asyncio

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime
from typing import Final

import pytest

from served import both_served, served
from surroundings import read_all

from clients.check import Found, Stored, compare
from clients.run import Ran, run
from clients.table import CLIENTS, Client, Outcome, Then
from gateway.app import create_app as create_gateway
from gateway.settings import GatewaySettings
from producer.app import create_app as create_producer
from producer.app import create_internal_app as create_internal_producer
from producer.settings import ProducerSettings
from shared.event.opened import decode_record
from shared.process.http_client import http_client
from shared.wire.regions import LOGS
from testbed.patience import eventually
from testbed.proxy import Act, Proxy, first
from testbed.server import recreate_topics

pytestmark = pytest.mark.services

COUNT: Final = 200
# A request of two is disturbed; a client that tries again is disturbed again.
DISTURBED: Final = 2
FAULTS: Final = (Act.REFUSE, Act.RESET, Act.SWALLOW, Act.HANG_UP)


@pytest.fixture
async def gateway(kafka: str) -> AsyncIterator[str]:
    """Address of a gateway with one region, whose Kafka is a real one."""
    await recreate_topics(kafka, [LOGS])
    async with AsyncExitStack() as stack:
        region = ProducerSettings(region="region-a", kafka_bootstrap_servers=kafka)
        _, producer = await stack.enter_async_context(both_served(create_producer(region), create_internal_producer()))
        # This machine may be busy with the clients: that is no reason to give the producer up.
        settings = GatewaySettings(regions=f"region-a={producer}", attempt_timeout_ms=60_000, health_timeout_ms=60_000)
        gateway = await stack.enter_async_context(served(create_gateway(settings)))
        client = await stack.enter_async_context(http_client(10))

        async def ready() -> bool:
            return (await client.get(f"{gateway}/ready")).is_success

        await eventually(ready, "the gateway's region is ready", within_s=60)
        yield gateway


async def sent_through(gateway: str, client: Client, fault: Act) -> tuple[Ran, Proxy, datetime, datetime]:
    begin = datetime.now(UTC)
    async with Proxy(gateway, first(DISTURBED, fault)).running() as proxy:
        ran = await run(client, proxy.url, COUNT, f"{client.id}-{fault.name.lower()}")
    return ran, proxy, begin, datetime.now(UTC)


async def stored(kafka: str) -> list[Stored]:
    """Read what is in Kafka, several times what a retry has written again."""
    events = [decode_record(record.value) for record in await read_all(kafka, LOGS)]
    return [
        Stored(
            str(event.event_id),
            event.service_name,
            event.level,
            event.message,
            event.correlation_id,
            event.timestamp,
            event.attributes,
        )
        for event in events
    ]


def judge(client: Client, fault: Act, ran: Ran, proxy: Proxy, found: Found) -> list[str]:
    """Return what is not as the client's row in the table says."""
    wrong = list(found.wrong)
    disturbed, then, outcome = proxy.came(fault), client.then(fault), client.outcome(fault)
    if disturbed == 0:
        wrong.append("no request was disturbed")
    if bool(found.missing) != (outcome is Outcome.LOST):
        wrong.append(f"{len(found.missing)} records are missing, where it is: {outcome.value}")
    if bool(found.twice) != (outcome is Outcome.TWICE):
        wrong.append(f"{len(found.twice)} records are there twice, where it is: {outcome.value}")
    if then is Then.AGAIN and proxy.again() < disturbed:
        wrong.append(f"of {disturbed} disturbed requests it sent {proxy.again()} again with the same bytes")
    if then is Then.NEVER and proxy.again():
        wrong.append(f"it was to try once, and sent {proxy.again()} requests again")
    if ran.told != (then is Then.NEVER and client.tells):
        wrong.append(f"it {'reported a failure' if ran.told else 'reported no failure'}: {ran.log[-500:]}")
    return [f"{fault.name}: {sentence}" for sentence in wrong]


@pytest.mark.parametrize("client", [pytest.param(client, id=client.id) for client in CLIENTS])
async def test_a_client_that_is_not_answered_ends_as_the_table_says(kafka: str, gateway: str, client: Client) -> None:
    ran = await asyncio.gather(*(sent_through(gateway, client, fault) for fault in FAULTS))
    events = await stored(kafka)

    wrong = []
    for fault, (sent, proxy, begin, end) in zip(FAULTS, ran, strict=True):
        mine = [event for event in events if event.service == f"shop-{client.id}-{fault.name.lower()}"]
        wrong += judge(client, fault, sent, proxy, compare(sent.sent, mine, begin, end))
    assert not wrong, "\n".join(wrong)
