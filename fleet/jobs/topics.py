"""
`python -m fleet.jobs.topics`: create a region's topics, alter existing ones to the settings, then end. Safe to run again.

`--check` alters nothing: it writes a sentence for each difference, and ends with 1 if there is one.

The job also creates the mirrored topics, before MirrorMaker would, because consumers subscribe to them from the first
second. All of them have the same number of partitions, so a correlation id keeps its partition across regions.
"""

import argparse
import asyncio
import logging
import sys

from collections.abc import Collection, Iterator, Mapping
from typing import Final, Self

import structlog

from aiokafka.errors import InvalidReplicationFactorError, KafkaError
from pydantic import Field, PositiveInt, model_validator
from pydantic_settings import SettingsConfigDict

from shared.process import logs
from shared.process.kafka_settings import KafkaSettings
from shared.process.settings import RegionList, run_main
from shared.process.topic_admin import TopicAdmin
from shared.wire.regions import DEAD_LETTERS, Region, consumed_topics, is_bookkeeping
from shared.wire.topic_needs import Needs, Topic, changes, differences, lasting, too_few_replicas

log: Final = structlog.stdlib.get_logger(__name__)
RETRY_PAUSE_S: Final = 1.0


class TopicSettings(KafkaSettings):
    """From `TOPICS_*` variables."""

    model_config = SettingsConfigDict(env_prefix="TOPICS_", frozen=True)

    region: Region = Field(description="The region whose Kafka gets the topics.")
    regions: RegionList = Field(description="All regions, this one included.")
    partitions: PositiveInt = Field(default=6, description="Partitions of each topic; the same in every region.")
    replication_factor: PositiveInt = Field(
        default=1, description="Replicas of each topic; with three, an acknowledgement means that two brokers have it."
    )
    retention_hours: PositiveInt = Field(
        default=168, description="How long Kafka keeps events; longer than the longest split to be survived."
    )
    wait_s: PositiveInt = Field(default=120, description="How long to wait for Kafka before giving up.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.region not in self.regions:
            raise ValueError(f"regions must name {self.region} too")
        return self

    @property
    def needs(self) -> Needs:
        """What each topic needs: partitions, replicas and settings."""
        return Needs(self.partitions, self.replication_factor, self.retention_hours * 3_600_000)


def wanted_topics(settings: TopicSettings) -> list[str]:
    """Return the topics the region needs."""
    return [*consumed_topics(settings.region, settings.regions), DEAD_LETTERS]


async def ensure_topics(settings: TopicSettings) -> list[str]:
    """
    Create the missing topics, and alter the settings that differ in existing ones. Other settings stay.

    Differences that cannot simply be altered are written to the log.

    Returns:
        The names of the created topics.

    Raises:
        KafkaError: Kafka did not answer in time, or refused.
    """
    needs, wanted = settings.needs, wanted_topics(settings)
    async with TopicAdmin(settings.kafka_bootstrap_servers, settings.kafka_access) as admin:
        existing = await admin.read(wanted)
        missing = [name for name in wanted if name not in existing]
        created = await admin.create(missing, needs)
        if missing:
            await admin.appear(missing)
        if len(created) < len(missing):
            # Another program, such as MirrorMaker, was faster and created the topic with other settings.
            existing = await admin.read(wanted)
        for topic in (existing[name] for name in wanted if name in existing and name not in created):
            await _bring_up(admin, topic, needs)
    for sentence in _lasting(existing, wanted, needs):
        log.warning("topics are not what the settings say", difference=sentence)
    return created


async def _bring_up(admin: TopicAdmin, topic: Topic, needs: Needs) -> None:
    if topic.partitions < needs.partitions:
        await admin.grow(topic.name, needs.partitions)
        # From now on a correlation id may go to another partition; the log line explains the change of order.
        log.warning("topic has more partitions now", topic=topic.name, old=topic.partitions, new=needs.partitions)
    altered = changes(topic, needs)
    if altered:
        await admin.alter(topic.name, altered)
    for change in altered:
        log.info("topic altered", topic=topic.name, setting=change.name, old=change.old, new=change.new)


def _lasting(existing: Mapping[str, Topic], wanted: Collection[str], needs: Needs) -> Iterator[str]:
    """Return the differences that altering cannot correct, also in the internal topics of Kafka and MirrorMaker."""
    for name, topic in sorted(existing.items()):
        if name in wanted:
            yield from lasting(topic, needs)
        elif is_bookkeeping(name):
            yield from too_few_replicas(topic, needs)


async def check_topics(settings: TopicSettings) -> list[str]:
    """
    Return a sentence for each difference between the region's topics and the settings. Alter nothing.

    Raises:
        KafkaError: Kafka did not answer in time.
    """
    needs, wanted = settings.needs, wanted_topics(settings)
    async with TopicAdmin(settings.kafka_bootstrap_servers, settings.kafka_access) as admin:
        existing = await admin.read(wanted)
    missing = [
        f"topic {name} does not exist: start the fleet again to make it" for name in wanted if name not in existing
    ]
    differing = [sentence for name in wanted if name in existing for sentence in differences(existing[name], needs)]
    return [*missing, *differing, *_lasting({n: t for n, t in existing.items() if n not in wanted}, wanted, needs)]


async def wait_and_ensure(settings: TopicSettings) -> None:
    """
    Wait for Kafka, then ensure its topics.

    Raises:
        KafkaError: Kafka refused a topic.
        TimeoutError: Kafka did not answer in time. The message has its last error.
    """
    last = "it did not answer"
    try:
        async with asyncio.timeout(settings.wait_s):
            while True:
                try:
                    created = await ensure_topics(settings)
                except KafkaError as exc:
                    # While its brokers are still registering, Kafka refuses each replication factor as too large.
                    if not exc.retriable and not isinstance(exc, InvalidReplicationFactorError):
                        raise
                    last = str(exc)
                    log.info("waiting for kafka", servers=settings.kafka_bootstrap_servers, error=last)
                    await asyncio.sleep(RETRY_PAUSE_S)
                else:
                    log.info("topics are there", created=created)
                    return
    except TimeoutError:
        raise TimeoutError(last) from None


def check(settings: TopicSettings) -> int:
    """Write the differences to standard output. Return 1 if there is one, or if Kafka does not answer."""
    # The client logs each refused connection. This program reports that itself.
    logging.disable()
    try:
        found = asyncio.run(check_topics(settings))
    except KafkaError as exc:
        found = [f"cannot be asked: {exc}"]
    sys.stdout.writelines(f"{sentence}\n" for sentence in found)
    return 1 if found else 0


def main() -> int:
    """
    Run once.

    Returns:
        Exit status: 1 if topics are still missing, or differ from the settings.
    """
    arguments = argparse.ArgumentParser(prog="python -m fleet.jobs.topics")
    arguments.add_argument("--check", action="store_true", help="alter nothing; write what differs")
    asked = arguments.parse_args()
    settings = TopicSettings.read()
    if asked.check:
        return check(settings)
    logs.configure("topics", settings.region, settings.log_level)
    try:
        asyncio.run(wait_and_ensure(settings))
    except TimeoutError as exc:
        log.error(  # noqa: TRY400 - the sentence says it all
            "kafka was not there in time",
            servers=settings.kafka_bootstrap_servers,
            waited_s=settings.wait_s,
            error=str(exc),
        )
        return 1
    except KafkaError as exc:
        log.error("kafka refused a topic", error=str(exc))  # noqa: TRY400 - the sentence says it all
        return 1
    return 0


if __name__ == "__main__":
    run_main(main)
