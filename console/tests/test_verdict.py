"""The life of an event: nine verdicts by table, and what holds whatever a row and the regions say."""

import json

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st

from console.row import Row
from console.sightings import Answer
from console.tests.fakes import a_row
from console.verdict import Kind, Life, duration, life_of
from shared.event.times import epoch_us
from shared.wire.finding import Copy, Found, Letter, Looked, Unseen

A, B = "region-a", "region-b"
HAPPENED = datetime(2026, 11, 26, 14, 3, 11, 204117, tzinfo=UTC)
RECEIVED = HAPPENED + timedelta(microseconds=2223)
STORED = RECEIVED + timedelta(milliseconds=1185)
TIME_US, RECEIVED_US = epoch_us(HAPPENED), epoch_us(RECEIVED)
AT_MS = RECEIVED_US // 1000 + 1


def row_of(origin: str = A, stored_by: str = "region-a/consumer-a/12", **changes: Any) -> Row:
    return replace(
        a_row(48211, HAPPENED),
        received_at=RECEIVED,
        stored_at=STORED,
        origin_region=origin,
        stored_by=stored_by,
        **changes,
    )


def copy(topic: str, offset: int, **changes: Any) -> Copy:
    return Copy(topic=topic, partition=3, offset=offset, at_ms=AT_MS, received_us=RECEIVED_US).model_copy(
        update=changes
    )


def looked(topic: str, done: int | None = 1_000_000, **changes: Any) -> Looked:
    part = Looked(topic=topic, partition=3, beginning=0, first=0, next=2_000_000, end=2_000_000, committed=done)
    return part.model_copy(update=changes)


def found(region: str, *copies: Copy, done: int | None = 1_000_000, **more: Any) -> Found:
    """An answer of a region that looked at everything."""
    other = B if region == A else A
    topics = [looked("logs", done), looked(f"{other}.logs", done), looked("logs-dlq", None)]
    return Found(region=region, copies=copies, **{"looked": tuple(topics), **more})


def letter(offset: int, topic: str = "logs", reason: str = "invalid: level: must be a level") -> Letter:
    return Letter(
        partition=3, offset=5, at_ms=AT_MS, source_topic=topic, source_partition=3, source_offset=offset, reason=reason
    )


WRONG = {"received_us": None, "wrong": "level: must be a level"}
WRITTEN = copy("logs", 91822)
MIRRORED = copy(f"{A}.logs", 40118)
LATER = RECEIVED_US + 900_000


@dataclass(frozen=True, slots=True)
class Case:
    name: str
    row: Row | None
    answers: Mapping[str, Answer]
    kinds: Sequence[Kind]
    verdict: str
    exposed: Mapping[str, bool | None] = field(default_factory=lambda: {A: False, B: False})


CASES = [
    Case(
        "plain", row_of(), {A: found(A, WRITTEN), B: found(B, MIRRORED)}, [Kind.STORED],
        "stored once; 1 copy recognised as a duplicate",
    ),
    Case(
        "failed over", row_of(B), {A: found(A, copy(f"{B}.logs", 7, wanted=A)), B: found(B, copy("logs", 9, wanted=A))},
        [Kind.STORED, Kind.FAILED_OVER],
        "stored once; region-a was wanted, region-b took it; 1 copy recognised as a duplicate",
    ),
    Case(
        "retried to both regions", row_of(),
        {A: found(A, WRITTEN, copy(f"{B}.logs", 7, received_us=LATER)), B: found(B, MIRRORED, copy("logs", 9, received_us=LATER))},
        [Kind.STORED, Kind.RETRIED], "stored once; sent to region-a and region-b; 3 copies recognised as duplicates",
    ),
    *(
        Case(
            f"late: {reason}", row_of(late=True, late_by_ms=5200, late_reason=reason),
            {A: found(A, WRITTEN), B: found(B, MIRRORED)}, [Kind.STORED, Kind.LATE],
            f"stored once; late by 5.2 s, {reason}: {why}; 1 copy recognised as a duplicate",
        )
        for reason, why in {
            "delayed": "it was older than the window when a gateway took it",
            "replication_backlog": "it was in time at its origin, and came late through the mirror",
            "pipeline": "a restart, a retry or a rebalance held it up",
            "clock_skew": "its time lies too far in the future",
            "overtaken": "an event that was dated ahead of the clock had been stored before it",
        }.items()
    ),
    Case(
        "poisoned", None, {A: found(A, copy("logs", 4, **WRONG), letters=(letter(4),)), B: found(B)},
        [Kind.EXPOSED, Kind.POISONED],
        "not stored, set aside in region-a's logs-dlq: invalid: level: must be a level; exposed: only region-a's Kafka has it",
        {A: True, B: False},
    ),
    Case(
        "waiting", None, {A: found(A, copy("logs", 120), done=100), B: found(B, copy(f"{A}.logs", 90), done=90)},
        [Kind.WAITING], "waits in region-a logs/3@120, about 20 before it; waits in region-b region-a.logs/3@90, about 0 before it",
    ),
    Case(
        "exposed in a split", row_of(), {A: found(A, WRITTEN), B: found(B)}, [Kind.STORED, Kind.EXPOSED],
        "stored once; exposed: only region-a's Kafka has it", {A: True, B: False},
    ),
    Case(
        "gone from Kafka", row_of(), {A: found(A), B: found(B)}, [Kind.STORED, Kind.GONE],
        "stored once; no Kafka has a copy any more",
    ),
    Case(
        "never sent", None, {A: found(A), B: found(B)}, [Kind.ABSENT],
        "not in the fleet: never acknowledged, or older than Kafka keeps and not stored",
    ),
    Case(
        "waiting where how far it is is unknown", None, {A: found(A, copy("logs", 120), done=None), B: found(B, copy(f"{A}.logs", 9), done=0)},
        [Kind.WAITING], "waits in region-a logs/3@120, how many before it is unknown; waits in region-b region-a.logs/3@9, about 9 before it",
    ),
    Case(
        "will be poisoned", None, {A: found(A, copy("logs", 120, **WRONG), done=100), B: found(B, copy(f"{A}.logs", 120, **WRONG), done=100)},
        [Kind.WAITING],
        "waits in region-a logs/3@120, about 20 before it, and cannot become a row: level: must be a level; "
        "waits in region-b region-a.logs/3@120, about 20 before it, and cannot become a row: level: must be a level",
    ),
    Case(
        "a finding", None, {A: found(A, copy("logs", 4)), B: found(B, copy(f"{A}.logs", 2))}, [Kind.FINDING],
        "a finding: region-a logs/3@4, region-b region-a.logs/3@2 was read, and there is neither row nor dead letter; a dropped day looks so, too",
    ),
    Case(
        "passed, and dead letters not seen", None,
        {A: found(A, copy("logs", 4), unseen=(Unseen(topic="logs-dlq", partition=3, why="no leader"),)), B: found(B)},
        [Kind.EXPOSED, Kind.UNKNOWN],
        "read and not stored; the dead letters of region-a could not be looked at; exposed: only region-a's Kafka has it",
        {A: True, B: False},
    ),
    Case(
        "another one with its identity", row_of(),
        {A: found(A, WRITTEN, copy("logs", 91900, received_us=LATER), letters=(letter(91900, reason="conflict: message"),)), B: found(B, MIRRORED)},
        [Kind.STORED, Kind.POISONED],
        "stored once; 1 copy recognised as a duplicate; another record with its identity was set aside in region-a: conflict: message",
    ),
    Case(
        "stored, and a region away", row_of(), {A: found(A, WRITTEN), B: "its consumer does not answer in time"}, [Kind.STORED],
        "stored once; region-b was not seen, its copies are unknown", {A: None, B: None},
    ),
    Case(
        "not found, and a region away", None, {A: found(A), B: "refused"}, [Kind.UNKNOWN],
        "not stored, and not found where it was looked for; region-b was not seen, its copies are unknown", {A: False, B: None},
    ),
    Case(
        "not found, and not all looked at", None,
        {A: found(A, unseen=(Unseen(topic="logs", partition=3, why="of offsets 0 to 9 only those up to 5 were looked at"),)), B: found(B)},
        [Kind.UNKNOWN], "not stored, and not found where it was looked for", {A: None, B: False},
    ),
    Case(
        "a copy that retention removed first is no missing one", row_of(),
        {A: found(A, WRITTEN), B: found(B, looked=(looked("logs"), looked(f"{A}.logs", beginning=500, first=500)))},
        [Kind.STORED], "stored once", {A: None, B: False},
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdicts(case: Case) -> None:
    life = life_of(TIME_US, case.row, case.answers)

    assert life.verdict == case.verdict
    assert life.kinds == case.kinds
    assert life.exposed == case.exposed


def test_the_steps_of_an_event_that_failed_over_and_came_to_both_regions() -> None:
    answers = {
        A: found(A, copy(f"{B}.logs", 40118), copy("logs", 77120, received_us=LATER)),
        B: found(B, copy("logs", 91822, wanted=A), copy(f"{A}.logs", 11, received_us=LATER)),
    }

    life = life_of(TIME_US, row_of(B, "region-b/consumer-b/12"), answers)

    at = "2026-11-26T14:03:11.207000Z"
    record = {"what": "kafka", "partition": 3, "at": at, "stillThere": True}
    assert life.steps == [
        {"what": "happened", "at": "2026-11-26T14:03:11.204117Z", "by": "client clock"},
        {"what": "received", "at": "2026-11-26T14:03:11.206340Z", "by": "gateway", "afterMs": 2.2, "servedBy": B, "wanted": A},
        record | {"region": A, "topic": "logs", "offset": 77120, "copyOf": None, "note": "a client's retry to the other region"},
        record | {"region": B, "topic": f"{A}.logs", "offset": 11, "copyOf": "region-a logs/3@77120"},
        record | {"region": B, "topic": "logs", "offset": 91822, "copyOf": None},
        record | {"region": A, "topic": f"{B}.logs", "offset": 40118, "copyOf": "region-b logs/3@91822"},
        {"what": "stored", "at": "2026-11-26T14:03:12.391340Z", "by": "region-b/consumer-b/12", "seq": 48211, "order": "in order", "fromReceiptMs": 1185.0},
        {"what": "duplicate", "region": A, "of": "region-a logs/3@77120", "why": "same identity, already stored"},
        {"what": "duplicate", "region": B, "of": "region-a logs/3@77120", "why": "same identity, already stored"},
        {"what": "duplicate", "region": A, "of": "region-b logs/3@91822", "why": "same identity, already stored"},
    ]  # fmt: skip


def test_a_copy_whose_source_is_away_says_where_it_came_from_as_far_as_that_is_known() -> None:
    life = life_of(TIME_US, row_of(), {A: "away", B: found(B, MIRRORED)})

    [step] = [step for step in life.steps if step["what"] == "kafka"]
    assert step["copyOf"] == "region-a logs/3"
    assert life.unseen == [{"region": A, "why": "away"}]


def test_a_copy_is_of_the_record_that_has_its_partition_its_receipt_and_its_turn() -> None:
    own = [copy("logs", 10, received_us=LATER), copy("logs", 11), copy("logs", 12)]
    twice = [copy(f"{A}.logs", offset) for offset in (5, 6, 7)]  # the mirror began again after a crash
    mirrored = [copy(f"{A}.logs", 4, received_us=LATER), *twice]

    life = life_of(TIME_US, row_of(), {A: found(A, *own), B: found(B, *mirrored)})

    copies = {step["offset"]: step["copyOf"] for step in life.steps if step["what"] == "kafka" and step["region"] == B}
    assert copies == {n: f"region-a logs/3@{of}" for n, of in {4: 10, 5: 11, 6: 12, 7: 12}.items()}


def test_a_gateways_own_retry_is_told_from_a_clients() -> None:
    answers = {A: found(A, WRITTEN), B: found(B, copy("logs", 9, wanted=A))}

    life = life_of(TIME_US, row_of(), answers)

    assert [step.get("note") for step in life.steps if step["what"] == "kafka"] == [
        None, "sent again by the gateway: an answer was lost"
    ]  # fmt: skip


@pytest.mark.parametrize(("ms", "said"), [(0, "0 ms"), (999, "999 ms"), (5200, "5.2 s"), (90_000, "1.5 min"), (9_000_000, "2.5 h")])  # fmt: skip
def test_times_for_a_person(ms: int, said: str) -> None:
    assert duration(ms) == said


@st.composite
def answers_of(draw: st.DrawFn, region: str) -> Found:
    other = B if region == A else A
    copies = []
    for topic in ("logs", f"{other}.logs"):
        for offset in sorted(draw(st.sets(st.integers(0, 40), max_size=3))):
            wrong = draw(st.booleans())
            received = None if wrong else draw(st.sampled_from([RECEIVED_US, LATER]))
            wanted = draw(st.sampled_from([None, A, B]))
            copies.append(copy(topic, offset, received_us=received, wanted=wanted, wrong="no level" if wrong else None))
    letters = [letter(one.offset, one.topic) for one in copies if draw(st.integers(0, 3)) == 0]
    done = draw(st.sampled_from([None, 0, 20, 50]))
    parts = [looked(topic, done, first=draw(st.sampled_from([0, 5])), beginning=draw(st.sampled_from([0, 5]))) for topic in ("logs", f"{other}.logs", "logs-dlq")]  # fmt: skip
    unseen = [Unseen(topic=part.topic, partition=3, why="no time") for part in parts if draw(st.integers(0, 4)) == 0]
    return Found(region=region, copies=tuple(copies), letters=tuple(letters), looked=tuple(parts), unseen=tuple(unseen))


rows = st.none() | st.builds(
    row_of, st.sampled_from([A, B]), st.sampled_from(["region-a/consumer-a/1", "region-b/consumer-b/2"])
)
both = st.fixed_dictionaries({A: answers_of(A), B: answers_of(B)})


@given(rows, both)
def test_an_event_always_has_a_verdict_and_stored_is_what_has_a_row(
    row: Row | None, answers: dict[str, Answer]
) -> None:
    life = life_of(TIME_US, row, answers)

    assert life.verdict
    assert life.kinds
    assert (Kind.STORED in life.kinds) == (row is not None)
    assert not (row is not None and {Kind.WAITING, Kind.ABSENT, Kind.FINDING, Kind.UNKNOWN} & {*life.kinds})
    json.dumps(shown(life))


@given(rows, both)
def test_each_record_is_one_step_and_has_at_most_one_end(row: Row | None, answers: dict[str, Found]) -> None:
    life = life_of(TIME_US, row, answers)

    records = sorted(
        (s["region"], s["topic"], s["offset"]) for s in life.steps if s["what"] == "kafka" and s["stillThere"]
    )
    assert records == sorted((region, c.topic, c.offset) for region, one in answers.items() for c in one.copies)
    ends = sum(step["what"] in ("duplicate", "waiting", "passed") for step in life.steps)
    letters = sum(step["what"] == "set aside" for step in life.steps)
    assert letters == sum(len(one.letters) for one in answers.values())
    assert ends + letters + (row is not None) >= len(records) - (row is not None)
    assert ends <= len(records)


@given(rows, both, st.sets(st.sampled_from([A, B]), min_size=1))
def test_what_is_away_is_unseen_and_nothing_of_it_is_missing(
    row: Row | None, answers: dict[str, Answer], away: set[str]
) -> None:
    life = life_of(TIME_US, row, answers | dict.fromkeys(away, "away"))

    assert not {Kind.ABSENT, Kind.GONE, Kind.EXPOSED} & {*life.kinds}
    assert [life.exposed[region] for region in away] == [None] * len(away)
    assert not any(life.exposed.values())
    assert all(f"{region} was not seen" in life.verdict for region in away)
    assert all({"region": region, "why": "away"} in life.unseen for region in away)
    assert not [step for step in life.steps if step.get("region") in away]


@given(rows, both, st.sampled_from([A, B]))
def test_what_was_not_looked_at_to_its_end_is_no_evidence(
    row: Row | None, answers: dict[str, Found], region: str
) -> None:
    part = Unseen(topic="logs", partition=3, why="no time")
    half = answers[region].model_copy(update={"copies": (), "unseen": (part,)})

    life = life_of(TIME_US, row, answers | {region: half})

    assert not {Kind.ABSENT, Kind.GONE} & {*life.kinds}
    assert not any(life.exposed.values())


@given(rows, both)
def test_the_order_of_answers_does_not_matter(row: Row | None, answers: dict[str, Answer]) -> None:
    assert life_of(TIME_US, row, answers) == life_of(TIME_US, row, dict(reversed(answers.items())))


@given(rows, both)
def test_an_event_is_exposed_in_one_region_at_most_and_only_where_it_is(
    row: Row | None, answers: dict[str, Found]
) -> None:
    life = life_of(TIME_US, row, answers)

    alone = [region for region, is_alone in life.exposed.items() if is_alone]
    assert len(alone) <= 1
    assert all(answers[region].copies and not answers[B if region == A else A].copies for region in alone)


def shown(life: Life) -> dict[str, Any]:
    return {"verdict": life.verdict, "kinds": list(life.kinds), "steps": list(life.steps), "unseen": list(life.unseen)}
