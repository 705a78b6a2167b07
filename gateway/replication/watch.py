"""
Monitors replication in the gateway, which can ask both ends: the side effects around `links`.

The monitor asks all regions' consumers at the same time, once an interval. It shows each direction's state as metrics. A
loss becomes a counter and a log line that names the partition.
"""

import asyncio
import math

from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Final

import structlog

from gateway.delivery.clients import ConsumerClient
from gateway.delivery.errors import RegionError
from gateway.delivery.lane import Clock
from gateway.metrics import GatewayMetrics
from gateway.replication.links import Link, LinkState
from gateway.replication.losses import Gap, Reset, Rewritten, Window, Wrong
from gateway.replication.views import View, merge_reports
from shared.wire.regions import Region
from shared.wire.replication import RegionReport, SourcePartition

log: Final = structlog.stdlib.get_logger(__name__)


class ReplicationMonitor:
    """
    All directions between the regions whose consumers are known.

    Args:
        consumers: Clients of each region's consumers.
        metrics: Show the states.
        clock: Monotonic seconds.

    Attributes:
        links: One a direction.
        troubles: By region, why none of its consumers reports. None while one does.
    """

    def __init__(
        self, consumers: Mapping[Region, Sequence[ConsumerClient]], metrics: GatewayMetrics, clock: Clock
    ) -> None:
        self.links: Sequence[Link] = [Link(*pair, began=clock()) for pair in permutations(consumers, 2)]
        self.troubles: dict[Region, str | None] = dict.fromkeys(consumers)
        self._consumers = consumers
        self._metrics = metrics
        self._clock = clock
        self._was_up: dict[Link, bool] = {}
        self._was_stopped: dict[Link, Mapping[SourcePartition, int]] = {}
        self._silent: dict[ConsumerClient, str] = {}
        for link in self.links:
            self._show(link)

    def now(self) -> float:
        """Return the present moment, for the links' `state`."""
        return self._clock()

    async def run(self, interval_s: float) -> None:
        """Call `look` every `interval_s` seconds, until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(interval_s)

    async def look(self) -> None:
        """Ask each consumer once, and show what the answers change."""
        await asyncio.gather(*(self._ask_region(region) for region in self._consumers))
        self._report_changes()

    async def _ask_region(self, region: Region) -> None:
        consumers = self._consumers[region]
        answers = await asyncio.gather(*(self._ask(consumer) for consumer in consumers))
        views = [answer for answer in answers if answer is not None]
        self.troubles[region] = None if views else "; ".join(dict.fromkeys(self._silent[c] for c in consumers))
        if views:
            self._record(*merge_reports(views))

    async def _ask(self, consumer: ConsumerClient) -> View | None:
        since = self._clock()
        try:
            report = await consumer.report()
        except RegionError as exc:
            self._report_trouble(consumer, str(exc))
            return None
        self._report_trouble(consumer, None)
        return report, Window(since - report.age_s, self._clock() - report.age_s + report.took_s)

    def _record(self, report: RegionReport, window: Window) -> None:
        for link in self.links:
            if link.source == report.region:
                for what in link.see_source(report.spans, window, report.topic_ids):
                    self._count(link, what)
            elif link.target == report.region and link.source in report.copies:
                for what in link.see_target(report.copies[link.source], window):
                    self._count(link, what)

    def _count(self, link: Link, what: Wrong) -> None:
        labels = (link.source, link.target)
        about = log.bind(source=link.source, target=link.target, partition=what.where)
        match what:
            case Gap():
                self._metrics.replication_gaps.labels(*labels).inc(what.count)
                about.error("events were removed before they were copied", first=what.first, count=what.count)
            case Reset():
                self._metrics.replication_resets.labels(*labels).inc()
                about.warning("copying begins anew", before=what.before, after=what.after)
            case Rewritten():
                self._metrics.replication_rewritten.labels(*labels).inc()
                about.error("the log is not the one that was copied", copied=what.copied, end=what.end)

    def _show(self, link: Link) -> None:
        labels = (link.source, link.target)
        metrics = self._metrics
        for counter in (metrics.replication_gaps, metrics.replication_resets, metrics.replication_rewritten):
            counter.labels(*labels)
        # Computed at each scrape, so that the lag grows even if this monitor stalls.
        self._metrics.replication_up.labels(*labels).set_function(lambda: self._state(link).up)
        self._metrics.replication_lag_seconds.labels(*labels).set_function(lambda: self._state(link).lag_s)
        self._metrics.replication_lag_records.labels(*labels).set_function(
            lambda: _or_nan(self._state(link).lag_records)
        )
        self._metrics.replication_stopped.labels(*labels).set_function(lambda: len(self._state(link).stopped))
        self._metrics.heartbeat_age.labels(*labels).set_function(lambda: _or_nan(self._state(link).heartbeat_age_s))

    def _state(self, link: Link) -> LinkState:
        return link.state(self._clock())

    def _report_changes(self) -> None:
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
            self._report_standstills(link, state.stopped)

    def _report_standstills(self, link: Link, stopped: Mapping[SourcePartition, int]) -> None:
        before = self._was_stopped.get(link, {})
        about = log.bind(source=link.source, target=link.target)
        for where, offset in stopped.items() - before.items():
            about.error("a record is not copied, and holds up its partition", partition=where, offset=offset)
        for where, offset in before.items() - stopped.items():
            about.info("a record does not hold up its partition any more", partition=where, offset=offset)
        self._was_stopped[link] = stopped

    def _report_trouble(self, consumer: ConsumerClient, trouble: str | None) -> None:
        if (trouble is None) is (consumer in self._silent):
            event = "consumer reports on replication" if trouble is None else "consumer sends no report on replication"
            log.info(event, region=consumer.region, address=consumer.address, trouble=trouble)
        if trouble is None:
            self._silent.pop(consumer, None)
        else:
            self._silent[consumer] = trouble


def _or_nan(number: float | None) -> float:
    return math.nan if number is None else number
