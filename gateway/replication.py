"""
Watches replication from where both its ends can be asked: the side effects around `links`.

Each region's consumer is asked once an interval, all at the same time; each direction's state becomes metrics, and what
went wrong a log line that says where.
"""

import asyncio
import math

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Final

import structlog

from gateway.errors import RegionError
from gateway.forwarding import ConsumerClient
from gateway.health import Clock
from gateway.links import Gap, Link, LinkState, Reset, Window
from shared.metrics import GatewayMetrics
from shared.regions import Region
from shared.replication import RegionReport

log: Final = structlog.stdlib.get_logger(__name__)


class ReplicationWatch:
    """
    All directions between the regions whose consumers are known.

    Args:
        consumers: By region.
        metrics: Where the states are shown.
        clock: Monotonic seconds.

    Attributes:
        links: One a direction.
        troubles: Why a region's consumer does not say how things are; None for one that does.
    """

    def __init__(self, consumers: Mapping[Region, ConsumerClient], metrics: GatewayMetrics, clock: Clock) -> None:
        self.links: Sequence[Link] = [Link(*pair, began=clock()) for pair in permutations(consumers, 2)]
        self.troubles: dict[Region, str | None] = dict.fromkeys(consumers)
        self._consumers = consumers
        self._metrics = metrics
        self._clock = clock
        self._was_up: dict[Link, bool] = {}
        for link in self.links:
            self._show(link)

    def now(self) -> float:
        """Return the present moment, for the links' `state`."""
        return self._clock()

    async def run(self, interval_s: float) -> None:
        """Look every `interval_s` seconds, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(interval_s)

    async def look(self) -> None:
        """Ask every consumer once."""
        await asyncio.gather(*(self._ask(consumer) for consumer in self._consumers.values()))
        self._tell_changes()

    async def _ask(self, consumer: ConsumerClient) -> None:
        since = self._clock()
        try:
            report = await consumer.report()
        except RegionError as exc:
            self._tell_trouble(consumer.region, str(exc))
            return
        self._tell_trouble(consumer.region, None)
        self._take_in(report, Window(since - report.age_s, self._clock() - report.age_s))

    def _take_in(self, report: RegionReport, window: Window) -> None:
        for link in self.links:
            if link.source == report.region:
                link.see_source(report.spans, window)
            elif link.target == report.region and link.source in report.copies:
                for what in link.see_target(report.copies[link.source], window):
                    self._count(link, what)

    def _count(self, link: Link, what: Gap | Reset) -> None:
        labels = (link.source, link.target)
        if isinstance(what, Gap):
            self._metrics.replication_gaps.labels(*labels).inc(what.count)
            log.error(
                "events were removed before they were copied",
                source=link.source,
                target=link.target,
                partition=what.where,
                first=what.first,
                count=what.count,
            )
        else:
            self._metrics.replication_resets.labels(*labels).inc()
            log.warning(
                "copying begins anew",
                source=link.source,
                target=link.target,
                partition=what.where,
                before=what.before,
                after=what.after,
            )

    def _show(self, link: Link) -> None:
        labels = (link.source, link.target)
        for counter in (self._metrics.replication_gaps, self._metrics.replication_resets):
            counter.labels(*labels)
        # Asked for when they are read: what is not looked after any more must not stand still either.
        self._metrics.replication_up.labels(*labels).set_function(lambda: self._state(link).up)
        self._metrics.replication_lag_seconds.labels(*labels).set_function(lambda: self._state(link).lag_s)
        self._metrics.replication_lag_records.labels(*labels).set_function(
            lambda: _or_nan(self._state(link).lag_records)
        )
        self._metrics.heartbeat_age.labels(*labels).set_function(lambda: _or_nan(self._state(link).heartbeat_age_s))

    def _state(self, link: Link) -> LinkState:
        return link.state(self._clock())

    def _tell_changes(self) -> None:
        for link in self.links:
            state = self._state(link)
            if self._was_up.get(link) is not state.up and (state.up or link in self._was_up):
                log.info(
                    "replication changed state",
                    source=link.source,
                    target=link.target,
                    up=state.up,
                    lag_s=round(state.lag_s, 1),
                    lag_records=state.lag_records,
                )
            self._was_up[link] = state.up

    def _tell_trouble(self, region: Region, trouble: str | None) -> None:
        if (trouble is None) is not (self.troubles[region] is None):
            log.info("consumer tells about replication", region=region, trouble=trouble)
        self.troubles[region] = trouble


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number
