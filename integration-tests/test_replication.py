"""Replication in the running fleet, in either mode: what goes wrong in it is noticed, shown and mended."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import pytest

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fleet import Fleet, an_event
from waiting import eventually

pytestmark = pytest.mark.fleet

SET_FOR_THE_TOPIC: Final = 1


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


@asynccontextmanager
async def largest_record(kafka: str, topic: str, size: int) -> AsyncIterator[None]:
    """Let the topic refuse what is larger, until the block ends."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
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
