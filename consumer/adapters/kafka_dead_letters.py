"""`DeadLetters` on the region's own Kafka: topic `logs-dlq`, original key and bytes, the reason in headers."""

import asyncio

from collections.abc import Sequence

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from consumer.envelope import DeadLetter
from consumer.ports import DeadLettersUnavailableError
from shared import trace
from shared.regions import DEAD_LETTERS, MAX_DEAD_LETTER_BYTES


class KafkaDeadLetters:
    """
    Write dead letters with acks=all.

    The client is made for the first letter, and anew after a failure: letters are rare, and a client that nobody uses
    is one more thing that can be broken when it is needed.

    Args:
        bootstrap_servers: The region's Kafka.
        timeout_s: Letters that are not acknowledged by then are not durable.
    """

    def __init__(self, bootstrap_servers: str, *, timeout_s: float) -> None:
        self._servers = bootstrap_servers
        self._timeout_s = timeout_s
        self._producer: AIOKafkaProducer | None = None

    async def write(self, letters: Sequence[DeadLetter]) -> None:
        """Make them durable; see `DeadLetters`."""
        try:
            async with asyncio.timeout(self._timeout_s):
                producer = await self._started()
                sent = [
                    await producer.send(DEAD_LETTERS, value=letter.value, key=letter.key, headers=_headers(letter))
                    for letter in letters
                ]
                await asyncio.gather(*sent)
        except (TimeoutError, KafkaError) as exc:
            await self.close()
            raise DeadLettersUnavailableError(f"{type(exc).__name__}: {exc}") from exc

    async def close(self) -> None:
        """Close the client, if there is one."""
        producer, self._producer = self._producer, None
        if producer is not None:
            try:
                async with asyncio.timeout(2):
                    await producer.stop()
            except (TimeoutError, KafkaError):
                pass  # what it had not sent was reported as not durable already

    async def _started(self) -> AIOKafkaProducer:
        if self._producer is None:
            producer = AIOKafkaProducer(
                bootstrap_servers=self._servers,
                acks="all",
                enable_idempotence=True,
                max_request_size=MAX_DEAD_LETTER_BYTES,
            )
            try:
                await producer.start()
            except BaseException:
                await producer.stop()
                raise
            self._producer = producer
        return self._producer


def _headers(letter: DeadLetter) -> list[tuple[str, bytes]]:
    traced = [] if letter.traceparent is None else [(trace.HEADER, letter.traceparent)]
    return [
        ("reason", f"{letter.reason}: {letter.detail}"[:2000].encode(errors="replace")),
        ("source-topic", letter.partition.topic.encode()),
        ("source-partition", str(letter.partition.number).encode()),
        ("source-offset", str(letter.offset).encode()),
        *traced,
    ]
