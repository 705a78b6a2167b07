"""An event's way through the consumer as a span; around the store only where there is a collector (`shared.process.spans`)."""

import time

from collections.abc import Collection, Mapping, Sequence
from uuid import UUID

from consumer.envelope import Partition, Row
from consumer.ports import Claim, EventStore, Progress
from shared.event.decode import read_record
from shared.process.spans import Spans


class TracedStore:
    """
    `EventStore` that makes a span of each traced event that was stored, from its receipt to its COMMIT.

    Args:
        store: Does the work.
        spans: Where they go.
        region: The consumer's own.
    """

    def __init__(self, store: EventStore, spans: Spans, region: str) -> None:
        self._store = store
        self._spans = spans
        self._region = region

    async def claim(self, partitions: Collection[Partition]) -> Claim:
        """See `EventStore`."""
        return await self._store.claim(partitions)

    def encode(self, rows: Sequence[Row], generation: int) -> bytes | None:
        """See `EventStore`."""
        return self._store.encode(rows, generation)

    async def known(self, rows: Sequence[Row]) -> Collection[int]:
        """See `EventStore`."""
        return await self._store.known(rows)

    async def store(
        self,
        rows: Sequence[Row],
        progress: Mapping[Partition, Progress],
        generation: int,
        encoded: bytes | None = None,
    ) -> Collection[int]:
        """See `EventStore`."""
        new = await self._store.store(rows, progress, generation, encoded)
        for index, row in enumerate(rows):
            envelope = row.envelope
            if envelope.traceparent is None:
                continue
            span = self._spans.begin(
                "store",
                envelope.traceparent,
                at_us=envelope.received_us,
                eventId=str(UUID(bytes=envelope.event_id)),
                correlationId=read_record(envelope.value)[0].correlation_id,
                region=self._region,
                origin=envelope.origin,
                mirrored=envelope.mirrored,
                duplicate=index not in new,
                late=row.lateness.reason if row.lateness else "in order",
            )
            # A gateway's clock may be ahead of ours; no span ends before it begins.
            span.end(at_us=max(envelope.received_us, time.time_ns() // 1000))
        return new
