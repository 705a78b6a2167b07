"""Reports the producer's work on traced records as spans. It wraps the publisher only if a collector is configured."""

from collections.abc import Sequence

from producer.publisher import Publisher
from shared.event.outcome import Outcome, Refused
from shared.event.sealed import SealedRecord
from shared.process.spans import Span, Spans


class TracedPublisher:
    """
    Publishes, and makes a span for each traced record.

    Args:
        publisher: Writes the records.
        spans: Makes the spans (`shared.process.spans`).
    """

    def __init__(self, publisher: Publisher, spans: Spans) -> None:
        self._publisher = publisher
        self._spans = spans

    async def publish(
        self,
        records: Sequence[SealedRecord],
        traceparents: Sequence[bytes | None] | None = None,
        wanted: Sequence[bytes | None] | None = None,
    ) -> Sequence[Outcome]:
        """See `Publisher`."""
        if traceparents is None:
            return await self._publisher.publish(records, wanted=wanted)
        spans = [
            None if traceparent is None else self._begin(record, traceparent)
            for record, traceparent in zip(records, traceparents, strict=True)
        ]
        outcomes: Sequence[Outcome] = ()
        try:
            outcomes = await self._publisher.publish(
                records, [None if span is None else span.traceparent for span in spans], wanted
            )
        finally:
            for index, span in enumerate(spans):
                if span is not None:
                    _end(span, outcomes[index] if outcomes else None)
        return outcomes

    def _begin(self, record: SealedRecord, traceparent: bytes) -> Span:
        return self._spans.begin(
            "kafka acknowledge",
            traceparent,
            eventId=record.event_id,
            correlationId=record.correlation_id,
            region=record.origin_region,
        )


def _end(span: Span, outcome: Outcome | None) -> None:
    if outcome is None:
        span.end(error="given up")
    else:
        span.end(error=outcome.detail if isinstance(outcome, Refused) else None)
