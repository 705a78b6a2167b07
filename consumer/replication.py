"""
Watches replication beside the consumer's work: looks once a second, and keeps what was seen for whoever asks.

Nothing here can hold up or end the work. What cannot be seen grows old, and its age is part of the answer.
"""

import asyncio
import time

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import structlog

from aiokafka.errors import KafkaError

from consumer.adapters.kafka_replication import KafkaReplication
from shared.regions import Region
from shared.replication import Copies, RegionReport, Span

log: Final = structlog.stdlib.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
LOOK_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    spans: Mapping[str, Span]
    copies: Mapping[Region, Copies]


class ReplicationWatch:
    """
    Looks until cancelled.

    Args:
        region: Whose Kafka this is.
        connect: Makes what looks; called again after an error.
        clock: Monotonic seconds.
    """

    def __init__(
        self, region: Region, connect: Callable[[], KafkaReplication], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._region = region
        self._connect = connect
        self._clock = clock
        self._seen: _Seen | None = None
        self._blind = False

    def report(self) -> RegionReport | None:
        """Return what was seen last, None before the first time."""
        if self._seen is None:
            return None
        age_s = max(0.0, self._clock() - self._seen.at)
        return RegionReport(
            region=self._region, age_s=age_s, spans=dict(self._seen.spans), copies=dict(self._seen.copies)
        )

    async def run(self) -> None:
        """Look again and again, with a new connection after each error."""
        while True:
            kafka = self._connect()
            try:
                await self._look_until_it_fails(kafka)
            except (KafkaError, OSError, TimeoutError) as exc:
                if not self._blind:
                    log.warning("replication cannot be seen", error=f"{type(exc).__name__}: {exc}")
                self._blind = True
            finally:
                await kafka.stop()
            await asyncio.sleep(LOOK_EVERY_S)

    async def _look_until_it_fails(self, kafka: KafkaReplication) -> None:
        async with asyncio.timeout(LOOK_TIMEOUT_S):
            await kafka.start()
        while True:
            at = self._clock()
            async with asyncio.timeout(LOOK_TIMEOUT_S):
                spans, copies = await kafka.look()
            # As of the question: what was seen is at least as new.
            self._seen = _Seen(at, spans, copies)
            if self._blind:
                log.info("replication is seen again")
            self._blind = False
            await asyncio.sleep(max(0.0, at + LOOK_EVERY_S - self._clock()))
