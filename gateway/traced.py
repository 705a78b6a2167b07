"""Reports the gateway's work on traced requests as spans. The sink is wrapped only if a collector is configured."""

from collections.abc import Sequence

from shared.event.outcome import EventSink, Outcome, Refused
from shared.event.sealed import SealedEvent
from shared.process.spans import Spans


class TracedSink:
    """
    `EventSink` that reports each traced request as a span.

    Args:
        sink: Makes the events durable.
        spans: Takes the spans (`shared.process.spans`).
    """

    def __init__(self, sink: EventSink, spans: Spans) -> None:
        self.regions = sink.regions
        self._sink = sink
        self._spans = spans

    async def accept(
        self,
        events: Sequence[SealedEvent],
        region: str | None,
        traceparent: bytes | None = None,
        *,
        hold_s: float | None = None,
    ) -> Sequence[Outcome]:
        """See `EventSink`."""
        if traceparent is None:
            return await self._sink.accept(events, region, hold_s=hold_s)
        span = self._spans.begin("gateway accept", traceparent, events=len(events), region=region or "any")
        try:
            outcomes = await self._sink.accept(events, region, span.traceparent, hold_s=hold_s)
        except BaseException as exc:
            span.end(error=type(exc).__name__)
            raise
        refused = next((outcome.detail for outcome in outcomes if isinstance(outcome, Refused)), None)
        span.end(error=refused)
        return outcomes
