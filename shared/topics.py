"""
`python -m shared.topics`: make a region's topics exist, then end. Safe to run again.

Mirrored topics are made here too, before MirrorMaker would: consumers subscribe to them from the first second, and they
get the same partition count everywhere, so a correlation id keeps its partition across regions.
"""

import asyncio

from collections.abc import Sequence
from typing import Final, Self

import structlog

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidReplicationFactorError, KafkaError, TopicAlreadyExistsError, for_code
from pydantic import Field, PositiveInt, model_validator
from pydantic_settings import SettingsConfigDict

from shared import logs
from shared.regions import DEAD_LETTERS, MAX_DEAD_LETTER_BYTES, Region, consumed_topics
from shared.settings import RegionList, ServiceSettings, run_main

log: Final = structlog.stdlib.get_logger(__name__)
RETRY_PAUSE_S: Final = 1.0
REQUEST_TIMEOUT_MS: Final = 5000
# The largest record of `logs` with its reason in headers; of what is larger only the reason is set aside.
_LIMITS: Final = {DEAD_LETTERS: {"max.message.bytes": str(MAX_DEAD_LETTER_BYTES)}}


class TopicSettings(ServiceSettings):
    """From `TOPICS_*` variables."""

    model_config = SettingsConfigDict(env_prefix="TOPICS_", frozen=True)

    region: Region = Field(description="The region whose Kafka gets the topics.")
    regions: RegionList = Field(description="All regions, this one included.")
    kafka_bootstrap_servers: str = Field(default="127.0.0.1:9092", description="The region's Kafka, `host:port,…`.")
    partitions: PositiveInt = Field(default=6, description="Partitions of each topic; the same in every region.")
    replication_factor: PositiveInt = Field(default=1, description="Replicas of each topic.")
    retention_hours: PositiveInt = Field(
        default=168, description="How long Kafka keeps events; longer than the longest split to be survived."
    )
    wait_s: PositiveInt = Field(default=120, description="How long to wait for Kafka before giving up.")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.region not in self.regions:
            raise ValueError(f"regions must name {self.region} too")
        return self


def wanted_topics(settings: TopicSettings) -> list[str]:
    """Return the topics the region needs."""
    return [*consumed_topics(settings.region, settings.regions), DEAD_LETTERS]


async def ensure_topics(settings: TopicSettings) -> list[str]:
    """
    Create the topics that are missing; those that exist stay as they are.

    Returns:
        The names of those created.

    Raises:
        KafkaError: Kafka did not answer in time, or refused a topic.
    """
    admin = AIOKafkaAdminClient(
        bootstrap_servers=settings.kafka_bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS
    )
    try:
        await admin.start()
        existing = set(await admin.list_topics())
        wanted = wanted_topics(settings)
        created = await _create(admin, [name for name in wanted if name not in existing], settings)
        await _compare(admin, [name for name in wanted if name in existing], settings.partitions)
        return created
    finally:
        await admin.close()


async def ensure_like(bootstrap_servers: str, name: str, other: str) -> None:
    """
    Make a topic of this region exist again, with as many partitions and replicas as another one has, and kept as long.

    Raises:
        KafkaError: Kafka did not answer in time, or refused it.
    """
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS)
    try:
        await admin.start()
        [topic] = await admin.describe_topics([other])
        if topic["error_code"]:
            raise for_code(topic["error_code"])(other)
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, other)])
        [(_, _, _, _, entries)] = answer.resources
        kept = {entry: value for entry, value, *_ in entries if entry == "retention.ms"}
        partitions = topic["partitions"]
        replicas = len(partitions[0]["replicas"])
        config = kept | _LIMITS.get(name, {})
        answer = await admin.create_topics([NewTopic(name, len(partitions), replicas, topic_configs=config)])
        for _, code, *message in answer.topic_errors:
            if code and for_code(code) is not TopicAlreadyExistsError:
                raise for_code(code)(f"{name}: {message[0] if message else ''}")
    finally:
        await admin.close()


async def _create(admin: AIOKafkaAdminClient, names: Sequence[str], settings: TopicSettings) -> list[str]:
    if not names:
        return []
    answer = await admin.create_topics(
        [
            NewTopic(name, settings.partitions, settings.replication_factor, topic_configs=_config(name, settings))
            for name in names
        ]
    )
    created = []
    for name, code, *message in answer.topic_errors:
        error = for_code(code)
        if not code:
            created.append(name)
        elif error is not TopicAlreadyExistsError:
            raise error(f"{name}: {message[0] if message else ''}")
    return created


def _config(name: str, settings: TopicSettings) -> dict[str, str]:
    return {"retention.ms": str(settings.retention_hours * 3600 * 1000)} | _LIMITS.get(name, {})


async def _compare(admin: AIOKafkaAdminClient, names: Sequence[str], partitions: int) -> None:
    # More partitions would send a correlation id to another one than before, and its order would be lost; so that is
    # for a person to decide.
    for topic in await admin.describe_topics(list(names)) if names else []:
        if len(topic["partitions"]) != partitions:
            log.warning(
                "topic has another partition count than configured",
                topic=topic["topic"],
                partitions=len(topic["partitions"]),
                configured=partitions,
            )


async def wait_and_ensure(settings: TopicSettings) -> None:
    """
    Wait for Kafka, then make the topics exist.

    Raises:
        KafkaError: Kafka refused a topic.
        TimeoutError: Kafka was not there in time.
    """
    async with asyncio.timeout(settings.wait_s):
        while True:
            try:
                created = await ensure_topics(settings)
            except KafkaError as exc:
                # While its brokers are still registering Kafka finds any replication factor too large.
                if not exc.retriable and not isinstance(exc, InvalidReplicationFactorError):
                    raise
                log.info("waiting for kafka", servers=settings.kafka_bootstrap_servers, error=str(exc))
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                log.info("topics are there", created=created)
                return


def main() -> int:
    """
    Run once.

    Returns:
        Exit status: 1 when there are no topics in the end.
    """
    settings = TopicSettings.read()
    logs.configure("topics", settings.region, settings.log_level)
    try:
        asyncio.run(wait_and_ensure(settings))
    except TimeoutError:
        log.error("kafka was not there in time", servers=settings.kafka_bootstrap_servers, waited_s=settings.wait_s)  # noqa: TRY400
        return 1
    except KafkaError as exc:
        log.error("kafka refused a topic", error=str(exc))  # noqa: TRY400 - the sentence says it all
        return 1
    return 0


if __name__ == "__main__":
    run_main(main)
