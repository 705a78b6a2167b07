"""`DeadLetters` on the region's own Kafka: topic `logs-dlq`, original key and bytes, the reason in headers."""

import asyncio

from collections.abc import Sequence
from typing import Any, Final

import structlog

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    RecordTooLargeError,
    UnknownTopicOrPartitionError,
)

from consumer.envelope import DeadLetter
from consumer.letters import bare
from consumer.ports import DeadLettersUnavailableError
from shared.process.kafka_closing import close_producer
from shared.process.kafka_settings import OPEN, Access
from shared.process.topic_admin import ensure_like
from shared.wire import trace
from shared.wire.regions import DEAD_LETTERS, LOGS, MAX_DEAD_LETTER_BYTES

log: Final = structlog.stdlib.get_logger(__name__)
_CLOSE_S: Final = 2
_REQUEST_TIMEOUT_MS: Final = 3000
_TOO_LARGE: Final = (MessageSizeTooLargeError, RecordTooLargeError)
# Without the letter itself: a batch, a record, and headers that say where it came from.
_LARGEST_LETTER: Final = MAX_DEAD_LETTER_BYTES - 8192


class KafkaDeadLetters:
    """
    Write dead letters with acks=all.

    The client is made for the first letter, and anew after a failure: letters are rare, and an idle client is one more part
    that can be broken when it is needed. A topic that is gone is made again.

    Args:
        bootstrap_servers: The region's Kafka.
        timeout_s: Letters that are not acknowledged by then are not durable.
        access: How it lets a client in.
    """

    def __init__(self, bootstrap_servers: str, *, timeout_s: float, access: Access = OPEN) -> None:
        self._servers = bootstrap_servers
        self._access = access
        self._timeout_s = timeout_s
        self._producer: AIOKafkaProducer | None = None
        self._one_at_a_time = asyncio.Lock()

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Make them durable; see `DeadLetters`."""
        # A call that fails closes the client, which no other call may be using then.
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(self._timeout_s):
                    await self._write([bare(letter) if _is_too_large(letter) else letter for letter in letters])
            except (TimeoutError, KafkaError) as exc:
                await self.close()
                raise DeadLettersUnavailableError(f"{type(exc).__name__}: {exc}") from exc

    async def close(self) -> None:
        """Close the client, if there is one; what it had not sent was reported as not durable already."""
        producer, self._producer = self._producer, None
        if producer is not None:
            await close_producer(producer, flush_s=0, timeout_s=_CLOSE_S)

    async def _write(self, letters: Sequence[DeadLetter]) -> None:
        producer = await self._started()
        sent = [await self._send(producer, letter) for letter in letters]
        done = await asyncio.gather(*sent, return_exceptions=True)
        for letter, result in zip(letters, done, strict=True):
            if isinstance(result, _TOO_LARGE) and letter.value is not None:
                # The topic's limit was lowered since it was made. The client is of no more use after that.
                await self.close()
                await self._write([bare(each) if each.value else each for each in letters])
                return
            if isinstance(result, BaseException):
                raise result

    async def _send(self, producer: AIOKafkaProducer, letter: DeadLetter) -> Any:
        # The library takes no record that has neither key nor value; Kafka does, and we were sent one.
        key = b"" if letter.key is None and letter.value is None else letter.key
        try:
            return await producer.send(DEAD_LETTERS, value=letter.value, key=key, headers=_headers(letter))
        except MessageSizeTooLargeError:
            return await self._send(producer, bare(letter))

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._servers,
                acks="all",
                enable_idempotence=True,
                max_request_size=MAX_DEAD_LETTER_BYTES,
                # Also how long a topic is looked for; what must be within the limit of one call.
                request_timeout_ms=min(_REQUEST_TIMEOUT_MS, int(self._timeout_s * 1000 / 3)),
                **self._access,
            )
            try:
                await producer.start()
                await self._see_to_topic(producer)
            except BaseException:
                await close_producer(producer, flush_s=0, timeout_s=_CLOSE_S)
                raise
            self._producer = producer
        return self._producer

    async def _see_to_topic(self, producer: AIOKafkaProducer) -> None:
        try:
            await producer.partitions_for(DEAD_LETTERS)
        except UnknownTopicOrPartitionError:
            log.warning("the dead-letter topic is gone and is made again", topic=DEAD_LETTERS)
            await ensure_like(self._servers, self._access, DEAD_LETTERS, LOGS)
            await producer.client.force_metadata_update()


def _is_too_large(letter: DeadLetter) -> bool:
    return len(letter.value or b"") + len(letter.key or b"") > _LARGEST_LETTER


def _headers(letter: DeadLetter) -> list[tuple[str, bytes]]:
    headers = [
        ("reason", f"{letter.reason}: {letter.detail}"[:2000].encode(errors="replace")),
        ("source-topic", letter.partition.topic.encode()),
        ("source-partition", str(letter.partition.number).encode()),
        ("source-offset", str(letter.offset).encode()),
    ]
    if letter.first_offset is not None:
        headers.append(("source-first-offset", str(letter.first_offset).encode()))
    if letter.traceparent is not None:
        headers.append((trace.HEADER, letter.traceparent))
    return headers
