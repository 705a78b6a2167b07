"""
Computes the figures of a run from its recordings. PURE, with times in microseconds since 1970.

*Exposure* counts the events that would be lost with a region: acknowledged there, and not yet in another region. An event
is in another region once that region's Kafka has it, as a copy or accepted there. The end offsets of mirrored topics are
sampled every half second, and arrivals are rounded up to a sample. So exposure is never understated.
"""

import heapq
import math

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final, NamedTuple

from chaos.checker import KafkaRecord, Place
from chaos.ledger import Answer, Outcome

SECOND_US: Final = 1_000_000


class EndSample(NamedTuple):
    """The end offset of a partition at a moment not after `at_us`."""

    place: Place
    end: int
    at_us: int


class Alone(NamedTuple):
    """The time for which an event was in one region only. `until_us` is None if the other one never got it."""

    since_us: int
    until_us: int | None


@dataclass(frozen=True, slots=True)
class Peak:
    """The largest number at any moment, and that moment."""

    most: int
    at_us: int | None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the percentile of sorted `values` by nearest rank, or None if there are none."""
    if not values:
        return None
    return values[max(0, math.ceil(len(values) * percent / 100) - 1)]


def served_by(answers: Iterable[Answer], records: Iterable[KafkaRecord], local_topic: str) -> Iterator[Answer]:
    """
    Yield answers with the region that acknowledged their events, also if their protocol does not tell it.

    It is a region whose own log has the first acknowledged event: the region that was asked, if its log has it.
    """
    wrote: dict[bytes, set[str]] = defaultdict(set)
    for record in records:
        if record.place.topic == local_topic:
            wrote[record.event_id].add(record.place.region)
    for answer in answers:
        accepted = (
            i for i, outcome in zip(answer.ids, answer.outcomes, strict=True) if outcome is Outcome.ACKNOWLEDGED
        )
        if answer.served is None and (first := next(accepted, None)) is not None:
            regions = wrote.get(first, set())
            yield answer._replace(served=answer.region if answer.region in regions else min(regions, default=None))
        else:
            yield answer


def arrivals(
    records: Iterable[KafkaRecord], ends: Iterable[EndSample], local_topic: str
) -> dict[str, dict[bytes, int]]:
    """Return for each region when it first had a copy of each event."""
    samples: dict[Place, list[EndSample]] = defaultdict(list)
    for sample in ends:
        samples[sample.place].append(sample)
    looked = {place: _rising(seen) for place, seen in samples.items()}
    found: dict[str, dict[bytes, int]] = defaultdict(dict)
    for record in records:
        if record.place.topic == local_topic or record.place not in looked:
            continue
        heights, times = looked[record.place]
        index = bisect_right(heights, record.offset)
        if index < len(times):
            known = found[record.place.region]
            known[record.event_id] = min(times[index], known.get(record.event_id, times[index]))
    return found


def _rising(samples: Iterable[EndSample]) -> tuple[list[int], list[int]]:
    heights: list[int] = []
    times: list[int] = []
    for sample in sorted(samples, key=lambda sample: sample.at_us):
        if not heights or sample.end > heights[-1]:
            heights.append(sample.end)
            times.append(sample.at_us)
    return heights, times


def alone(acknowledged: Mapping[bytes, int], there: Iterable[Mapping[bytes, int]]) -> list[Alone]:
    """
    Return, for each event, the time for which it was in one region only.

    Args:
        acknowledged: When the region acknowledged each of its events.
        there: When each event was in another region, one mapping for each way to get there.
    """
    ways, found = list(there), []
    for event_id, since_us in acknowledged.items():
        times = [way[event_id] for way in ways if event_id in way]
        until_us = min(times) if times else None
        if until_us is None or until_us > since_us:
            found.append(Alone(since_us, until_us))
    return found


def peak(stretches: Iterable[Alone]) -> Peak:
    """Return the largest number of overlapping stretches."""
    changes: list[tuple[int, int]] = []
    for stretch in stretches:
        changes.append((stretch.since_us, 1))
        if stretch.until_us is not None:
            changes.append((stretch.until_us, -1))
    now, best = 0, Peak(0, None)
    for at_us, change in sorted(changes):  # at the same moment ends come before beginnings
        now += change
        if now > best.most:
            best = Peak(now, at_us)
    return best


def exposure(stretches: Sequence[Alone], at_us: Sequence[int]) -> list[tuple[int, float]]:
    """Return, for each of these rising moments, the number of events in one region only and the oldest's age in seconds."""
    waiting = sorted(stretches, key=lambda stretch: stretch.since_us)
    ends = sorted(stretch.until_us for stretch in stretches if stretch.until_us is not None)
    oldest: list[tuple[int, float]] = []
    begun, found = 0, []
    for now_us in at_us:
        while begun < len(waiting) and waiting[begun].since_us <= now_us:
            since_us, until_us = waiting[begun]
            heapq.heappush(oldest, (since_us, math.inf if until_us is None else until_us))
            begun += 1
        while oldest and oldest[0][1] <= now_us:
            heapq.heappop(oldest)
        age_s = (now_us - oldest[0][0]) / SECOND_US if oldest else 0.0
        found.append((begun - bisect_right(ends, now_us), age_s))
    return found


def within(stretches: Iterable[Alone], begun_us: int, ended_us: int) -> Peak:
    """Return the largest number of overlapping stretches in a part of the run."""
    return peak(
        Alone(max(since, begun_us), until)
        for since, until in stretches
        if since < ended_us and (until is None or until > begun_us)
    )


def oldest_s(stretches: Iterable[Alone], begun_us: int, ended_us: int) -> float:
    """Return for how many seconds a stretch had lasted at most in a part of the run."""
    ages = (
        (ended_us if until is None else min(until, ended_us)) - since
        for since, until in stretches
        if since < ended_us and (until is None or until > begun_us)
    )
    return max(ages, default=0) / SECOND_US


def time_to_converge(stretches: Iterable[Alone], healed_us: int) -> float | None:
    """Return the seconds from healing until both regions had everything acknowledged by then, or None if they never had."""
    last_us = healed_us
    for since_us, until_us in stretches:
        if since_us <= healed_us:
            if until_us is None:
                return None
            last_us = max(last_us, until_us)
    return (last_us - healed_us) / SECOND_US


class MirrorClock:
    """
    Computes live how far a copy is behind, from the counts of written and of copied records.

    A record that is copied twice counts twice here, unlike in the figures of the report.
    """

    def __init__(self) -> None:
        self._written: list[tuple[float, int]] = []

    def look(self, now_s: float, written: int, copied: int) -> tuple[int, float]:
        """Return how many records and how many seconds the copy is behind."""
        if not self._written or written > self._written[-1][1]:
            self._written.append((now_s, written))
        behind = max(0, written - copied)
        if not behind:
            return 0, 0.0
        index = bisect_right(self._written, copied, key=lambda entry: entry[1])
        return behind, max(0.0, now_s - self._written[max(0, index)][0])


def each_second(values: Iterable[tuple[int, float]], begun_us: int, seconds: int) -> list[list[float]]:
    """Return the values of each second of a run, sorted. Values outside of the run are left out."""
    buckets: list[list[float]] = [[] for _ in range(seconds)]
    for at_us, value in values:
        second = (at_us - begun_us) // SECOND_US
        if 0 <= second < seconds:
            buckets[second].append(value)
    for bucket in buckets:
        bucket.sort()
    return buckets


def rates(times_s: Sequence[float], counts: Sequence[float]) -> list[float]:
    """Return how fast a count grew up to each moment, in units a second. The first is 0."""
    grown = [
        max(0.0, after - before) / (then - now) if then > now else 0.0
        for (now, before), (then, after) in pairwise(zip(times_s, counts, strict=True))
    ]
    return [0.0, *grown] if times_s else []
