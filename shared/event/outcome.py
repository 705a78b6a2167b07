"""The outcome of a valid event, and the port of the component that makes it durable. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from shared.event.sealed import SealedEvent


@dataclass(frozen=True, slots=True)
class Accepted:
    """
    A region's Kafka acknowledged the event with acks=all.

    Attributes:
        region: The region that did.
        failover: Whether it is another than the one asked for.
    """

    region: str
    failover: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """
    The event was not acknowledged.

    Attributes:
        status: As HTTP would say it.
        detail: Why, and what helps.
        retryable: Whether the same event may be accepted later. It may even have been written: a retry with the same
            identity is then recognised.
    """

    status: int
    detail: str
    retryable: bool


Outcome = Accepted | Refused


class EventSink(Protocol):
    """Where valid events go."""

    regions: Sequence[str]

    async def accept(
        self,
        events: Sequence[SealedEvent],
        region: str | None,
        traceparent: bytes | None = None,
        *,
        hold_s: float | None = None,
    ) -> Sequence[Outcome]:
        """
        Make the events durable.

        Args:
            events: They have their identity; it must survive every retry.
            region: One of `regions`, or None for any.
            traceparent: Of the request; travels with each event.
            hold_s: For a client to which a refusal may be a loss: wait so long for room, or for a region, before refusing. By
                then there is an outcome. None: refuse at once what cannot be taken now.

        Returns:
            One outcome an event, in order.
        """
        ...
