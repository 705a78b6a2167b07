"""
Compares what clients sent with what PostgreSQL, both regions' Kafkas and the services' counters show. PURE.

It works like Jepsen's total-queue and kafka workloads. A finding is a fact that no order of events allows, so a correct
fleet has none after any fault. `selftest.py` plants one mistake of each kind, and the checker must find each.

| finding | means |
| --- | --- |
| lost | acknowledged, and no row; a record that was removed before it was read must be counted as skipped instead |
| duplicated | more than one row of one id |
| phantom | a row of an event that was never sent, or that was refused |
| corrupted | a row whose contents or time are not what was sent |
| out of order | a row with `late = false` older than one that the same `stored_by` wrote before it |
| swapped | two events of one correlation id and time, written in another order than they were accepted in |
| wrongly late | `late` although no watermark could have been above the event, or with the wrong reason or figure |
| committed early | an offset, committed in Kafka or noted in PostgreSQL, above a record that was not stored at that moment |
| not converged | a region lacks records that the other one has |
| dead letter | a valid event in the dead-letter topic |
| not set aside | an unreadable record without a dead letter |
| mistold | the number of records counted as skipped is not exactly the number of records removed unread |
| miscounted | services counted more than exists, or, without faults, another number than exists |
"""

import math

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import permutations
from typing import Final, NamedTuple

from chaos.ledger import Entry, Ledger, Outcome

_EXAMPLES: Final = 3
_HELD_AT_MOST_US: Final = 30_000_000
KINDS: Final = (
    "lost",
    "duplicated",
    "phantom",
    "corrupted",
    "out of order",
    "swapped",
    "wrongly late",
    "committed early",
    "not converged",
    "dead letter",
    "not set aside",
    "mistold",
    "miscounted",
)


class StoredRow(NamedTuple):
    """A row of the table, times in microseconds since 1970. The id of an event that was sent without one is its mark."""

    seq: int
    event_id: bytes
    time_us: int
    digest: str
    correlation_id: str
    origin: str
    received_us: int
    stored_us: int
    stored_by: str
    late_reason: str | None
    late_by_ms: int | None


class Place(NamedTuple):
    """A partition of a topic in one region's Kafka."""

    region: str
    topic: str
    partition: int


class KafkaRecord(NamedTuple):
    """A record of the run that is still in Kafka."""

    place: Place
    offset: int
    event_id: bytes


class Gone(NamedTuple):
    """
    A record that was removed from a region's Kafka before the region's consumer had stored it.

    Attributes:
        place: The partition that held it.
        offset: Its offset there.
        event_id: Id of the run's event in it. None if it was another record.
        unread: Whether the consumer cannot have read it, because it did not run. A running one may still store it.
    """

    place: Place
    offset: int
    event_id: bytes | None
    unread: bool


class CommitSample(NamedTuple):
    """An offset that a group had committed, in Kafka or in PostgreSQL, at a moment not after `at_us`."""

    place: Place
    offset: int
    at_us: int


@dataclass(frozen=True, slots=True)
class Rules:
    """
    The settings of the fleet, and the faults that matter to the checker.

    Attributes:
        window_us: The reorder window.
        max_future_us: An event further ahead than this is from the future.
        local_topic: The topic that a region's own producers write.
        regions: All regions.
        set_back: Whether the database was restored to an earlier state during the run.
        undisturbed: Whether there were no faults, so that counters must be exact.
    """

    window_us: int
    max_future_us: int
    local_topic: str = "logs"
    regions: tuple[str, ...] = ("region-a", "region-b")
    set_back: bool = False
    undisturbed: bool = False


@dataclass(frozen=True, slots=True)
class Observed:
    """
    What the observer found after the run.

    Attributes:
        rows: The run's rows, in the order in which they were written.
        records: The run's records, of all topics in all regions.
        commits: Committed offsets, sampled during the run.
        dead_letters: Ids of the run's events in dead-letter topics.
        counted: Increase of counters during the run, by name.
        counters_allow: Upper limits of the same counters, computed from rows and records.
        gone: Records that were removed before a consumer had stored them.
        told: How many records each region's consumers counted as skipped, by region and topic.
        unreadable: Partitions and offsets of unreadable records.
        set_aside: Partitions and offsets that dead letters name.
    """

    rows: Sequence[StoredRow]
    records: Sequence[KafkaRecord]
    commits: Sequence[CommitSample] = ()
    dead_letters: Sequence[bytes] = ()
    counted: Mapping[str, float] = field(default_factory=dict)
    counters_allow: Mapping[str, float] = field(default_factory=dict)
    gone: Sequence[Gone] = ()
    told: Mapping[tuple[str, str], float] = field(default_factory=dict)
    unreadable: Sequence[tuple[Place, int]] = ()
    set_aside: Sequence[tuple[Place, int]] = ()


@dataclass(slots=True)
class Verdict:
    """
    The findings.

    Attributes:
        found: How many of each kind, with 0 for kinds without any.
        examples: A few sentences of each kind.
    """

    found: Counter[str] = field(default_factory=lambda: Counter(dict.fromkeys(KINDS, 0)))
    examples: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def clean(self) -> bool:
        """Whether there is no finding."""
        return not any(self.found.values())

    def add(self, kind: str, sentence: str) -> None:
        """Note a finding."""
        self.found[kind] += 1
        if len(self.examples[kind]) < _EXAMPLES:
            self.examples[kind].append(sentence)


def check(ledger: Ledger, observed: Observed, rules: Rules, *, only: str | None = None) -> Verdict:
    """
    Return the findings: what must not exist and does, and what must exist and does not.

    Args:
        ledger: What clients sent, and the answers.
        observed: What the observer found.
        rules: The settings of the fleet, and its faults.
        only: Look for this kind alone. All others are then 0.
    """
    verdict = Verdict()
    for kinds, look in _LOOKS.items():
        if only is None or only in kinds:
            look(ledger, observed, rules, verdict)
    return verdict


def _check_rows(ledger: Ledger, observed: Observed, _: Rules, verdict: Verdict) -> None:
    seen: Counter[bytes] = Counter(row.event_id for row in observed.rows)
    for event_id, count in seen.items():
        if count > 1:
            verdict.add("duplicated", f"{event_id.hex()} has {count} rows")
    for row in observed.rows:
        entry = ledger.entries.get(row.event_id)
        if entry is None or entry.outcome is Outcome.REFUSED:
            verdict.add("phantom", f"{row.event_id.hex()} {'was refused' if entry else 'was never sent'}")
        elif entry.sent.digest != row.digest or entry.sent.time_us not in {row.time_us, None}:
            verdict.add("corrupted", f"{row.event_id.hex()} is stored with other contents than it was sent with")
    # `_check_told` checks whether the consumers counted those.
    removed = lost_and_told(ledger, observed)
    for event_id, entry in ledger.entries.items():
        if entry.outcome is Outcome.ACKNOWLEDGED and event_id not in seen and event_id not in removed:
            verdict.add("lost", f"{event_id.hex()}, first sent at {entry.first_us} µs, {_attempts(entry)}")


def lost_and_told(ledger: Ledger, observed: Observed) -> set[bytes]:
    """
    Return the acknowledged events without a row that no consumer can store any more: removed, and without a copy.

    They are lost, and the consumers have to count them as skipped. If they do not, the finding is `mistold`.
    """
    gone = {record.event_id for record in observed.gone if record.event_id is not None}
    if not gone:
        return set()
    gone.difference_update(record.event_id for record in observed.records)
    gone.difference_update(row.event_id for row in observed.rows)
    return {one for one in gone if one in ledger.entries and ledger.entries[one].outcome is Outcome.ACKNOWLEDGED}


def _attempts(entry: Entry) -> str:
    return f"{entry.attempts} attempt{'s' if entry.attempts > 1 else ''}"


def _check_order(_: Ledger, observed: Observed, _rules: Rules, verdict: Verdict) -> None:
    newest: dict[str, int] = {}
    for row in observed.rows:
        if row.late_reason is None:
            before = newest.get(row.stored_by, row.time_us)
            if row.time_us < before:
                verdict.add(
                    "out of order", f"{row.event_id.hex()} is {before - row.time_us} µs older than a row before it"
                )
            newest[row.stored_by] = max(before, row.time_us)


def _check_lateness(ledger: Ledger, observed: Observed, rules: Rules, verdict: Verdict) -> None:
    # No watermark is above the newest time that a consumer could believe, less the window. Such a time is one of three.
    # 1. The consumer's clock.
    # 2. The time of an event, from its receipt on, if it is at most `max_future` ahead.
    # 3. A receipt that is ahead, of which at most `max_future` is believed. Its record may have been read long before it
    #    was stored.
    rows, ahead_us, read = observed.rows, 0, 0
    received, ahead = sorted((row.received_us, row.time_us - row.received_us) for row in rows), 0
    for row in rows:
        while ahead < len(received) and received[ahead][0] <= row.stored_us:
            if received[ahead][1] <= rules.max_future_us:
                ahead_us = max(ahead_us, received[ahead][1])
            ahead += 1
        while read < len(rows) and rows[read].stored_us <= row.stored_us + _HELD_AT_MOST_US:
            ahead_us = max(ahead_us, min(rows[read].received_us - rows[read].stored_us, rules.max_future_us))
            read += 1
        if row.late_reason is not None:
            wrong = _wrong_lateness(row, rules, ahead_us)
            if wrong:
                verdict.add("wrongly late", f"{row.event_id.hex()}: {wrong}")
        elif row.time_us - _received_us(row, ledger) > rules.max_future_us:
            verdict.add("wrongly late", f"{row.event_id.hex()} is from the future and not flagged")


def _received_us(row: StoredRow, ledger: Ledger) -> int:
    """Return the time of its receipt, also if the gateway's clock is ahead of the others or behind them."""
    entry = ledger.entries.get(row.event_id)
    received_us = min(row.received_us, row.stored_us)
    return received_us if entry is None else max(received_us, entry.first_us)


def _wrong_lateness(row: StoredRow, rules: Rules, ahead_us: int) -> str | None:
    by_ms, age_us = row.late_by_ms or 0, row.received_us - row.time_us
    if row.late_reason == "clock_skew":
        # The event is ahead of its receipt. Or the gateway's clock is ahead of the producer's and the consumer's.
        of_its_receipt = by_ms == math.ceil(-age_us / 1000)
        since_us = by_ms * 1000 - (row.time_us - row.stored_us)
        of_the_others = row.received_us > row.stored_us and -1000 < since_us <= _HELD_AT_MOST_US - 1000
        right = (of_its_receipt or of_the_others) and by_ms * 1000 > rules.max_future_us
        return None if right else f"clock_skew by {by_ms} ms, {-age_us} µs ahead at the gateway"
    # `late_by_ms` is computed from the watermark, rounded up to a millisecond.
    watermark_us = row.time_us + (by_ms - 1) * 1000
    possible_us = row.stored_us + ahead_us - rules.window_us
    if by_ms <= 0 or watermark_us > possible_us:
        return f"late by {by_ms} ms, but no watermark was above {possible_us} µs"
    if (row.late_reason == "delayed") != (age_us > rules.window_us):
        return f"{row.late_reason}, {age_us} µs old at the gateway"
    mirrored = not row.stored_by.startswith(f"{row.origin}/")
    if row.late_reason not in {"delayed", "overtaken"} and (row.late_reason == "replication_backlog") != mirrored:
        return f"{row.late_reason}, from {row.origin} by {row.stored_by}"
    return None


def _check_same_time(_ledger: Ledger, observed: Observed, rules: Rules, verdict: Verdict) -> None:
    if rules.set_back:
        return  # after a restore one region may store first what the other had written
    accepted: dict[bytes, list[KafkaRecord]] = defaultdict(list)
    for record in observed.records:
        if record.place.topic == rules.local_topic:
            accepted[record.event_id].append(record)
    last: dict[tuple[Place, str, int], int] = {}
    for row in observed.rows:
        # An event that was accepted more than once has no definite position.
        if len(accepted[row.event_id]) == 1:
            [record] = accepted[row.event_id]
            key = (record.place, row.correlation_id, row.time_us)
            if record.offset < last.get(key, -1):
                verdict.add("swapped", f"{row.event_id.hex()} was accepted before a row of its time that precedes it")
            last[key] = max(record.offset, last.get(key, -1))


def _check_commits(_: Ledger, observed: Observed, _rules: Rules, verdict: Verdict) -> None:
    stored_us = {row.event_id: row.stored_us for row in observed.rows}
    for place, records in _by_place(observed.records).items():
        offsets: list[int] = []
        newest: list[float] = []  # when the latest of the records up to this one was stored
        highest = 0.0
        for record in records:
            highest = max(highest, stored_us.get(record.event_id, math.inf))
            offsets.append(record.offset)
            newest.append(highest)
        for sample in observed.commits:
            below = bisect_left(offsets, sample.offset) if sample.place == place else 0
            if below and newest[below - 1] > sample.at_us:
                verdict.add(
                    "committed early",
                    f"{place.region} {place.topic}/{place.partition} at {sample.offset} µs {sample.at_us}",
                )


def _by_place(records: Iterable[KafkaRecord]) -> Mapping[Place, list[KafkaRecord]]:
    places: dict[Place, list[KafkaRecord]] = defaultdict(list)
    for record in records:
        places[record.place].append(record)
    for place in places.values():
        place.sort(key=lambda record: record.offset)
    return places


def _check_convergence(_: Ledger, observed: Observed, rules: Rules, verdict: Verdict) -> None:
    local: dict[str, set[bytes]] = defaultdict(set)
    mirrored: dict[tuple[str, str], set[bytes]] = defaultdict(set)
    for record in observed.records:
        region, topic = record.place.region, record.place.topic
        if topic == rules.local_topic:
            local[region].add(record.event_id)
        else:
            mirrored[topic.removesuffix(f".{rules.local_topic}"), region].add(record.event_id)
    for source, target in permutations(rules.regions, 2):
        for event_id in local[source] - mirrored[source, target]:
            verdict.add("not converged", f"{event_id.hex()} of {source} is not in {target}")


def _check_dead_letters(_: Ledger, observed: Observed, _rules: Rules, verdict: Verdict) -> None:
    for event_id in observed.dead_letters:
        verdict.add("dead letter", f"{event_id.hex()} was set aside although it is valid")


def _check_set_aside(_: Ledger, observed: Observed, _rules: Rules, verdict: Verdict) -> None:
    named = set(observed.set_aside)
    for place, offset in observed.unreadable:
        if (place, offset) not in named:
            verdict.add("not set aside", f"{place.region} {place.topic}/{place.partition} at {offset} has no letter")


def _check_told(ledger: Ledger, observed: Observed, _rules: Rules, verdict: Verdict) -> None:
    # A consumer that did not run can never read the removed records that it had not stored, so it must count all of them.
    # A running consumer may have read some of them, and stores those. It must count at least the records of acknowledged
    # events that are not stored, and at most all.
    lost = lost_and_told(ledger, observed)
    least: Counter[tuple[str, str]] = Counter()
    most: Counter[tuple[str, str]] = Counter()
    for place, _, event_id, unread in observed.gone:
        most[place.region, place.topic] += 1
        least[place.region, place.topic] += unread or event_id in lost
    for log in {*most, *observed.told}:
        told = observed.told.get(log, 0)
        if not least[log] <= told <= most[log]:
            allowed = f"{least[log]}" if least[log] == most[log] else f"from {least[log]} to {most[log]}"
            verdict.add(
                "mistold", f"{told:.0f} records of {log[1]} in {log[0]} told as skipped, {allowed} were removed unread"
            )


def _check_counters(_: Ledger, observed: Observed, rules: Rules, verdict: Verdict) -> None:
    for name, allowed in observed.counters_allow.items():
        counted = observed.counted.get(name, 0.0)
        if counted > allowed or (rules.undisturbed and counted != allowed):
            verdict.add("miscounted", f"{name} counted {counted:.0f}, there are {allowed:.0f}")


_LOOKS: Final[Mapping[tuple[str, ...], Callable[[Ledger, Observed, Rules, Verdict], None]]] = {
    ("lost", "duplicated", "phantom", "corrupted"): _check_rows,
    ("out of order",): _check_order,
    ("wrongly late",): _check_lateness,
    ("swapped",): _check_same_time,
    ("committed early",): _check_commits,
    ("not converged",): _check_convergence,
    ("dead letter",): _check_dead_letters,
    ("not set aside",): _check_set_aside,
    ("mistold",): _check_told,
    ("miscounted",): _check_counters,
}
