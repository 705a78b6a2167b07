"""
Probes replication beside the consumer's work: looks once a second, and keeps what was seen for the gateway, which asks.

Nothing here can hold up or end the work. What cannot be seen grows old, and its age is part of the answer.
"""

import asyncio
import contextlib
import time

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from consumer.ports import SourceUnavailableError
from consumer.within import within
from shared.wire.regions import Region
from shared.wire.replication import Copies, OffsetRange, RegionReport

log: Final = structlog.stdlib.get_logger(__name__)

LOOK_EVERY_S: Final = 1.0
LOOK_LIMIT_S: Final = 10.0
# Short, because the process waits for it at its end.
STOP_LIMIT_S: Final = 3.0


class Replication(Protocol):
    """
    The port of what is looked at.

    Attributes:
        topic_ids: Which topics the region's own partitions are of, by name, as last looked at.
    """

    topic_ids: dict[str, str]

    async def start(self) -> None:
        """
        Connect.

        Raises:
            SourceUnavailableError: Kafka cannot be reached.
        """
        ...

    async def look(self) -> tuple[Mapping[str, OffsetRange], Mapping[Region, Copies]]:
        """
        Return the region's own partitions, and how far each source is copied.

        Raises:
            SourceUnavailableError: Kafka did not say.
        """
        ...

    async def stop(self) -> None:
        """Disconnect."""
        ...


@dataclass(frozen=True, slots=True)
class _Seen:
    at: float
    spans: Mapping[str, OffsetRange]
    copies: Mapping[Region, Copies]
    topic_ids: Mapping[str, str]


class ReplicationProbe:
    """
    Looks until cancelled.

    Args:
        region: Whose Kafka this is.
        connect: Makes what looks; called again after an error.
        clock: Monotonic seconds.
        pause_s: From one look to the next, and after an error.
        limit_s: Whatever takes longer has failed.
    """

    def __init__(
        self,
        region: Region,
        connect: Callable[[], Replication],
        *,
        clock: Callable[[], float] = time.monotonic,
        pause_s: float = LOOK_EVERY_S,
        limit_s: float = LOOK_LIMIT_S,
    ) -> None:
        self._region = region
        self._connect = connect
        self._clock = clock
        self._pause_s = pause_s
        self._limit_s = limit_s
        self._seen: _Seen | None = None
        self._blind = False

    def report(self) -> RegionReport | None:
        """Return what was seen last, None before the first time."""
        if self._seen is None:
            return None
        age_s = max(0.0, self._clock() - self._seen.at)
        return RegionReport(
            region=self._region,
            age_s=age_s,
            spans=dict(self._seen.spans),
            copies=dict(self._seen.copies),
            topic_ids=dict(self._seen.topic_ids),
        )

    async def run(self) -> None:
        """Look again and again, with a new connection after each error."""
        while True:
            kafka = self._connect()
            try:
                await self._look_until_it_fails(kafka)
            except (SourceUnavailableError, OSError, TimeoutError) as exc:
                if not self._blind:
                    log.warning("replication cannot be seen", error=f"{type(exc).__name__}: {exc}")
                self._blind = True
            finally:
                with contextlib.suppress(SourceUnavailableError, OSError, TimeoutError):
                    await within(kafka.stop(), min(self._limit_s, STOP_LIMIT_S))
            await asyncio.sleep(self._pause_s)

    async def _look_until_it_fails(self, kafka: Replication) -> None:
        await within(kafka.start(), self._limit_s)
        while True:
            at = self._clock()
            spans, copies = await within(kafka.look(), self._limit_s)
            # As of the question: what was seen is at least as new.
            self._seen = _Seen(at, spans, copies, dict(kafka.topic_ids))
            if self._blind:
                log.info("replication is seen again")
            self._blind = False
            await asyncio.sleep(max(0.0, at + self._pause_s - self._clock()))
