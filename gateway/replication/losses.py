"""
Finds the records that one direction loses: the source lost them, or MirrorMaker skipped them, before they were copied. PURE.

The source can lose uncopied records in three ways, and MirrorMaker reports none of them:

* Retention removes records. Those from MirrorMaker's position on are lost at once, if it stands there. If it was about to
  copy them, it continues after the hole. The newest copy's offset in the target has then grown by less than its offset in
  the source. The difference is the number of lost records.
* The log is truncated. Its uncopied end is lost. New records get offsets that were copied before, so MirrorMaker skips
  them. If it finds its position beyond the log's end, it starts from the beginning instead.
* The topic is created anew. The same happens, from the first offset on.

Two observations are compared only if their order is certain. No loss is reported twice, and never more than was lost. Too
few are reported in two cases only: losses before the watch began, and records that were copied twice within the second of a
loss, which hide as many lost ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.wire.replication import Copies, OffsetRange, Pair, SourcePartition, holds_events


@dataclass(frozen=True, slots=True)
class Window:
    """When an observation was made: between `since` and `until`, in monotonic seconds."""

    since: float
    until: float


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that can never be copied: `count` of them, from offset `first` on."""

    where: SourcePartition
    first: int
    count: int


@dataclass(frozen=True, slots=True)
class Reset:
    """MirrorMaker's position went back, so it copies the records from `after` on again."""

    where: SourcePartition
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Rewritten:
    """The source's log is a new one, or was truncated: it ends at `end`, and offsets below `copied` were copied."""

    where: SourcePartition
    copied: int
    end: int


Wrong = Gap | Reset | Rewritten


@dataclass(slots=True)
class _PartitionState:
    """
    What is remembered of a partition. The old log is the one before a truncation, or of the deleted topic.

    Attributes:
        settled: Each record below this offset is copied, reported as lost, or was gone at the first observation.
        copied: MirrorMaker's position. None if it never copied the partition.
        noted: The position that MirrorMaker wrote down.
        pair: The newest copy for which all skipped records before it are reported.
        reported: Ranges after that copy that are reported as lost: first offset, and offset after the last.
        stale: The position, if it is one in the old log, else None.
        fresh: While `stale` is set: offsets below this one are the same in the old log and in the present one.
        ended: End of the old log, until an observation shows how much of it was copied.
        ended_at: Moment by which the old log was certainly gone.
    """

    settled: int
    copied: int | None = None
    noted: int | None = None
    pair: Pair | None = None
    reported: list[tuple[int, int]] = field(default_factory=list)
    stale: int | None = None
    fresh: int = 0
    ended: int | None = None
    ended_at: float = 0.0

    @property
    def position(self) -> int | None:
        """Offset up to which the present log is copied."""
        return self.copied if self.stale is None else min(self.stale, self.fresh)


class Losses:
    """The losses of one direction, over all partitions."""

    def __init__(self) -> None:
        self._partitions: dict[SourcePartition, _PartitionState] = {}
        self._spans: Mapping[SourcePartition, OffsetRange] = {}
        self._topic_ids: Mapping[str, str] = {}
        # The oldest observation of the target that awaits a certainly later one of the source.
        self._open: tuple[Copies, Window] | None = None

    def position(self, where: SourcePartition) -> int | None:
        """Return the offset up to which the source's present log is copied, or None if it never was."""
        state = self._partitions.get(where)
        return None if state is None else state.position

    def is_stale(self, where: SourcePartition) -> bool:
        """Return whether the position is one in the old log. Then it is open how far the present log is copied."""
        state = self._partitions.get(where)
        return state is not None and state.stale is not None

    def see_source(
        self, spans: Mapping[SourcePartition, OffsetRange], topic_ids: Mapping[str, str], window: Window
    ) -> tuple[Sequence[Wrong], bool]:
        """Record what the source holds. Return the losses, and whether earlier observations of the source are stale."""
        wrong: list[Wrong] = []
        stale = False
        for where, span in spans.items():
            state = self._partitions.setdefault(where, _PartitionState(settled=span.beginning))
            before = self._spans.get(where)
            topic = where.rpartition("/")[0]
            now, then = topic_ids.get(topic), self._topic_ids.get(topic)
            anew = now != then if now and then else before is not None and span.end < before.end
            if before is not None and (anew or span.end < before.end):
                stale = True
                state.ended_at = window.until
                wrong += self._begin_anew(where, state, before.end, span, same_up_to=0 if anew else span.end)
        self._spans = {**self._spans, **spans}
        self._topic_ids = {**self._topic_ids, **topic_ids}
        if self._open is not None and window.since >= self._open[1].until:
            wrong += self._settle(*self._open)
            self._open = None
        return [what for what in wrong if holds_events(what.where)], stale

    def see_target(
        self, copies: Copies, window: Window, held: Mapping[SourcePartition, OffsetRange]
    ) -> Sequence[Wrong]:
        """
        Record how far the target has copied, and return the losses.

        Args:
            copies: The target's report.
            window: When it was observed.
            held: What the source held before that.
        """
        wrong: list[Wrong] = []
        for where in self._partitions.keys() | copies.copied.keys():
            state = self._partitions.setdefault(where, _PartitionState(settled=0))
            wrong += self._move(where, state, copies, window)
            span = held.get(where)
            position = state.settled if state.position is None else max(state.position, state.settled)
            if span is not None and span.beginning > position:
                wrong.append(Gap(where, position, span.beginning - position))
                state.reported.append((position, span.beginning))
                state.settled = span.beginning
        if self._open is None:
            self._open = (copies, window)
        return [what for what in wrong if holds_events(what.where)]

    def _begin_anew(
        self, where: SourcePartition, state: _PartitionState, end: int, span: OffsetRange, same_up_to: int
    ) -> Sequence[Wrong]:
        wrong: list[Wrong] = []
        if state.ended is None and state.stale is None:
            state.ended, state.fresh = end, same_up_to
        else:
            # The log was rewritten again before MirrorMaker continued, so it copied nothing of the log in between.
            wrong += _gap(where, state.fresh, max(state.settled, same_up_to), end)
            state.fresh = min(state.fresh, same_up_to)
            if state.ended is None:
                # What was settled of the log before says nothing of the new one's first offsets.
                state.settled = min(state.settled, state.fresh)
        state.pair, state.reported = None, []
        if state.copied is not None and state.copied > state.fresh:
            state.stale = state.copied
            wrong.append(Rewritten(where, state.copied, span.end))
        return wrong

    def _move(self, where: SourcePartition, state: _PartitionState, copies: Copies, window: Window) -> Sequence[Wrong]:
        """Record MirrorMaker's position."""
        wrong: list[Wrong] = []
        copied, noted = copies.copied.get(where), copies.noted.get(where)
        back = noted is not None and state.noted is not None and noted < state.noted
        if state.ended is not None and window.since >= state.ended_at:
            reached = state.copied or 0
            if not back:
                reached = max(reached, min(copied or 0, state.ended))
            wrong += _gap(where, reached, max(state.settled, state.fresh), state.ended)
            state.settled, state.ended = min(state.settled, state.fresh), None
        if back and noted is not None and state.noted is not None:
            wrong.append(Reset(where, state.noted, noted))
            if state.stale is None:
                # Records that were copied before are not lost, even if retention removes them before the second copy.
                state.settled = max(state.settled, state.copied or state.noted)
            state.stale, state.pair, state.reported = None, None, []
        state.copied, state.noted = copied, noted
        return wrong

    def _settle(self, copies: Copies, window: Window) -> Sequence[Wrong]:
        """Return the records skipped until this observation of the target, by a later observation of the source."""
        wrong: list[Wrong] = []
        for where, state in self._partitions.items():
            span = self._spans.get(where)
            if span is None or state.ended is not None:
                continue
            copied, pair = copies.copied.get(where), copies.pairs.get(where)
            if state.stale is None and copied is not None and copied > span.end:
                # The log was rewritten before the first observation, so the old log is unknown.
                state.stale, state.fresh, state.pair, state.reported = copied, 0, None, []
                wrong.append(Rewritten(where, copied, span.end))
            elif state.stale is not None and copied is not None and copied > state.stale:
                wrong += self._go_on(where, state, copied, span)
            if state.stale is None:
                wrong += _passed_over(where, state, pair, span, never=copied is None)
        return wrong

    def _go_on(self, where: SourcePartition, state: _PartitionState, copied: int, span: OffsetRange) -> Sequence[Wrong]:
        """Return the skipped part of the present log: from where it differs to where MirrorMaker continued."""
        if copied > span.end:
            state.stale = copied
            return ()
        stale, state.stale = state.stale or 0, None
        wrong = _gap(where, state.fresh, max(state.settled, span.beginning), stale)
        state.settled = max(state.settled, stale)
        return wrong


def _gap(where: SourcePartition, first: int, settled: int, until: int) -> Sequence[Gap]:
    first = max(first, settled)
    return [Gap(where, first, until - first)] if until > first else ()


def _passed_over(
    where: SourcePartition, state: _PartitionState, pair: Pair | None, span: OffsetRange, *, never: bool
) -> Sequence[Gap]:
    before = state.pair
    if pair is None:
        if never and before is None:
            # MirrorMaker never copied this partition, so its copy is empty.
            state.pair = Pair(source=state.settled, target=0)
        return ()
    state.pair = pair
    if pair == before:
        return ()
    if before is None or pair.source <= before.source or pair.target <= before.target:
        # MirrorMaker copies again from an earlier offset, or into another topic.
        state.reported = []
        return ()
    missing = (pair.source - before.source) - (pair.target - before.target)
    missing = max(0, min(missing, min(span.beginning, pair.source) - before.source))
    unreported = missing - sum(max(0, min(until, pair.source) - first) for first, until in state.reported)
    state.reported = [(max(first, pair.source), until) for first, until in state.reported if until > pair.source]
    state.settled = max(state.settled, min(span.beginning, pair.source))
    return [Gap(where, before.source, unreported)] if unreported > 0 else ()
