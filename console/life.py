"""Where an event is: its row, and what each region's Kafka has of it, asked at the same time."""

import asyncio

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol
from uuid import UUID

from console.internal import UnseenError
from console.row import Row
from console.sightings import Answer
from console.verdict import Life, life_of
from shared.event.times import epoch_us
from shared.wire.finding import BEFORE_S, Found, Question
from shared.wire.regions import Region

# With the time for two rows the answer comes within a second and a half, whichever region is away.
ASK_S: Final = 1.25
# A client's clock may be ahead by more than a gateway's, and without a row it is all there is.
UNSTORED_BEFORE_S: Final = 60.0

FindRow = Callable[[], Awaitable[Row | None]]


class Regions(Protocol):
    """
    The port of what is asked.

    Attributes:
        regions: All of them.
    """

    @property
    def regions(self) -> Sequence[Region]: ...  # noqa: D102

    async def find(self, region: Region, question: Question, within_s: float) -> Found:
        """
        Ask what a region's Kafka has of an event.

        Raises:
            UnseenError: It does not say.
        """
        ...


async def trace(
    event_id: UUID,
    time_us: int,
    find_row: FindRow,
    regions: Regions,
    *,
    now_us: int,
    correlation_id: str | None = None,
    tenant: str | None = None,
) -> Life:
    """
    Follow an event.

    Args:
        event_id: Half of its identity.
        time_us: The other half, microseconds since 1970.
        find_row: Looks for it where events are stored. Once more at the end: it may be stored while the regions are asked.
        regions: Where to ask.
        now_us: Microseconds since 1970.
        correlation_id: Of an event that is not stored, if it is known.
        tenant: Whose it is.
    """
    row = await find_row()
    question = Question(
        event_id=event_id,
        time_us=time_us,
        correlation_id=correlation_id if row is None else row.correlation_id,
        since_ms=_since_us(time_us, row, now_us) // 1000,
        stored=row is not None,
        tenant=tenant,
    )
    answers = await asyncio.gather(*(_answer(regions, region, question) for region in regions.regions))
    if row is None:
        # A record that was read meanwhile would else have neither a row nor a dead letter.
        row = await find_row()
    return life_of(time_us, row, dict(zip(regions.regions, answers, strict=True)))


async def _answer(regions: Regions, region: Region, question: Question) -> Answer:
    try:
        return await regions.find(region, question, ASK_S)
    except UnseenError as exc:
        return str(exc)


def _since_us(time_us: int, row: Row | None, now_us: int) -> int:
    """Return when an event cannot have been written before, as far as clocks agree."""
    if row is not None:
        return max(0, epoch_us(row.received_at) - int(BEFORE_S * 1_000_000))
    return max(0, min(time_us, now_us) - int(UNSTORED_BEFORE_S * 1_000_000))
