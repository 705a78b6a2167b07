"""
What the producer needs of a Kafka client.

* KafkaClientError          an operation of the client failed
  x KafkaUnavailableError   Kafka, or the topic, cannot be reached now
  x NotSentError            the client did not take the event, and will never write it
  x RecordTooLargeError     the topic takes no record of this size
  x ClientBrokenError       this client will never send again
"""

import asyncio

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Acknowledgement = asyncio.Future[Any]


class KafkaClientError(Exception):
    """An operation of a Kafka client failed."""


class KafkaUnavailableError(KafkaClientError):
    """Kafka cannot take events now. The message says what is missing."""


class NotSentError(KafkaClientError):
    """The client did not take the event, and will never write it."""


class RecordTooLargeError(KafkaClientError):
    """The topic refuses a record of this size, now and later."""


class ClientBrokenError(KafkaClientError):
    """The client has ended itself."""


class KafkaClient(Protocol):
    """One connected client. `Connection` replaces it when it breaks."""

    async def send(
        self, key: bytes, value: bytes, traceparent: bytes | None = None, wanted: bytes | None = None
    ) -> Acknowledgement:
        """
        Send one record. Records of one key keep the order of the calls.

        Args:
            key: Decides its partition.
            value: Its bytes.
            traceparent: Becomes its header of that name.
            wanted: The region that it was meant for, likewise.

        Returns:
            A future, done once the record is written with acks=all. It may stay undone for as long as Kafka is away. An
            exception in it means that this client is broken.

        Raises:
            NotSentError: The client had no room for it in time, or is being closed.
            RecordTooLargeError: The topic takes no record of this size.
            ClientBrokenError: This client will never send again.
        """
        ...

    async def check(self) -> None:
        """
        Check that Kafka answers and each partition of the topic has a leader.

        Raises:
            KafkaUnavailableError: Kafka does not answer, or a partition has no leader.
        """
        ...

    async def close(self, flush_s: float) -> None:
        """
        Close all connections. Records that are not acknowledged after `flush_s` seconds fail.

        Does not raise, and ends within `flush_s` plus some request timeouts.
        """
        ...


Connect = Callable[[], Awaitable[KafkaClient]]
