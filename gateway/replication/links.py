"""
The state of one direction of replication. PURE: moments are arguments, in monotonic seconds.

The source's consumer reports what the source's log holds. The target's consumer reports how far that log is copied. Either
report may stop while the other continues, and so may the link between the regions. The lag must not stand still meanwhile:

* lag in seconds   Now minus the newest moment up to which everything is known to be copied. The source writes a heartbeat
                   a second, so this holds while no event flows, too.
* lag in records   The source's ends minus the target's positions, both as last observed.
* up               Something was copied, or there was nothing left to copy, within the last `UP_WITHIN_S` seconds, and no
                   partition stands still (`standstill`).

Asking takes time, so an observation is of some moment between `since` and `until`. The source's ends hold from `since` on.
Two observations are compared only if they do not overlap.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.replication.losses import Losses, Window, Wrong
from gateway.replication.standstill import Standstills
from shared.wire.regions import Region
from shared.wire.replication import Copies, OffsetRange, SourcePartition, holds_events

UP_WITHIN_S: Final = 15.0
# Observations kept during a split. The longer the split, the further they are apart.
MOMENTS: Final = 512
_SOURCE_VIEWS: Final = 8


@dataclass(frozen=True, slots=True)
class LinkState:
    """
    One direction at one moment.

    Attributes:
        up: Whether it copies.
        lag_s: Seconds since everything was known to be copied.
        lag_records: Events in the source and not in the target, by the last observations of both. None before them.
        split_at: Since when a partition or all of them are not copied. None while the direction is up.
        stopped: Partitions that stand still while others are copied, each with the offset of its first uncopied record.
        source_age_s: Seconds since the source's log was last observed. None before the first time.
        target_age_s: The same for the target's positions.
        heartbeat_age_s: Age of the newest heartbeat that was copied, in seconds. None before the first one.
    """

    up: bool
    lag_s: float
    lag_records: int | None
    split_at: float | None
    stopped: Mapping[SourcePartition, int]
    source_age_s: float | None
    target_age_s: float | None
    heartbeat_age_s: float | None


@dataclass(slots=True)
class _SourceView:
    window: Window
    spans: Mapping[SourcePartition, OffsetRange]


class Link:
    """
    One direction.

    Args:
        source: Region that the events are copied from.
        target: Region that they are copied to.
        began: When the gateway began to watch.
    """

    def __init__(self, source: Region, target: Region, began: float) -> None:
        self.source = source
        self.target = target
        self._began = began
        self._views: deque[_SourceView] = deque(maxlen=_SOURCE_VIEWS)
        self._uncopied: deque[_SourceView] = deque()
        self._losses = Losses()
        self._standstills = Standstills()
        self._copied: Mapping[SourcePartition, int] = {}
        self._seen_target: float | None = None
        self._caught_up_at: float | None = None
        self._progress_at: float | None = None
        self._heartbeat_at: float | None = None

    def see_source(
        self, spans: Mapping[SourcePartition, OffsetRange], window: Window, topic_ids: Mapping[str, str] | None = None
    ) -> Sequence[Wrong]:
        """Record what the source's log holds, and return the losses that this observation shows."""
        if self._views and window.since <= self._views[-1].window.since:
            return ()
        if self._views:
            # A topic that is missing keeps its last known ends. Without them its uncopied events would count as copied.
            spans = {**self._views[-1].spans, **spans}
        wrong, stale = self._losses.see_source(spans, topic_ids or {}, window)
        if stale:
            self._uncopied.clear()
            self._views.clear()
        view = _SourceView(window, spans)
        self._views.append(view)
        self._uncopied.append(view)
        if len(self._uncopied) > MOMENTS:
            self._thin_out()
        self._take_off_what_is_copied(window.since)
        return wrong

    def see_target(self, copies: Copies, window: Window) -> Sequence[Wrong]:
        """Record how far the target has copied, and return the losses that this observation shows."""
        if self._seen_target is not None and window.since <= self._seen_target:
            return ()
        # Compare with an observation of the source that ended before this one began. With a later one, a record that was
        # copied and then removed in between would look lost.
        before = next((view.spans for view in reversed(self._views) if view.window.until <= window.since), {})
        wrong = self._losses.see_target(copies, window, before)
        moved = any(offset > self._copied.get(where, offset) for where, offset in copies.copied.items())
        self._copied = copies.copied
        self._seen_target = window.since
        if copies.heartbeat_age_s is not None:
            self._heartbeat_at = window.since - copies.heartbeat_age_s
        if moved:
            self._progressed(window.since)
        self._take_off_what_is_copied(window.since)
        self._standstills.see(self._waiting(), window.since, moved=moved)
        return wrong

    def state(self, now: float) -> LinkState:
        """Return the state at `now`. The call changes nothing, so a metrics scrape may make it."""
        seen_source = self._views[-1].window.since if self._views else None
        stopped = self._standstills.stopped(now)
        up = self._progress_at is not None and now - self._progress_at <= UP_WITHIN_S and not stopped
        moved_at = self._caught_up_since() if self._progress_at is None else self._progress_at
        split_at = min([moved_at, *map(self._standstills.since, stopped)])
        return LinkState(
            up=up,
            lag_s=max(0.0, now - self._caught_up_since()),
            lag_records=self._lag_records(),
            split_at=None if up else split_at,
            stopped=stopped,
            source_age_s=_age(seen_source, now),
            target_age_s=_age(self._seen_target, now),
            heartbeat_age_s=_age(self._heartbeat_at, now),
        )

    def _caught_up_since(self) -> float:
        if self._caught_up_at is not None:
            return self._caught_up_at
        # The direction was behind when the watch began. The newest copied heartbeat is from when it last was not.
        return self._began if self._heartbeat_at is None else min(self._began, self._heartbeat_at)

    def _lag_records(self) -> int | None:
        if not self._views or self._seen_target is None:
            return None
        spans = self._views[-1].spans
        return sum(self._left(where, span.end) for where, span in spans.items() if holds_events(where))

    def _left(self, where: SourcePartition, end: int) -> int:
        """Return how many records below offset `end` the source holds and the target does not."""
        span = self._views[-1].spans.get(where)
        if span is not None:
            end = min(end, span.end - span.marks)
        beginning = span.beginning if span else 0
        return max(0, end - max(self._losses.position(where) or 0, beginning))

    def _waiting(self) -> Mapping[SourcePartition, int]:
        """Return the partitions with uncopied events, each with the offset of its first one."""
        spans = self._views[-1].spans if self._views else {}
        return {
            where: max(self._losses.position(where) or 0, span.beginning)
            for where, span in spans.items()
            if holds_events(where) and not self._losses.is_stale(where) and self._left(where, span.end)
        }

    def _take_off_what_is_copied(self, at: float) -> None:
        if self._seen_target is None:
            return
        copied: _SourceView | None = None
        while self._uncopied and not any(
            self._left(where, span.end) for where, span in self._uncopied[0].spans.items()
        ):
            copied = self._uncopied.popleft()
        if copied is not None and (self._caught_up_at is None or copied.window.since > self._caught_up_at):
            self._caught_up_at = copied.window.since
            self._progressed(min(at, copied.window.since))

    def _progressed(self, at: float) -> None:
        self._progress_at = at if self._progress_at is None else max(self._progress_at, at)

    def _thin_out(self) -> None:
        apart = (self._uncopied[-1].window.since - self._uncopied[0].window.since) / (MOMENTS // 2)
        kept: deque[_SourceView] = deque()
        for view in self._uncopied:
            if not kept or view.window.since - kept[-1].window.since >= apart:
                kept.append(view)
        self._uncopied = kept


def _age(moment: float | None, now: float) -> float | None:
    return None if moment is None else max(0.0, now - moment)
