"""
What is known about one direction of replication. PURE: moments are arguments, in monotonic seconds.

The source's region says what its log holds, the target's says how far that is copied. Either may fall silent while the
other goes on, and so may the link between them. A number must not stand still because its source fell silent:

* lag in seconds   now minus the newest moment of which everything is known to be copied. A heartbeat a second is
                   part of "everything", so this holds while no event flows, too.
* lag in records   the source's ends as last seen minus the target's positions as last seen.
* up               something was copied, or there was nothing left to copy, within the last `UP_WITHIN_S` seconds, and no
                   partition stands still meanwhile (`standstill`).

An observation is of some moment between `since` and `until`, because asking takes time: what is said about the source's
ends counts from `since`, and two observations are compared only when they do not overlap.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.replication.losses import Losses, Window, Wrong
from gateway.replication.standstill import Standstills
from shared.wire.regions import Region
from shared.wire.replication import Copies, Place, Span, holds_events

UP_WITHIN_S: Final = 15.0
# The longest split is remembered in no more moments than these; the longer it is the further they are apart.
MOMENTS: Final = 512
_SOURCE_VIEWS: Final = 8


@dataclass(frozen=True, slots=True)
class LinkState:
    """
    One direction at one moment.

    Attributes:
        up: Whether it copies.
        lag_s: Seconds since everything was known to be copied.
        lag_records: Events in the source and not in the target, by what was last seen of both; None until both were.
        split_at: Since when it does not copy, or not all of it; None while it does.
        stopped: Partitions that are not copied while others are, each with the offset of the record that is not.
        source_age_s: Seconds since the source's log was seen; None before the first time.
        target_age_s: The same for the target's positions.
        heartbeat_age_s: Age of the newest heartbeat that got through; None before the first one.
    """

    up: bool
    lag_s: float
    lag_records: int | None
    split_at: float | None
    stopped: Mapping[Place, int]
    source_age_s: float | None
    target_age_s: float | None
    heartbeat_age_s: float | None


@dataclass(slots=True)
class _SourceView:
    window: Window
    spans: Mapping[Place, Span]


class Link:
    """
    One direction.

    Args:
        source: Where events are accepted.
        target: Where they are copied to.
        began: When watching began.
    """

    def __init__(self, source: Region, target: Region, began: float) -> None:
        self.source = source
        self.target = target
        self._began = began
        self._views: deque[_SourceView] = deque(maxlen=_SOURCE_VIEWS)
        self._uncopied: deque[_SourceView] = deque()
        self._losses = Losses()
        self._standstills = Standstills()
        self._copied: Mapping[Place, int] = {}
        self._seen_target: float | None = None
        self._caught_up_at: float | None = None
        self._progress_at: float | None = None
        self._heartbeat_at: float | None = None

    def see_source(
        self, spans: Mapping[Place, Span], window: Window, topic_ids: Mapping[str, str] | None = None
    ) -> Sequence[Wrong]:
        """Take in what the source's log holds, and return what went wrong since the last time."""
        if self._views and window.since <= self._views[-1].window.since:
            return ()
        if self._views:
            # A topic that is away for a moment still has its events, or has lost them: its end is no reason to say that all is well.
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
        """Take in how far the target is, and return what went wrong since the last time."""
        if self._seen_target is not None and window.since <= self._seen_target:
            return ()
        # Only what was removed before the position was asked for: else a copy made in between would look lost.
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
        """Return what can be said at `now`; asking changes nothing, so a scrape may."""
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
        # It was behind when watching began; the newest heartbeat that got through is from when it last was not.
        return self._began if self._heartbeat_at is None else min(self._began, self._heartbeat_at)

    def _lag_records(self) -> int | None:
        if not self._views or self._seen_target is None:
            return None
        spans = self._views[-1].spans
        return sum(self._left(where, span.end) for where, span in spans.items() if holds_events(where))

    def _left(self, where: Place, end: int) -> int:
        """Return how many records before `end` the source holds and the target does not."""
        span = self._views[-1].spans.get(where)
        if span is not None:
            end = min(end, span.end - span.marks)
        beginning = span.beginning if span else 0
        return max(0, end - max(self._losses.position(where) or 0, beginning))

    def _waiting(self) -> Mapping[Place, int]:
        """Return the partitions with events left to copy, each with the offset of the first of them."""
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
