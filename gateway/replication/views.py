"""
What the consumers of one region say, put together. PURE.

All of them look at the same Kafka, but not at the same moment, and one may not have read yet what another has. So of how far copies
are each place counts where it is furthest: a position that goes back has gone back once the last of them has seen it.
A consumer that fell silent, or whose look has grown old, has no say.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeVar

from gateway.replication.losses import Window
from shared.wire.replication import Copies, Place, RegionReport

OLDER_S: Final = 5.0

V = TypeVar("V")
View = tuple[RegionReport, Window]


def put_together(views: Sequence[View]) -> View:
    """Return one report, as of the newest of `views`, of which there must be one."""
    newest, window = max(views, key=lambda view: view[1].since)
    if len(views) == 1:
        return newest, window
    heard = [view for view in views if view[1].since >= window.since - OLDER_S]
    sources = {source for report, _ in heard for source in report.copies}
    copies = {
        source: _furthest([(r.copies[source], w) for r, w in heard if source in r.copies], window) for source in sources
    }
    return newest.model_copy(update={"copies": copies}), window


def _furthest(told: Sequence[tuple[Copies, Window]], now: Window) -> Copies:
    beats = [w.since - c.heartbeat_age_s for c, w in told if c.heartbeat_age_s is not None]
    return Copies(
        copied=_largest([c.copied for c, _ in told], int),
        noted=_largest([c.noted for c, _ in told], int),
        heartbeat_age_s=max(0.0, now.since - max(beats)) if beats else None,
        # The copy grows only: the newest pair is the one that is furthest there.
        pairs=_largest([c.pairs for c, _ in told], lambda pair: pair.target),
    )


def _largest(maps: Sequence[Mapping[Place, V]], size: Callable[[V], int]) -> dict[Place, V]:
    return {where: max((m[where] for m in maps if where in m), key=size) for where in {w for m in maps for w in m}}
