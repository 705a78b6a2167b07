"""
The adapter of `producer.ports.KafkaClient` on aiokafka. No other module of the producer knows aiokafka.

An idempotent client retries each retryable error for as long as it lives. So a send that *fails* has left a gap in the
partition's sequence numbers, and the broker refuses everything after a gap. Such a client can send nothing more, and
`producer.connection` replaces it.
"""

from typing import Final

import structlog

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    NoError,
    ProducerClosed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)

from producer.ports import (
    Acknowledgement,
    ClientBrokenError,
    KafkaUnavailableError,
    NotSentError,
    RecordTooLargeError,
)
from shared.process.kafka_closing import close_producer
from shared.process.kafka_settings import OPEN, Access
from shared.wire import trace
from shared.wire.wanted import RECORD_HEADER

log: Final = structlog.stdlib.get_logger(__name__)

# The client retries a request without an answer by then on a new connection. Shorter than the send deadline, so that the
# events in flight on a lost connection can still be acknowledged.
REQUEST_TIMEOUT_MS: Final = 3000
# While one batch of a partition is in flight the next one fills, and aiokafka begins no third one. With the default of
# 16 KiB a group of a thousand events would need dozens of round trips.
MAX_BATCH_BYTES: Final = 512 * 1024
# A broker's default limit for a batch.
DEFAULT_RECORD_LIMIT: Final = 1_048_588


class AiokafkaProducer:
    """`KafkaClient` on aiokafka."""

    def __init__(self, producer: AIOKafkaProducer, topic: str) -> None:
        self._producer = producer
        self._topic = topic

    @classmethod
    async def connect(cls, bootstrap_servers: str, topic: str, access: Access = OPEN) -> "AiokafkaProducer":
        """
        Connect, and check that the topic exists.

        Raises:
            KafkaUnavailableError: No broker answered, or the topic is missing.
        """
        try:
            limit = await _record_limit(bootstrap_servers, topic, access)
            producer = AIOKafkaProducer(
                bootstrap_servers=bootstrap_servers,
                enable_idempotence=True,
                acks="all",
                linger_ms=0,
                max_batch_size=min(MAX_BATCH_BYTES, limit),
                max_request_size=limit,
                request_timeout_ms=REQUEST_TIMEOUT_MS,
                **access,
            )
            client = cls(producer, topic)
            try:
                await producer.start()
                await producer.partitions_for(topic)
                await client.check()
            except BaseException:
                await producer.stop()
                raise
        except UnknownTopicOrPartitionError:
            raise KafkaUnavailableError(f"topic {topic} does not exist") from None
        except KafkaError as exc:
            raise KafkaUnavailableError(str(exc)) from exc
        return client

    async def send(
        self, key: bytes, value: bytes, traceparent: bytes | None = None, wanted: bytes | None = None
    ) -> Acknowledgement:
        """See `KafkaClient`."""
        headers = None if traceparent is None else [(trace.HEADER, traceparent)]
        if wanted is not None:
            headers = [*(headers or ()), (RECORD_HEADER, wanted)]
        try:
            acknowledgement: Acknowledgement = await self._producer.send(self._topic, value, key, headers=headers)
        except MessageSizeTooLargeError as exc:
            raise RecordTooLargeError(str(exc)) from exc
        except (KafkaTimeoutError, ProducerClosed, UnknownTopicOrPartitionError) as exc:
            raise NotSentError(str(exc)) from exc
        except KafkaError as exc:
            raise ClientBrokenError(repr(exc)) from exc
        return acknowledgement

    async def check(self) -> None:
        """See `KafkaClient`."""
        if not await self._producer.client.force_metadata_update():
            raise KafkaUnavailableError("no broker answers")
        cluster = self._producer.client.cluster
        partitions = cluster.partitions_for_topic(self._topic) or set()
        if not partitions:
            raise KafkaUnavailableError(f"topic {self._topic} does not exist")
        leaderless = partitions - cluster.available_partitions_for_topic(self._topic)
        if leaderless:
            raise KafkaUnavailableError(f"{len(leaderless)} partitions of topic {self._topic} have no leader")

    async def close(self, flush_s: float) -> None:
        """See `KafkaClient`."""
        await close_producer(self._producer, flush_s=flush_s, timeout_s=2 * REQUEST_TIMEOUT_MS / 1000)


async def _record_limit(bootstrap_servers: str, topic: str, access: Access) -> int:
    # Read at each connect, because a record that the broker finds too large breaks the whole client. One that the client
    # finds too large costs nothing.
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS, **access)
    try:
        await admin.start()
        [answer] = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
    finally:
        await admin.close()
    [(code, message, _, _, entries)] = answer.resources
    error = for_code(code)
    if error is TopicAuthorizationFailedError:
        log.warning("may not read the topic's configuration", topic=topic, assumed_bytes=DEFAULT_RECORD_LIMIT)
        return DEFAULT_RECORD_LIMIT
    if error is not NoError:
        raise error(message)
    return next((int(value) for name, value, *_ in entries if name == "max.message.bytes"), DEFAULT_RECORD_LIMIT)
