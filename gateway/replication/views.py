"""
Merges the reports of one region's consumers into one. PURE.

All of them observe the same Kafka, but at different moments, and one may have read positions that another has not. So the
furthest position of each partition counts, and a position has gone back only when every report shows it. A consumer that
does not answer, or whose observation is older than `OLDER_S`, does not count.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from gateway.replication.losses import Window
from shared.wire.replication import Copies, RegionReport, SourcePartition

OLDER_S: Final = 5.0

V = TypeVar("V")
View = tuple[RegionReport, Window]


def merge_reports(views: Sequence[View]) -> View:
    """Return one report, as of the newest of `views`. There must be at least one."""
    newest, window = max(views, key=lambda view: view[1].since)
    if len(views) == 1:
        return newest, window
    heard = [view for view in views if view[1].since >= window.since - OLDER_S]
    sources = {source for report, _ in heard for source in report.copies}
    copies = {
        source: _furthest([(r.copies[source], w) for r, w in heard if source in r.copies], window) for source in sources
    }
    # The furthest position may be of a report whose reading began earlier and took longer.
    return newest.model_copy(update={"copies": copies}), Window(window.since, max(w.until for _, w in heard))


def _furthest(reports: Sequence[tuple[Copies, Window]], now: Window) -> Copies:
    beats = [w.since - c.heartbeat_age_s for c, w in reports if c.heartbeat_age_s is not None]
    return Copies(
        copied=_largest([c.copied for c, _ in reports], int),
        noted=_largest([c.noted for c, _ in reports], int),
        heartbeat_age_s=max(0.0, now.since - max(beats)) if beats else None,
        # A copy only grows, so the newest pair has the largest target offset.
        pairs=_largest([c.pairs for c, _ in reports], lambda pair: pair.target),
    )


def _largest(maps: Sequence[Mapping[SourcePartition, V]], size: Callable[[V], int]) -> dict[SourcePartition, V]:
    return {where: max((m[where] for m in maps if where in m), key=size) for where in {w for m in maps for w in m}}
