"""
What the producer needs of a Kafka client.

* KafkaClientError          something that it could not do
  x KafkaUnavailableError   Kafka, or the topic, cannot be reached now
  x NotSentError            the client did not take the event; nothing of it can be written any more
  x RecordTooLargeError     the topic takes no record of this size
  x ClientBrokenError       this client will never send again
"""

import asyncio

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

Acknowledgement = asyncio.Future[Any]


class KafkaClientError(Exception):
    """Something that a Kafka client could not do."""


class KafkaUnavailableError(KafkaClientError):
    """Kafka cannot take events now; says what is missing."""


class NotSentError(KafkaClientError):
    """The client did not take the event; it will not be written."""


class RecordTooLargeError(KafkaClientError):
    """The topic refuses a record of this size, now and later."""


class ClientBrokenError(KafkaClientError):
    """The client has ended itself."""


class KafkaClient(Protocol):
    """One connected client, to be thrown away when it breaks."""

    async def send(self, key: bytes, value: bytes, traceparent: bytes | None = None) -> Acknowledgement:
        """
        Send one record; records of one key keep the order of the calls.

        Args:
            key: What decides its partition.
            value: Its bytes.
            traceparent: Becomes its header of that name.

        Returns:
            Done once the record is written with acks=all. It may stay undone for as long as Kafka is away. An exception
            means that this client is broken.

        Raises:
            NotSentError: No room for it in time, or the client is being closed.
            RecordTooLargeError: The topic takes no record of this size.
            ClientBrokenError: This client will never send again.
        """
        ...

    async def check(self) -> None:
        """
        Ask Kafka whether it is there and every partition of the topic has a leader.

        Raises:
            KafkaUnavailableError: It is not.
        """
        ...

    async def close(self, flush_s: float) -> None:
        """
        Close all connections; what is not acknowledged after `flush_s` seconds fails.

        Does not raise, and ends within `flush_s` plus some request timeouts.
        """
        ...


Connect = Callable[[], Awaitable[KafkaClient]]
