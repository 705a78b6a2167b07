"""
Which records of one direction are lost to it: gone from the source, or passed over, before they were copied. PURE.

Three things take records from the source that MirrorMaker has not copied, and it mentions none of them:

* retention removes them. While MirrorMaker's position stands, what is gone from there on is lost at once. Where it was about to
  copy them, it goes on behind the hole; the newest copy then lies further back in the target than in the source, by
  exactly what is missing.
* the log is cut off: what was not copied of the end is lost. What is written in its place gets offsets that were copied
  once, so MirrorMaker passes it over, unless it finds its position beyond the end and begins anew.
* the topic is made anew: the same, from the first offset on.

Two observations are compared only when it is certain which of them was first. Nothing is told twice, and no more than was lost.
A copy that was made twice within the same second as a loss hides as many lost records; that is the only way to tell too few,
beside those of before the watch began.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.wire.replication import Copies, Pair, Place, Span, holds_events


@dataclass(frozen=True, slots=True)
class Window:
    """When something was observed: not before `since`, not after `until`."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that can never be copied: `count` of those from `first` on."""

    where: Place
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Reset:
    """MirrorMaker's position went back: it copies again what comes after."""

    where: Place
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The source's log is another one than was copied, or ends, at `end`, before what was copied, up to `copied`."""

    where: Place
    copied: int
    end: int


Wrong = Gap | Reset | Rewritten


@dataclass(slots=True)
class _Place:
    """
    What is remembered of a partition.

    Attributes:
        settled: Up to here every record is copied, told as lost, or was gone before the first look.
        copied: MirrorMaker's position; None where it never copied.
        noted: The same as it wrote it down.
        pair: The newest copy up to which all that was passed over is told.
        told: What lies behind that copy and is told as lost, as first offsets and those after the last.
        stale: The position, where it is one in a log that is no more.
        fresh: Where it is stale: up to here the log is the same as the one that was copied.
        ended: End of the log that is no more, until it is known what was copied of it.
        ended_at: When it certainly was no more.
    """

    settled: int
    copied: int | None = None
    noted: int | None = None
    pair: Pair | None = None
    told: list[tuple[int, int]] = field(default_factory=list)
    stale: int | None = None
    fresh: int = 0
    ended: int | None = None
    ended_at: float = 0.0

    @property
    def position(self) -> int | None:
        """Up to where the log that is there now is copied."""
        return self.copied if self.stale is None else min(self.stale, self.fresh)


class Losses:
    """What is lost to one direction, over all partitions."""

    def __init__(self) -> None:
        self._places: dict[Place, _Place] = {}
        self._spans: Mapping[Place, Span] = {}
        self._topic_ids: Mapping[str, str] = {}
        # The oldest look at the target that no look at the source was certainly after.
        self._open: tuple[Copies, Window] | None = None

    def position(self, where: Place) -> int | None:
        """Return up to where the source's present log is copied; None where it never was."""
        place = self._places.get(where)
        return None if place is None else place.position

    def is_stale(self, where: Place) -> bool:
        """Tell whether the position is one in a log that is no more; how far the present one is copied will be seen."""
        place = self._places.get(where)
        return place is not None and place.stale is not None

    def see_source(
        self, spans: Mapping[Place, Span], topic_ids: Mapping[str, str], window: Window
    ) -> tuple[Sequence[Wrong], bool]:
        """Take in what the source holds; return what went wrong, and whether what was seen of it before is stale."""
        wrong: list[Wrong] = []
        stale = False
        for where, span in spans.items():
            place = self._places.setdefault(where, _Place(settled=span.beginning))
            before = self._spans.get(where)
            topic = where.rpartition("/")[0]
            now, then = topic_ids.get(topic), self._topic_ids.get(topic)
            anew = now != then if now and then else before is not None and span.end < before.end
            if before is not None and (anew or span.end < before.end):
                stale = True
                place.ended_at = window.until
                wrong += self._begin_anew(where, place, before.end, span, same_up_to=0 if anew else span.end)
        self._spans = {**self._spans, **spans}
        self._topic_ids = {**self._topic_ids, **topic_ids}
        if self._open is not None and window.since >= self._open[1].until:
            wrong += self._settle(*self._open)
            self._open = None
        return [what for what in wrong if holds_events(what.where)], stale

    def see_target(self, copies: Copies, window: Window, held: Mapping[Place, Span]) -> Sequence[Wrong]:
        """
        Take in how far the target is, and return what went wrong.

        Args:
            copies: What it says.
            window: When.
            held: What the source held before that.
        """
        wrong: list[Wrong] = []
        for where in self._places.keys() | copies.copied.keys():
            place = self._places.setdefault(where, _Place(settled=0))
            wrong += self._move(where, place, copies, window)
            span = held.get(where)
            position = place.settled if place.position is None else max(place.position, place.settled)
            if span is not None and span.beginning > position:
                wrong.append(Gap(where, position, span.beginning - position))
                place.told.append((position, span.beginning))
                place.settled = span.beginning
        if self._open is None:
            self._open = (copies, window)
        return [what for what in wrong if holds_events(what.where)]

    def _begin_anew(self, where: Place, place: _Place, end: int, span: Span, same_up_to: int) -> Sequence[Wrong]:
        wrong: list[Wrong] = []
        if place.ended is None and place.stale is None:
            place.ended, place.fresh = end, same_up_to
        else:
            # Rewritten again before copying went on: none of what came in between was copied.
            wrong += _gap(where, place.fresh, max(place.settled, same_up_to), end)
            place.fresh = min(place.fresh, same_up_to)
        place.pair, place.told = None, []
        if place.copied is not None and place.copied > place.fresh:
            place.stale = place.copied
            wrong.append(Rewritten(where, place.copied, span.end))
        return wrong

    def _move(self, where: Place, place: _Place, copies: Copies, window: Window) -> Sequence[Wrong]:
        """Take in the position."""
        wrong: list[Wrong] = []
        copied, noted = copies.copied.get(where), copies.noted.get(where)
        back = noted is not None and place.noted is not None and noted < place.noted
        if place.ended is not None and window.since >= place.ended_at:
            reached = place.copied or 0
            if not back:
                reached = max(reached, min(copied or 0, place.ended))
            wrong += _gap(where, reached, max(place.settled, place.fresh), place.ended)
            place.settled, place.ended = min(place.settled, place.fresh), None
        if back and noted is not None and place.noted is not None:
            wrong.append(Reset(where, place.noted, noted))
            if place.stale is None:
                # What retention removes of those that were copied before is not missing.
                place.settled = max(place.settled, place.copied or place.noted)
            place.stale, place.pair, place.told = None, None, []
        place.copied, place.noted = copied, noted
        return wrong

    def _settle(self, copies: Copies, window: Window) -> Sequence[Wrong]:
        """Tell what was passed over until this look at the target, by what the source certainly held afterwards."""
        wrong: list[Wrong] = []
        for where, place in self._places.items():
            span = self._spans.get(where)
            if span is None or place.ended is not None:
                continue
            copied, pair = copies.copied.get(where), copies.pairs.get(where)
            if place.stale is None and copied is not None and copied > span.end:
                # Seen for the first time after it happened: what the log was before is unknown.
                place.stale, place.fresh, place.pair, place.told = copied, 0, None, []
                wrong.append(Rewritten(where, copied, span.end))
            elif place.stale is not None and copied is not None and copied > place.stale:
                wrong += self._go_on(where, place, copied, span)
            if place.stale is None:
                wrong += _passed_over(where, place, pair, span, never=copied is None)
        return wrong

    def _go_on(self, where: Place, place: _Place, copied: int, span: Span) -> Sequence[Wrong]:
        """Tell what lies between what was the same and the position at which copying went on, in the present log."""
        if copied > span.end:
            place.stale = copied
            return ()
        stale, place.stale = place.stale or 0, None
        wrong = _gap(where, place.fresh, max(place.settled, span.beginning), stale)
        place.settled = max(place.settled, stale)
        return wrong


def _gap(where: Place, first: int, settled: int, until: int) -> Sequence[Gap]:
    first = max(first, settled)
    return [Gap(where, first, until - first)] if until > first else ()


def _passed_over(where: Place, place: _Place, pair: Pair | None, span: Span, *, never: bool) -> Sequence[Gap]:
    before = place.pair
    if pair is None:
        if never and before is None:
            # Where nothing was ever copied from, the copy is empty.
            place.pair = Pair(source=place.settled, target=0)
        return ()
    place.pair = pair
    if pair == before:
        return ()
    if before is None or pair.source <= before.source or pair.target <= before.target:
        # Copied again from further back, or into another topic.
        place.told = []
        return ()
    missing = (pair.source - before.source) - (pair.target - before.target)
    missing = max(0, min(missing, min(span.beginning, pair.source) - before.source))
    untold = missing - sum(max(0, min(until, pair.source) - first) for first, until in place.told)
    place.told = [(max(first, pair.source), until) for first, until in place.told if until > pair.source]
    place.settled = max(place.settled, min(span.beginning, pair.source))
    return [Gap(where, before.source, untold)] if untold > 0 else ()
