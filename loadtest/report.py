"""A run's report in figures. PURE. `page.py` renders it as a page, pydantic as JSON."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from chaos.checker import KafkaRecord, StoredRow, Verdict
from chaos.ledger import Answer, Ledger, Outcome
from loadtest.figures import (
    SECOND_US,
    Alone,
    EndSample,
    Peak,
    alone,
    arrivals,
    each_second,
    exposure,
    oldest_s,
    peak,
    percentile,
    rates,
    time_to_converge,
    within,
)
from loadtest.samples import LINKS, Sample, link_name
from loadtest.scenarios import WRITING, Phase
from shared.wire.regions import LOGS

BOTH: Final = "both"
_STEP_US: Final = SECOND_US // 2


@dataclass(frozen=True, slots=True)
class About:
    """
    The options of a run, and the fleet it ran on.

    Attributes:
        run: The run's name, the `service_name` of its rows.
        scenario: The scenario's name.
        what: What the scenario does.
        protocol: How clients sent the events.
        hit: The region that the seed drew, if the scenario hits one.
        seed: Repeats the traffic.
        rate: Events a second, for both regions together.
        event_size: The longest message, in characters.
        scale: Factor for the length of all phases.
        mode: `native` or `compose`.
        commit: Commit of the checkout.
        at: When the run began, in ISO 8601.
    """

    run: str
    scenario: str
    what: str
    protocol: str
    hit: str
    seed: int
    rate: float
    event_size: int
    scale: float
    mode: str
    commit: str
    at: str


@dataclass(frozen=True, slots=True)
class Mark:
    """An event of the timeline, in seconds since 1970."""

    at_s: float
    what: str


@dataclass(frozen=True, slots=True)
class Latency:
    """Latency of events, in milliseconds. None if there were none."""

    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True, slots=True)
class PhaseFigures:
    """
    The figures of one phase.

    Attributes:
        phase: Its name.
        begun_s: Its beginning, in seconds since the run began.
        ended_s: Its end, likewise.
        acknowledged: Events acknowledged in it for the first time.
        failovers: Events that another region served than the one asked for.
        acknowledgement: From sending to the answer, of events acknowledged in it.
        to_row: From first sending to the row's COMMIT, of events first sent in it.
        exposure: The largest number of events in one region only.
        lag_s: The longest time that an event had been in one region only, in seconds.
    """

    phase: str
    begun_s: float
    ended_s: float
    acknowledged: int
    failovers: int
    acknowledgement: Latency
    to_row: Latency
    exposure: int
    lag_s: float


@dataclass(frozen=True, slots=True)
class Series:
    """
    The figures over time, with times in seconds since the run began.

    Attributes:
        acknowledged: Events a second, by region, one value a second.
        stored: Rows a second, likewise.
        acknowledgement_ms: Latency of each second's answers: p50 and p99.
        to_row_ms: From first sending to COMMIT, by the second of COMMIT: p50 and p99.
        exposure_at_s: Moments of the two that follow.
        exposed: Events in one region only, by link.
        lag_s: The age of the oldest of these, by link.
        sampled_at_s: Moments of all that follow.
        duplicates: Duplicates recognised a second, by layer.
        late: Rows a second, by reason.
        failovers: Events a second.
        unanswered: Attempts a second that failed.
        reported_lag_s: Replication lag by the gateway's report, by link. None while it reports none.
    """

    acknowledged: Mapping[str, Sequence[int]]
    stored: Sequence[int]
    acknowledgement_ms: tuple[Sequence[float | None], Sequence[float | None]]
    to_row_ms: tuple[Sequence[float | None], Sequence[float | None]]
    exposure_at_s: Sequence[float]
    exposed: Mapping[str, Sequence[int]]
    lag_s: Mapping[str, Sequence[float]]
    sampled_at_s: Sequence[float]
    duplicates: Mapping[str, Sequence[float]]
    late: Mapping[str, Sequence[float]]
    failovers: Sequence[float]
    unanswered: Sequence[float]
    reported_lag_s: Mapping[str, Sequence[float | None]]


@dataclass(frozen=True, slots=True)
class Recorded:
    """
    The recordings of a run.

    Attributes:
        phases: When each began, in their order. `ended_s` is the end of the last one.
        healed_s: When the last lever was taken back.
        settled: Whether everything was stored and mirrored within the limit.
        timeline: The actions of the run.
        ledger: The outcome of each event.
        answers: All answers.
        rows: The run's rows.
        records: The run's records, of both Kafkas.
        ends: End offsets of partitions, over time.
        samples: Samples of the fleet, over time.
        held_back: Batches that were due and not begun, because too many others were in flight or the load test was busy.
        memory: The largest memory of each service, in bytes.
    """

    phases: Sequence[tuple[Phase, float]]
    ended_s: float
    healed_s: float
    settled: bool
    timeline: Sequence[Mark]
    ledger: Ledger
    answers: Sequence[Answer]
    rows: Sequence[StoredRow]
    records: Sequence[KafkaRecord]
    ends: Sequence[EndSample]
    samples: Sequence[Sample]
    held_back: int
    memory: Mapping[str, float]


@dataclass(slots=True)
class Report:
    """
    The whole report.

    Attributes:
        about: The options of the run, and the fleet.
        phases: The phases in their order.
        timeline: The actions of the run, in seconds since it began.
        outcomes: Number of events by their outcome in the ledger.
        attempted: Events that were sent, repeats included.
        rows: Number of the run's rows by the reason why they are late (`in time` if they are not).
        records: Number of the run's records in Kafka, copies included.
        repeated: Events acknowledged again after they had been acknowledged.
        duplicates: Duplicates that the consumers recognised, by layer.
        failovers: Events that another region served than the one asked for.
        unanswered: Attempts that failed, by their result.
        held_back: Batches that were due and not begun, because too many others were in flight or the load test was busy.
        exposure: The largest number of events in one region only, by link and of both.
        lag_s: The longest time that an event was in one region only, by link, in seconds.
        converged_s: Seconds from healing until both regions had everything acknowledged by then.
        settled: Whether everything was stored and mirrored within the limit.
        acknowledgement: From sending to the answer, of all events.
        to_row: From first sending to the row's COMMIT, of all events.
        memory: The largest memory of each service, in bytes.
        series: The figures over time.
        verdict: The checker's verdict.
        trouble: Other reasons why the run failed, a sentence each.
    """

    about: About
    phases: Sequence[PhaseFigures]
    timeline: Sequence[Mark]
    outcomes: Mapping[str, int]
    attempted: int
    rows: Mapping[str, int]
    records: int
    repeated: int
    duplicates: Mapping[str, int]
    failovers: int
    unanswered: Mapping[str, int]
    held_back: int
    exposure: Mapping[str, Peak]
    lag_s: Mapping[str, float]
    converged_s: float | None
    settled: bool
    acknowledgement: Latency
    to_row: Latency
    memory: Mapping[str, float]
    series: Series
    verdict: Verdict = field(default_factory=Verdict)
    trouble: Sequence[str] = ()

    @property
    def acknowledged(self) -> int:
        """Events acknowledged, each once."""
        return self.outcomes[Outcome.ACKNOWLEDGED.name.lower()]

    @property
    def failures(self) -> list[str]:
        """The reasons why the run failed, a sentence each. Empty if it passed."""
        found = [
            f"{kind}: {count:,}; {'; '.join(self.verdict.examples[kind])}"
            for kind, count in self.verdict.found.items()
            if count
        ]
        return [*found, *self.trouble]


def summarise(about: About, recorded: Recorded, verdict: Verdict, trouble: Iterable[str]) -> Report:
    """Return the report of these recordings."""
    return _Summary(recorded).report(about, verdict, tuple(trouble))


class _Summary:
    def __init__(self, recorded: Recorded) -> None:
        self._it = recorded
        self._begun_us = int(recorded.phases[0][1] * 1e6)
        self._seconds = max(1, int(recorded.ended_s - recorded.phases[0][1]) + 1)
        self._first_us: dict[str, dict[bytes, int]] = defaultdict(dict)
        self._waits: list[tuple[int, float]] = []
        self._failovers: list[int] = []
        for answer in recorded.answers:
            self._take(answer)
        once: dict[bytes, int] = {}
        for first in self._first_us.values():
            for event_id, at_us in first.items():
                once[event_id] = min(at_us, once.get(event_id, at_us))
        self._once = sorted(once.values())
        entries = recorded.ledger.entries
        self._to_row = [
            (entries[row.event_id].first_us, row.stored_us, (row.stored_us - entries[row.event_id].first_us) / 1000)
            for row in recorded.rows
            if row.event_id in entries
        ]
        copied = arrivals(recorded.records, recorded.ends, LOGS)
        self._alone: dict[str, list[Alone]] = {
            link_name(source, target): alone(
                self._first_us[source], [copied.get(target, {}), self._first_us.get(target, {})]
            )
            for source, target in LINKS
        }

    def _take(self, answer: Answer) -> None:
        if answer.served is None:
            return
        at_us = int(answer.ended_s * 1e6)
        first = self._first_us[answer.served]
        accepted = 0
        for event_id, outcome in zip(answer.ids, answer.outcomes, strict=True):
            if outcome is Outcome.ACKNOWLEDGED:
                first.setdefault(event_id, at_us)
                accepted += 1
        self._waits += [(at_us, (answer.ended_s - answer.begun_s) * 1000)] * accepted
        if answer.served != answer.region:
            self._failovers += [at_us] * accepted

    def report(self, about: About, verdict: Verdict, trouble: Sequence[str]) -> Report:
        it, last = self._it, self._it.samples[-1]
        everything = [stretch for stretches in self._alone.values() for stretch in stretches]
        ended_us = int(it.ended_s * 1e6)
        return Report(
            about,
            self._phases(),
            [Mark(mark.at_s - it.phases[0][1], mark.what) for mark in it.timeline],
            {outcome.name.lower(): it.ledger.count(outcome) for outcome in Outcome},
            sum(entry.attempts for entry in it.ledger.entries.values()),
            Counter(row.late_reason or "in time" for row in it.rows),
            len(it.records),
            last.repeated,
            {layer: int(count) for layer, count in last.duplicates.items()},
            last.failovers,
            last.unanswered,
            it.held_back,
            {**{link: peak(stretches) for link, stretches in self._alone.items()}, BOTH: peak(everything)},
            {link: oldest_s(stretches, self._begun_us, ended_us) for link, stretches in self._alone.items()},
            time_to_converge(everything, int(it.healed_s * 1e6)),
            it.settled,
            _latency(wait for _, wait in self._waits),
            _latency(ms for *_, ms in self._to_row),
            it.memory,
            self._series(),
            verdict,
            trouble,
        )

    def _phases(self) -> list[PhaseFigures]:
        found = []
        ends = [*(at_s for _, at_s in self._it.phases[1:]), self._it.ended_s]
        everything = [stretch for stretches in self._alone.values() for stretch in stretches]
        for (phase, begun_s), ended_s in zip(self._it.phases, ends, strict=True):
            begun_us, ended_us = int(begun_s * 1e6), int(ended_s * 1e6)
            writing = phase in WRITING
            found.append(
                PhaseFigures(
                    phase,
                    (begun_us - self._begun_us) / SECOND_US,
                    (ended_us - self._begun_us) / SECOND_US,
                    sum(begun_us <= at_us < ended_us for at_us in self._once),
                    sum(begun_us <= at_us < ended_us for at_us in self._failovers),
                    _latency(wait for at_us, wait in self._waits if begun_us <= at_us < ended_us),
                    _latency(ms for sent_us, _, ms in self._to_row if writing and begun_us <= sent_us < ended_us),
                    within(everything, begun_us, ended_us).most,
                    oldest_s(everything, begun_us, ended_us),
                )
            )
        return found

    def _series(self) -> Series:
        it, begun_us, seconds = self._it, self._begun_us, self._seconds
        moments = list(range(begun_us, begun_us + seconds * SECOND_US, _STEP_US))
        alone_then = {link: exposure(stretches, moments) for link, stretches in self._alone.items()}
        sampled = [sample.at_s - it.phases[0][1] for sample in it.samples]
        layers = sorted({layer for sample in it.samples for layer in sample.duplicates})
        reasons = sorted({reason for sample in it.samples for reason in sample.late})
        links = sorted({link for sample in it.samples for link in sample.reported})
        return Series(
            {region: self._counts(first.values()) for region, first in sorted(self._first_us.items())},
            self._counts(row.stored_us for row in it.rows),
            self._latencies(self._waits),
            self._latencies((stored_us, ms) for _, stored_us, ms in self._to_row),
            [(moment - begun_us) / SECOND_US for moment in moments],
            {link: [count for count, _ in then] for link, then in alone_then.items()},
            {link: [age_s for _, age_s in then] for link, then in alone_then.items()},
            sampled,
            {layer: rates(sampled, [s.duplicates.get(layer, 0) for s in it.samples]) for layer in layers},
            {reason: rates(sampled, [s.late.get(reason, 0) for s in it.samples]) for reason in reasons},
            rates(sampled, [s.failovers for s in it.samples]),
            rates(sampled, [sum(s.unanswered.values()) for s in it.samples]),
            {link: [s.reported[link].seconds if link in s.reported else None for s in it.samples] for link in links},
        )

    def _counts(self, at_us: Iterable[int]) -> list[int]:
        return [len(bucket) for bucket in each_second(((at, 0.0) for at in at_us), self._begun_us, self._seconds)]

    def _latencies(self, values: Iterable[tuple[int, float]]) -> tuple[list[float | None], list[float | None]]:
        buckets = each_second(values, self._begun_us, self._seconds)
        return [percentile(bucket, 50) for bucket in buckets], [percentile(bucket, 99) for bucket in buckets]


def _latency(values: Iterable[float]) -> Latency:
    ordered = sorted(values)
    return Latency(percentile(ordered, 50), percentile(ordered, 99))
