"""
Writes events to Kafka, with one outcome each, in bounded time and bounded memory.

* Time: a group has one deadline. The publisher refuses each event that Kafka has not acknowledged by then, although Kafka
  may still write it. Its identity makes a retry harmless.
* Memory: bytes count as in flight until Kafka has answered, or the client that holds them is closed. The deadline does not
  free them: aiokafka continues to retry, so each outage would add to the memory that it holds.
* Order: the events of a group are sent in order. If the client does not take one, none after it is sent.
"""

import asyncio
import time

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import repeat
from typing import Final, NamedTuple

from producer.connection import Connection
from producer.metrics import ProducerMetrics, SendOutcome
from producer.ports import Acknowledgement, ClientBrokenError, KafkaClient, NotSentError, RecordTooLargeError
from producer.settings import ProducerSettings
from shared.event.outcome import Accepted, Outcome, Refused
from shared.event.sealed import SealedRecord
from shared.event.tenant import kafka_key

# Memory for each record beside its bytes: futures, metadata, tuples. With it a flood of tiny events reaches the limit, too.
OVERHEAD_BYTES: Final = 512

NOT_CONNECTED: Final = Refused(503, "the region's Kafka cannot be reached; retry", retryable=True)
OVERLOADED: Final = Refused(503, "too much is waiting for the region's Kafka; retry later", retryable=True)
NOT_SENT: Final = Refused(503, "the region's Kafka did not take the event in time; retry", retryable=True)
UNKNOWN: Final = Refused(
    503,
    "the region's Kafka did not acknowledge in time; the event may or may not have been written: "
    "retry with the same eventId and timestamp",
    retryable=True,
)
FAILED: Final = Refused(
    503,
    "the connection to the region's Kafka broke; the event may or may not have been written: "
    "retry with the same eventId and timestamp",
    retryable=True,
)
TOO_LARGE: Final = Refused(413, "the event is larger than the region's Kafka takes", retryable=False)

_LABELS: Final[Mapping[Refused, SendOutcome]] = {
    NOT_CONNECTED: "error",
    OVERLOADED: "overload",
    NOT_SENT: "timeout",
    UNKNOWN: "timeout",
    FAILED: "error",
    TOO_LARGE: "error",
}


class _InFlight(NamedTuple):
    acknowledgement: Acknowledgement
    size: int


class Publisher:
    """Publishes to one region's Kafka."""

    def __init__(
        self,
        connection: Connection,
        settings: ProducerSettings,
        metrics: ProducerMetrics,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._send_timeout_s = settings.send_timeout_ms / 1000
        self._max_in_flight_bytes = settings.max_in_flight_bytes
        self._accepted = Accepted(settings.region)
        self._in_flight_bytes = 0
        self._in_flight_gauge = metrics.in_flight
        self._duration = metrics.send_duration
        self._acknowledged = metrics.send["acknowledged"]
        self._refused = {refusal: metrics.send[label] for refusal, label in _LABELS.items()}

    @property
    def in_flight_bytes(self) -> int:
        """Bytes in flight: sent to Kafka, and not answered yet."""
        return self._in_flight_bytes

    async def publish(
        self,
        records: Sequence[SealedRecord],
        traceparents: Sequence[bytes | None] | None = None,
        wanted: Sequence[bytes | None] | None = None,
    ) -> Sequence[Outcome]:
        """
        Write the records.

        Args:
            records: The records, in the order in which they are written.
            traceparents: One a record, or None for a record without one. None if no record has one.
            wanted: The region that each was meant for, likewise.

        Returns:
            One outcome a record, in order, within the send timeout.
        """
        client = self._connection.client
        if client is None:
            self._refused[NOT_CONNECTED].inc(len(records))
            return [NOT_CONNECTED] * len(records)
        begin = self._clock()
        deadline = asyncio.get_running_loop().time() + self._send_timeout_s
        attempts: list[_InFlight | Refused] = []
        rest = NOT_SENT
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(deadline):
                    beside = zip(traceparents or repeat(None), wanted or repeat(None), strict=False)
                    rest = await self._enqueue(client, records, beside, attempts)
            await _wait(attempts, deadline)
        finally:
            # Also when the caller is cancelled: sent records count as in flight until Kafka answers.
            self._settle(client, attempts)
        if any(isinstance(attempt, _InFlight) for attempt in attempts):
            self._duration.observe(self._clock() - begin)
        attempts.extend([rest] * (len(records) - len(attempts)))
        outcomes = [self._outcome(attempt) for attempt in attempts]
        self._count(outcomes)
        return outcomes

    async def _enqueue(
        self,
        client: KafkaClient,
        records: Sequence[SealedRecord],
        beside: Iterable[tuple[bytes | None, bytes | None]],
        attempts: list[_InFlight | Refused],
    ) -> Refused:
        """Append one attempt a record. Return the refusal for records that were not attempted."""
        for record, (traceparent, wanted) in zip(records, beside, strict=False):
            key, value = record.correlation_id.encode(), record.value
            if record.tenant is not None:
                key = kafka_key(record.tenant, record.correlation_id).encode()
            size = len(key) + len(value) + OVERHEAD_BYTES
            if self._in_flight_bytes + size > self._max_in_flight_bytes:
                return OVERLOADED
            # Count the bytes before the wait for room, so that many waiting groups cannot exceed the limit together.
            self._add_in_flight(size)
            sent = None
            try:
                sent = _InFlight(await client.send(key, value, traceparent, wanted), size)
            except RecordTooLargeError:
                attempts.append(TOO_LARGE)
            except NotSentError:
                return NOT_SENT
            except ClientBrokenError as exc:
                self._connection.broke(client, str(exc))
                return NOT_SENT
            finally:
                if sent is None:
                    self._add_in_flight(-size)
            if sent is not None:
                attempts.append(sent)
                self._connection.asked(client)
        return NOT_SENT

    def _settle(self, client: KafkaClient, attempts: Sequence[_InFlight | Refused]) -> None:
        answered = 0
        acknowledged = False
        for attempt in attempts:
            if isinstance(attempt, Refused):
                continue
            if attempt.acknowledgement.done():
                answered += attempt.size
                acknowledged = self._is_written(client, attempt.acknowledgement) or acknowledged
            else:
                self._settle_when_answered(client, attempt)
        self._add_in_flight(-answered)
        if acknowledged:
            self._connection.acknowledged(client, others_owed=self._in_flight_bytes > 0)

    def _settle_when_answered(self, client: KafkaClient, sent: _InFlight) -> None:
        def settle(acknowledgement: Acknowledgement) -> None:
            self._add_in_flight(-sent.size)
            if self._is_written(client, acknowledgement):
                self._connection.acknowledged(client, others_owed=self._in_flight_bytes > 0)

        sent.acknowledgement.add_done_callback(settle)

    def _is_written(self, client: KafkaClient, acknowledgement: Acknowledgement) -> bool:
        if acknowledgement.cancelled():
            return False
        error = acknowledgement.exception()
        if error is not None:
            self._connection.broke(client, repr(error))
        return error is None

    def _outcome(self, attempt: _InFlight | Refused) -> Outcome:
        if isinstance(attempt, Refused):
            return attempt
        acknowledgement = attempt.acknowledgement
        if not acknowledgement.done():
            return UNKNOWN
        return FAILED if acknowledgement.cancelled() or acknowledgement.exception() else self._accepted

    def _count(self, outcomes: Sequence[Outcome]) -> None:
        refused = Counter(outcome for outcome in outcomes if isinstance(outcome, Refused))
        self._acknowledged.inc(len(outcomes) - refused.total())
        for refusal, count in refused.items():
            self._refused[refusal].inc(count)

    def _add_in_flight(self, size: int) -> None:
        self._in_flight_bytes += size
        self._in_flight_gauge.set(self._in_flight_bytes)


async def _wait(attempts: Sequence[_InFlight | Refused], deadline: float) -> None:
    # One after the other: the futures of one Kafka batch are done together, so this wakes once a batch. Nearly all of the
    # loop is `done()`. `wait` does not cancel what it waits for, as awaiting a future directly would.
    now = asyncio.get_running_loop().time
    for attempt in attempts:
        if isinstance(attempt, _InFlight) and not attempt.acknowledgement.done():
            left = deadline - now()
            if left <= 0:
                return
            await asyncio.wait((attempt.acknowledgement,), timeout=left)
