"""Clients of other make and the running fleet: a thousand records of each are a thousand rows, whatever is in between."""

import asyncio
import json
import uuid

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final

import pytest

from chaos.faults import pulled
from clients.check import Found, Stored, compare
from clients.run import Ran, run
from clients.table import CLIENTS, Client, Outcome, Then
from testbed.proxy import Act, Proxy, always, every
from testbed.running_fleet import REGIONS, Fleet, an_event

pytestmark = pytest.mark.fleet

COUNT: Final = 1_000
# Programs at the same time: more would only wait for a processor, and meet their own limits there.
AT_ONCE: Final = 4
FAULTS: Final = (Act.SWALLOW, Act.REFUSE, Act.RESET, Act.HANG_UP)
# Every third request is disturbed, so a client that tries three times is heard.
STEP: Final = 3
# The preferred region, in the order in which it is lost.
REGION: Final = ("producer-a", "consumer-a", "kafka-a")
# For each region: so many that each partition has some.
MARKS: Final = 60


@dataclass(frozen=True)
class Sent:
    """What a client has sent, and through what."""

    client: Client
    service: str
    ran: Ran
    proxy: Proxy
    begin: datetime
    end: datetime


async def all_clients(send: Callable[[Client], Awaitable[Sent]]) -> Sequence[Sent]:
    """Let all clients send, some at a time."""
    room = asyncio.Semaphore(AT_ONCE)

    async def one(client: Client) -> Sent:
        async with room:
            return await send(client)

    return await asyncio.gather(*(one(client) for client in CLIENTS))


async def send(client: Client, url: str, acts: Sequence[Act]) -> Sent:
    """Let a client send through a proxy that disturbs it in all the ways that cost it nothing, by its row in the table."""
    chosen = [act for act in acts if client.outcome(act) is Outcome.ONCE]
    proxy = Proxy(url, every(STEP, *chosen) if chosen else always(Act.PASS))
    run_id = f"{client.id}-{uuid.uuid4().hex[:8]}"
    begin = datetime.now(UTC)
    async with proxy.running():
        ran = await run(client, proxy.url, COUNT, run_id)
    return Sent(client, f"shop-{run_id}", ran, proxy, begin, datetime.now(UTC))


async def all_is_stored(fleet: Fleet) -> None:
    """Wait until what was acknowledged before is stored: each partition is stored in its order."""
    for region in REGIONS:
        marks = [an_event(f"mark-{number}-{uuid.uuid4()}") for number in range(MARKS)]
        answer = await fleet.post(marks, region=region, batch=True)
        assert answer.status_code == 202, answer.text
        await fleet.rows([mark["eventId"] for mark in marks], within_s=90)


async def rows_of(fleet: Fleet, service: str) -> list[Stored]:
    return [
        Stored(
            str(row["event_id"]),
            row["service_name"],
            row["level"],
            row["message"],
            row["correlation_id"],
            row["event_time"],
            json.loads(row["attributes"]),
        )
        for row in await fleet.query("SELECT * FROM logs WHERE service_name = $1", service)
    ]


def once(sent: Sent, found: Found) -> list[str]:
    """Return what keeps a thousand records from being a thousand rows."""
    wrong = list(found.wrong)
    # A client that never tries again loses what the fleet itself refuses.
    refused = sent.client.outcome(Act.REFUSE) is Outcome.LOST and any(seen.status == 503 for seen in sent.proxy.seen)
    if found.missing and not refused:
        wrong.append(f"{len(found.missing)} of {COUNT} are missing: {sent.ran.log[-500:]}")
    if found.twice:
        wrong.append(f"{len(found.twice)} are there twice")
    if sent.ran.told and all(sent.client.then(seen.act) in (None, Then.AGAIN) for seen in sent.proxy.seen):
        wrong.append(f"it reported a failure: {sent.ran.log[-500:]}")
    return wrong


async def judge(fleet: Fleet, sent: Sequence[Sent]) -> None:
    """Hold each client's rows to what it sent, and tell all that is wrong."""
    await all_is_stored(fleet)
    wrong = []
    for one in sent:
        found = compare(one.ran.sent, await rows_of(fleet, one.service), one.begin, one.end)
        wrong += [f"{one.client.name}: {sentence}" for sentence in once(one, found)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.both_modes
async def test_a_thousand_records_of_each_client_are_a_thousand_rows(fleet: Fleet) -> None:
    sent = await all_clients(partial(send, url=fleet.at.gateway, acts=()))

    await judge(fleet, sent)


async def test_a_region_that_dies_and_answers_that_get_lost_cost_no_record_and_double_none(fleet: Fleet) -> None:
    async with AsyncExitStack() as lost:
        sending = asyncio.create_task(all_clients(partial(send, url=fleet.at.gateway, acts=FAULTS)))
        # The first clients send while the region dies, the others while it is away.
        for part in REGION:
            await lost.enter_async_context(pulled("stop", part, back=("start", part)))
        sent = await sending
    await fleet.all_ready()

    undisturbed = [one.client.name for one in sent if not one.proxy.came(*FAULTS)]
    assert undisturbed == []
    await judge(fleet, sent)
