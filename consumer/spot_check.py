"""
Whether Redis can be believed: of what it calls a duplicate, a sample is looked up in the store.

A copy that Redis knows is not stored again, so what Redis invents would be lost: by a client of it that should not be there, a
restored snapshot, or a mistake of ours. Looking up all of it would cost what Redis saves. A sample of each second costs one
question, and bounds how long a memory that invents goes unnoticed. Once it has invented, the store decides alone for a while.
"""

import time

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final
from uuid import UUID

import structlog

from consumer.envelope import Row
from consumer.metrics import ConsumerMetrics
from consumer.ports import StoreUnavailableError

log: Final = structlog.stdlib.get_logger(__name__)

# From one sample to the next, and how many events are in it.
EVERY_S: Final = 1.0
SAMPLE: Final = 32
# Elder days may have been dropped since: what was stored there is rightly remembered and rightly gone.
YOUNG_US: Final = 12 * 3_600_000_000
DISTRUST_S: Final = 60.0
_NAMED: Final = 5


class SpotCheck:
    """
    Looks up samples of what a memory calls duplicates.

    Args:
        known: Which of some rows are stored, as `EventStore.known` says it.
        metrics: Counts what was invented.
        wall_us: The system's clock, microseconds since 1970.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        *,
        known: Callable[[Sequence[Row]], Awaitable[Collection[int]]],
        metrics: ConsumerMetrics,
        wall_us: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._known = known
        self._invented = metrics.dedup_invented
        self._wall_us = wall_us
        self._clock = clock
        self._next = 0.0
        self._distrusted_until = 0.0

    async def passes(self, duplicates: Sequence[Row]) -> bool:
        """
        Say whether these rows may be passed over because a memory knows them.

        A store that cannot be asked says nothing against the memory.
        """
        now = self._clock()
        if now < self._distrusted_until:
            return False
        if now < self._next:
            return True
        young_us = self._wall_us() - YOUNG_US
        young = [row for row in duplicates if row.envelope.time_us > young_us]
        sample = young[:: -(-len(young) // SAMPLE) or 1]
        if not sample:
            return True
        self._next = now + EVERY_S
        try:
            known = await self._known(sample)
        except StoreUnavailableError:
            return True
        if missing := [row for index, row in enumerate(sample) if index not in known]:
            self._distrusted_until = self._clock() + DISTRUST_S
            self._invented.inc(len(missing))
            log.error(
                "Redis calls events stored that PostgreSQL does not have; PostgreSQL decides alone for a minute",
                events=len(missing),
                of=len(sample),
                eventIds=[str(UUID(bytes=row.envelope.event_id)) for row in missing[:_NAMED]],
            )
        return not missing
