"""Replication in the running fleet, in either mode: what goes wrong in it is noticed, shown and mended."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import pytest

from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.admin.records_to_delete import RecordsToDelete

from testbed.access import to_kafka
from testbed.patience import eventually
from testbed.running_fleet import Fleet, an_event

pytestmark = pytest.mark.fleet

SET_FOR_THE_TOPIC: Final = 1
EVENTS: Final = 20


async def test_a_split_is_told_while_nothing_flows_and_what_it_exposes_is_counted(fleet: Fleet) -> None:
    await eventually(partial(is_whole, fleet, "region-a"), "nothing is exposed", within_s=60)
    await fleet.control("cut", "a-to-b")
    try:
        await eventually(partial(is_down, fleet, "region-a"), "the split is seen", within_s=60)
        quiet = await link(fleet, "region-a")
        events = [an_event(f"exposed-{i}") for i in range(EVENTS)]
        assert (await fleet.post(events, region="region-a", batch=True)).status_code == 202

        async def exposed() -> bool:
            return bool((await link(fleet, "region-a"))["exposedRecords"] == EVENTS)

        await eventually(exposed, "what is exposed is counted")
        split, other = await link(fleet, "region-a"), await link(fleet, "region-b")
        status, told = await fleet.try_control("status")
        series = '{source="region-a",target="region-b"}'

        async def scraped() -> bool:
            return await sum_of(fleet, f"replication_lag_records{series}") == EVENTS

        await eventually(scraped, "Prometheus knows it", every_s=1)
        assert await sum_of(fleet, f"replication_up{series}") == 0
        assert await sum_of(fleet, f"replication_lag_seconds{series}") > 10
    finally:
        await fleet.control("heal", "a-to-b")

    assert (quiet["exposedRecords"], quiet["lagSeconds"] > 10) == (0, True)
    assert split["lagSeconds"] > quiet["lagSeconds"]
    assert split["splitSince"][:16] == quiet["splitSince"][:16]
    assert other["up"]
    assert (status, "region-a -> region-b  DOWN since" in told) == (1, True)
    await eventually(partial(is_whole, fleet, "region-a"), "all is copied", within_s=90)


@pytest.mark.parametrize("part", ["mirror-to-b", pytest.param("kafka-a", marks=pytest.mark.compose)])
async def test_who_is_dead_ages_and_is_whole_again_when_it_is_back(fleet: Fleet, part: str) -> None:
    await eventually(partial(is_whole, fleet, "region-a"), "nothing is exposed", within_s=60)
    await fleet.control("stop", part)
    try:
        await eventually(partial(is_down, fleet, "region-a"), "it is seen", within_s=60)
        before = (await link(fleet, "region-a"))["lagSeconds"]

        async def ages() -> bool:
            return bool((await link(fleet, "region-a"))["lagSeconds"] > before + 2)

        await eventually(ages, "it ages")
    finally:
        await fleet.control("start", part)
    await eventually(partial(is_whole, fleet, "region-a"), "all is copied", within_s=120)


async def test_events_that_are_gone_before_they_were_copied_are_counted(fleet: Fleet) -> None:
    await eventually(partial(is_whole, fleet, "region-a"), "nothing is exposed", within_s=60)
    gone = partial(fleet.counter, "gateway", "replication_gap_records_total", source="region-a")
    before = await gone()
    await fleet.control("cut", "a-to-b")
    try:
        events = [an_event(f"gone-{i}") for i in range(EVENTS)]
        # What was on its way when the cut came would still arrive.
        await eventually(partial(is_down, fleet, "region-a"), "the split is seen", within_s=60)
        assert (await fleet.post(events, region="region-a", batch=True)).status_code == 202
        await fleet.rows([event["eventId"] for event in events])
        await remove_all_records(fleet.at.kafka["region-a"], "logs")

        async def counted() -> bool:
            return await gone() - before == EVENTS

        await eventually(counted, "the events are counted")
    finally:
        await fleet.control("heal", "a-to-b")
    await eventually(partial(is_whole, fleet, "region-a"), "the rest is copied", within_s=90)
    after = an_event("after-the-gap")
    await fleet.post(after, region="region-a")
    await eventually(partial(is_whole, fleet, "region-a"), "copying goes on", within_s=60)

    assert await gone() - before == EVENTS


@pytest.mark.compose
async def test_a_mirror_whose_task_failed_is_restarted_and_copies_again_without_a_person(fleet: Fleet) -> None:
    event = an_event("refused", message="x" * 50_000)
    starts = await sum_of(fleet, 'process_start_time_seconds{job="mirrormaker"}')
    before = await fleet.end_offsets("region-b", "region-a.logs")

    async with largest_record(fleet.at.kafka["region-b"], "region-a.logs", 20_000):
        assert (await fleet.post(event, region="region-a")).json()["region"] == "region-a"

        async def restarted() -> bool:
            return await sum_of(fleet, 'process_start_time_seconds{job="mirrormaker"}') > starts

        await eventually(restarted, "MirrorMaker was started again", within_s=120, every_s=1)

    async def copied() -> bool:
        return await fleet.end_offsets("region-b", "region-a.logs") > before

    await eventually(copied, "the event is copied", within_s=120, every_s=1)
    assert len(await fleet.rows([event["eventId"]])) == 1


async def link(fleet: Fleet, source: str) -> dict[str, Any]:
    """Return what the gateway tells about the direction that begins there."""
    answer = await fleet.http.get(f"{fleet.at.gateway}/api/replication")
    assert answer.status_code == 200, answer.text
    [found] = [link for link in answer.json()["links"] if link["source"] == source]
    return dict(found)


async def is_whole(fleet: Fleet, source: str) -> bool:
    """Tell whether all that is in the source was in the target a moment ago."""
    found = await link(fleet, source)
    assert (found["up"], found["lagRecords"]) == (True, 0), found["detail"]
    assert found["lagSeconds"] < 10, found["detail"]
    return True


async def is_down(fleet: Fleet, source: str) -> bool:
    """Tell whether the gateway reports that nothing gets through."""
    found = await link(fleet, source)
    assert not found["up"], found["detail"]
    return bool(found["splitSince"])


async def remove_all_records(kafka: str, topic: str) -> None:
    """Do what retention does, at once."""
    admin = AIOKafkaAdminClient(**to_kafka(kafka))
    await admin.start()
    try:
        [described] = await admin.describe_topics([topic])
        everything = RecordsToDelete(before_offset=-1)
        partitions = [TopicPartition(topic, p["partition"]) for p in described["partitions"]]
        await admin.delete_records(dict.fromkeys(partitions, everything))
    finally:
        await admin.close()


@asynccontextmanager
async def largest_record(kafka: str, topic: str, size: int) -> AsyncIterator[None]:
    """Let the topic refuse what is larger, until the block ends."""
    admin = AIOKafkaAdminClient(**to_kafka(kafka))
    await admin.start()

    async def configure(settings: dict[str, str]) -> None:
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs=settings)])

    try:
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        [(*_, entries)] = answer.resources
        # Altering replaces all that was set.
        own = {name: value for name, value, _, source, *_ in entries if source == SET_FOR_THE_TOPIC}
        await configure(own | {"max.message.bytes": str(size)})
        try:
            yield
        finally:
            await configure(own)
    finally:
        await admin.close()


async def sum_of(fleet: Fleet, series: str) -> float:
    """Ask Prometheus for the sum of these series now, 0 when there are none."""
    answer = await fleet.http.get(f"{fleet.at.prometheus}/api/v1/query", params={"query": f"sum({series})"})
    assert answer.status_code == 200, answer.text
    return sum(float(result["value"][1]) for result in answer.json()["data"]["result"])
