"""How many lines there are in windows of time: counted slice by slice, like the histogram, in buckets of which each window is a number."""

import json
import time

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from typing import Final

from console.filter import Filter
from console.loki.fields import DETECTED_LEVEL, LABELS
from console.ports import Group, Place, Session, Slice
from console.query import Query, Span
from console.walk import Clock, Walk, begin
from shared.wire.problem import BadRequestError

BUDGET_S: Final = 10.0
MAX_POINTS: Final = 11_000
MAX_BUCKETS: Final = 30_000
MAX_SERIES: Final = 500
MAX_VALUES: Final = 200_000
_SINGLE: Final = {"level": Group.LEVEL, "service_name": Group.SERVICE, "region": Group.REGION}

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Steps:
    """
    Times at which windows end, in microseconds since 1970.

    Attributes:
        first: Of them.
        step: From one to the next.
        number: How many there are.
        window: How much of the past each one looks at; what is at its end belongs to it, what is at its beginning does not.
    """

    first: int
    step: int
    number: int
    window: int

    @property
    def bucket(self) -> int:
        """The width of a bucket that windows and steps are multiples of."""
        return gcd(self.step, self.window) if self.number > 1 else self.window

    @property
    def span(self) -> Span:
        """All that the windows look at."""
        return Span(self.first - self.window + 1, self.first + (self.number - 1) * self.step + 1)


@dataclass(frozen=True, slots=True)
class Counted:
    """
    Counts of lines.

    Attributes:
        series: By labels: counts by the number of the step, where there are any.
        reached_us: Where the count was when its time was over, windows that begin earlier are left out; None: it is whole.
    """

    series: Mapping[Labels, Mapping[int, int]]
    reached_us: int | None = None


def steps_of(begin_us: int, end_us: int, step_us: int, window_us: int) -> Steps:
    """
    Return the steps of a range.

    Raises:
        BadRequestError: There are too many.
    """
    steps = Steps(begin_us, step_us, (end_us - begin_us) // step_us + 1, window_us)
    if steps.number > MAX_POINTS:
        raise BadRequestError(f"the range has {steps.number} steps, and may have {MAX_POINTS}; write a longer step")
    if (steps.span.end - steps.span.begin) // steps.bucket > MAX_BUCKETS:
        raise BadRequestError(
            "the window and the step have too small a common measure; let one be a multiple of the other"
        )
    return steps


def group_of(by: Sequence[str] | None) -> Group:
    """
    Return what has to be counted apart, to tell apart by these labels; by all that there are if it is None.

    Raises:
        BadRequestError: There is a label by which nothing can be told apart.
    """
    if by is None:
        return Group.STREAM
    for label in by:
        if label not in (*LABELS, DETECTED_LEVEL):
            raise BadRequestError(f"counting by {label!r} is not supported here; there are {', '.join(LABELS)}")
    names = {"level" if label == DETECTED_LEVEL else label for label in by}
    if not names:
        return Group.NONE
    return _SINGLE.get(next(iter(names)), Group.STREAM) if len(names) == 1 else Group.STREAM


async def count_lines(
    session: Session,
    wanted: Filter,
    steps: Steps,
    by: Sequence[str] | None,
    *,
    clock: Clock = time.monotonic,
    budget_s: float = BUDGET_S,
    in_part: bool = False,
) -> Counted:
    """
    Count lines.

    Args:
        session: Where to look.
        wanted: Which ones.
        steps: In which windows.
        by: Labels to tell apart by; None: all.
        clock: Monotonic seconds.
        budget_s: How long to count at most.
        in_part: Keep windows of which only the end was counted.

    Raises:
        BadRequestError: There is a label by which nothing can be told apart.
        StoreUnavailableError: PostgreSQL does not answer.
    """
    group, span, width = group_of(by), steps.span, steps.bucket
    # Rows lie in the years 1970 to 2200. Before them, a window has a bucket that is not asked for.
    query = Query(Span(max(span.begin, 0), max(span.end, 1)), wanted)
    walk = Walk(query, await begin(query, session))
    origin = span.begin % width
    counts: dict[Labels, dict[int, int]] = {}

    async def look(looked_at: Slice, timeout_s: float) -> Place | None:
        for count in await session.counts(looked_at, group, width, timeout_s, origin_us=origin - width):
            buckets = counts.setdefault(_labels(group, count.group, by), {})
            bucket = (count.at - span.begin) // width
            buckets[bucket] = buckets.get(bucket, 0) + count.rows
        return None

    await walk.go(look, budget_s, clock)
    if len(counts) > MAX_SERIES or len(counts) * steps.number > MAX_VALUES:
        raise BadRequestError(
            f"there are {len(counts)} series of {steps.number} steps; at most {MAX_SERIES} may be, and {MAX_VALUES} values of all; "
            f"count by fewer labels, or write a longer step"
        )
    reached = None if walk.is_over else walk.cursor.at[0]
    first_whole = 0 if reached is None or in_part else -(-(reached - span.begin) // width)
    return Counted({labels: _windows(steps, buckets, first_whole) for labels, buckets in counts.items()}, reached)


def _windows(steps: Steps, buckets: Mapping[int, int], first_whole: int) -> dict[int, int]:
    """Return the sum of each window by the number of its step; empty ones, and those that begin too early, are left out."""
    width, stride = steps.window // steps.bucket, steps.step // steps.bucket
    order = sorted(buckets)
    sums: dict[int, int] = {}
    entering = leaving = rows = 0
    for step in range(steps.number):
        begin = step * stride
        while entering < len(order) and order[entering] < begin + width:
            rows += buckets[order[entering]]
            entering += 1
        while leaving < entering and order[leaving] < begin:
            rows -= buckets[order[leaving]]
            leaving += 1
        if rows and begin >= first_whole:
            sums[step] = rows
    return sums


def _labels(group: Group, name: str, by: Sequence[str] | None) -> Labels:
    if group is Group.STREAM:
        service, level, region, late = json.loads(name)
        known = {"service_name": service, "level": level, "region": region, "late": "true" if late else "false"}
    else:
        known = {label: name for label, one in _SINGLE.items() if one is group}
    if "level" in known:
        known[DETECTED_LEVEL] = known["level"].lower()
    return tuple((label, known[label]) for label in (LABELS if by is None else by))
