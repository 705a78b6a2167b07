"""The data of a correct fleet's run has no finding. Each planted mistake is a finding of its own kind alone."""

from dataclasses import replace
from random import Random
from typing import Final
from uuid import UUID

import pytest

from hypothesis import given
from hypothesis import strategies as st

from chaos.checker import KINDS, CommitSample, Gone, KafkaRecord, Observed, Place, Rules, StoredRow, check
from chaos.ledger import Ledger, Outcome, Sent
from chaos.selftest import PLANTED, missed
from chaos.traffic import Traffic

WINDOW: Final = 1_000_000
RULES: Final = Rules(window_us=WINDOW, max_future_us=60_000_000, undisturbed=True)
START: Final = 1_700_000_000_000_000
REGIONS: Final = ("region-a", "region-b")
# Findings that a moved or removed row may cause besides its own kind.
TRACES: Final = {
    "lost": {"committed early"},
    "out of order": {"swapped"},
    "duplicated": {"corrupted", "out of order", "swapped"},
    "phantom": {"corrupted", "out of order", "swapped"},
}


def sound_run(seed: int, events: int = 200) -> tuple[Ledger, Observed]:
    """Return the data of a fleet that takes events one by one and stores them in batches, each a window later."""
    random = Random(seed)
    traffic = Traffic("run", random, lambda: UUID(bytes=random.randbytes(16)))
    ledger, rows, records, commits = Ledger(), [], [], []
    offsets: dict[Place, int] = {}
    pending: list[tuple[int, Sent, str]] = []
    newest = dict.fromkeys(REGIONS, 0)
    before = (0, "", 0)
    for number, made in enumerate(traffic.batch(events, START)):
        twin = (made.sent.time_us, made.sent.correlation_id) == before[:2]
        aged_us = 0 if made.sent.time_us is None else (made.sent.time_us - START) // 100
        time_us = before[2] if twin else START + aged_us + 3000 * number
        before = (made.sent.time_us or 0, made.sent.correlation_id, time_us)
        sent = replace(made.sent, time_us=time_us)
        entry = ledger.begun(sent if made.named else made.sent, time_us)
        if not made.valid:
            entry.answered(Outcome.REFUSED)
            continue
        if random.random() < 0.9:
            entry.answered(Outcome.ACKNOWLEDGED)
        elif random.random() < 0.5:
            continue  # never answered, never stored
        region = "region-a" if sent.correlation_id < "run-5" else "region-b"
        other = REGIONS[1 - REGIONS.index(region)]
        for at, topic in ((region, "logs"), (other, f"{region}.logs")):
            place = Place(at, topic, len(sent.correlation_id) % 3)
            records.append(KafkaRecord(place, offsets.get(place, 0), sent.event_id))
            offsets[place] = offsets.get(place, 0) + 1
        pending.append((time_us, sent, region))
    pending.sort(key=lambda item: item[0])  # stable: events of equal times keep the order in which they were accepted
    for seq, (time_us, sent, region) in enumerate(pending):
        stored_us = time_us + WINDOW + 100_000
        late = random.random() < 0.05
        received_us = time_us + (2 * WINDOW if late else 1000)
        rows.append(
            StoredRow(
                seq,
                sent.event_id,
                time_us,
                sent.digest,
                sent.correlation_id,
                region,
                received_us,
                max(stored_us, received_us + 1000),
                f"{region}/one/1",
                "delayed" if late else None,
                5 if late else None,
            )
        )
        newest[region] = max(newest[region], rows[-1].stored_us)
    commits = [CommitSample(place, end, max(newest.values()) + 1) for place, end in offsets.items()]
    counted = {"rows stored": float(len(rows))}
    return ledger, Observed(rows, records, commits, [], counted, dict(counted))


def findings(ledger: Ledger, observed: Observed, rules: Rules = RULES) -> dict[str, int]:
    return {kind: count for kind, count in check(ledger, observed, rules).found.items() if count}


@given(st.integers(0, 2**32))
def test_a_sound_run_has_no_findings(seed: int) -> None:
    assert findings(*sound_run(seed)) == {}


@pytest.mark.parametrize("mistake", PLANTED)
@pytest.mark.parametrize("seed", range(5))
def test_a_planted_mistake_is_found_as_what_it_is(mistake: str, seed: int) -> None:
    plant, kind = PLANTED[mistake]
    ledger, observed = sound_run(seed, events=1500)
    spoilt = plant(ledger, observed, Random(f"plant {seed}"))

    assert spoilt is not None
    found = findings(ledger, spoilt)
    assert kind in found
    assert set(found) <= {kind} | TRACES.get(kind, set())


def test_every_kind_of_finding_is_planted() -> None:
    assert {kind for _, kind in PLANTED.values()} == set(KINDS)


def test_the_self_test_names_what_it_could_not_plant_or_find() -> None:
    ledger, observed = sound_run(1, events=1500)

    # Another seed than the run's: the ids made up for phantoms would be ids of the run.
    assert missed(ledger, observed, RULES, Random(2)) == []
    assert "a row removed" in missed(ledger, replace(observed, rows=[]), RULES, Random(2))


def only_row(**changes: object) -> tuple[Ledger, Observed]:
    ledger = Ledger()
    sent = Sent(b"i" * 16, START, "d" * 16, "c")
    ledger.begun(sent, START).answered(Outcome.ACKNOWLEDGED)
    row = StoredRow(
        1,
        sent.event_id,
        START,
        sent.digest,
        "c",
        "region-a",
        START + 1000,
        START + 1_200_000,
        "region-a/one/1",
        None,
        None,
    )
    return ledger, Observed([row._replace(**changes)], [])  # type: ignore[arg-type]


def test_late_although_stored_within_the_window_is_wrongly_late() -> None:
    late = {"late_reason": "pipeline", "late_by_ms": 1}

    assert findings(*only_row(**late, stored_us=START + WINDOW - 2000)) == {"wrongly late": 1}
    assert findings(*only_row(**late, stored_us=START + WINDOW + 2000)) == {}


@pytest.mark.parametrize(
    ("changes", "right"),
    [
        ({"late_reason": "pipeline", "late_by_ms": 100}, True),
        ({"late_reason": "replication_backlog", "late_by_ms": 100}, False),
        ({"late_reason": "replication_backlog", "late_by_ms": 100, "stored_by": "region-b/one/1"}, True),
        ({"late_reason": "delayed", "late_by_ms": 100}, False),
        ({"late_reason": "delayed", "late_by_ms": 100, "received_us": START + WINDOW + 1}, True),
        ({"late_reason": "clock_skew", "late_by_ms": 61_000}, False),
        ({"late_reason": "clock_skew", "late_by_ms": 61_000, "received_us": START - 61_000_000}, True),
        ({"late_reason": "clock_skew", "late_by_ms": 61_001, "received_us": START - 61_000_000}, False),
        ({"late_reason": "clock_skew", "late_by_ms": 61_000, "received_us": START - 62_000_000}, False),
        ({"received_us": START - 61_000_000}, True),
        ({"late_reason": "overtaken", "late_by_ms": 100}, True),
        ({"late_reason": "overtaken", "late_by_ms": 100, "received_us": START + WINDOW + 1}, False),
    ],
)
def test_a_reason_for_being_late_must_be_the_right_one(changes: dict[str, object], right: bool) -> None:  # noqa: FBT001
    assert findings(*only_row(**changes)) == ({} if right else {"wrongly late": 1})


@pytest.mark.parametrize(
    ("late", "right"),
    [
        ({"late_reason": "clock_skew", "late_by_ms": 3_600_000}, True),
        ({"late_reason": "clock_skew", "late_by_ms": 3_500_000}, False),
        ({}, False),
    ],
)
def test_what_a_gateway_dates_whose_clock_is_ahead_is_from_the_future(late: dict[str, object], right: bool) -> None:  # noqa: FBT001
    hour_us = 3_600_000_000
    ahead = {"time_us": START + hour_us, "received_us": START + hour_us, "stored_us": START, **late}
    ledger, observed = only_row(**ahead)
    [entry] = ledger.entries.values()
    entry.sent = replace(entry.sent, time_us=None)

    assert findings(ledger, observed) == ({} if right else {"wrongly late": 1})


@pytest.mark.parametrize(("ahead_s", "right"), [(45, True), (20, False), (61, False)])
def test_a_clock_that_is_ahead_makes_others_late_from_its_receipt_on(ahead_s: int, right: bool) -> None:  # noqa: FBT001
    """Such an event is stored only when its time has come. One more than `max_future` ahead makes no event late."""
    late_by_ms = 43_000
    ledger, observed = only_row(late_reason="pipeline", late_by_ms=late_by_ms)
    [late] = observed.rows
    time_us = START + ahead_s * 1_000_000
    sent = Sent(b"f" * 16, time_us, "d" * 16, "c")
    ledger.begun(sent, START)
    ahead = late._replace(seq=2, event_id=sent.event_id, time_us=time_us, late_reason=None, late_by_ms=None)
    if ahead_s > 60:
        ahead = ahead._replace(late_reason="clock_skew", late_by_ms=ahead_s * 1000 - 1)
    else:
        ahead = ahead._replace(stored_us=time_us + WINDOW)

    assert findings(ledger, replace(observed, rows=[late, ahead])) == ({} if right else {"wrongly late": 1})


def test_an_event_without_an_answer_may_be_stored_or_not_but_not_twice() -> None:
    ledger, observed = only_row()
    ledger.entries[b"i" * 16].outcome = Outcome.UNKNOWN

    assert findings(ledger, observed) == {}
    assert findings(ledger, replace(observed, rows=[])) == {}
    assert findings(ledger, replace(observed, rows=[*observed.rows, *observed.rows])) == {"duplicated": 1}


def test_with_faults_counters_may_miss_something_but_never_count_too_much() -> None:
    ledger, observed = only_row()
    disturbed = replace(RULES, undisturbed=False)
    for counted, when_disturbed, else_ in (
        (1, {}, {"miscounted": 1}),
        (2, {}, {}),
        (3, {"miscounted": 1}, {"miscounted": 1}),
    ):
        seen = replace(observed, counted={"n": counted}, counters_allow={"n": 2})
        assert findings(ledger, seen, disturbed) == when_disturbed
        assert findings(ledger, seen) == else_


LOG: Final = Place("region-a", "logs", 0)
COPY: Final = Place("region-b", "region-a.logs", 0)


@pytest.mark.parametrize(("told", "right"), [(3, True), (2, False), (4, False), (0, False)])
def test_what_was_removed_before_it_was_read_is_told_to_the_record(told: int, right: bool) -> None:  # noqa: FBT001
    ledger, observed = only_row()
    gone = [
        Gone(LOG, offset, event_id, unread=True) for offset, event_id in ((5, b"i" * 16), (6, None), (7, b"x" * 16))
    ]
    seen = replace(observed, gone=gone, told={("region-a", "logs"): told})

    assert findings(ledger, replace(seen, rows=[])) == ({} if right else {"mistold": 1})
    assert findings(ledger, seen) == ({} if right else {"mistold": 1}), (
        "stored from the copy, it was skipped all the same"
    )


@pytest.mark.parametrize(("told", "right"), [(0, False), (1, True), (2, True), (3, False)])
def test_a_consumer_that_may_have_read_what_was_removed_tells_at_least_what_is_lost(told: int, right: bool) -> None:  # noqa: FBT001
    ledger, observed = only_row()
    gone = [Gone(LOG, 5, b"i" * 16, unread=False), Gone(LOG, 6, b"x" * 16, unread=False)]
    seen = replace(observed, rows=[], gone=gone, told={("region-a", "logs"): told})

    assert findings(ledger, seen) == ({} if right else {"mistold": 1})


def test_what_was_removed_and_still_has_a_copy_is_not_excused() -> None:
    ledger, observed = only_row()
    seen = replace(
        observed,
        rows=[],
        records=[KafkaRecord(COPY, 1, b"i" * 16)],
        gone=[Gone(LOG, 5, b"i" * 16, unread=True)],
        told={("region-a", "logs"): 1},
    )

    assert findings(ledger, seen) == {"lost": 1}


def test_where_nothing_was_removed_nothing_may_be_told() -> None:
    ledger, observed = only_row()

    assert findings(ledger, replace(observed, told={("region-a", "logs"): 0})) == {}
    assert findings(ledger, replace(observed, told={("region-b", "region-a.logs"): 1})) == {"mistold": 1}


def test_an_unreadable_record_has_a_letter_that_names_its_offset() -> None:
    ledger, observed = only_row()
    seen = replace(observed, unreadable=[(LOG, 7), (COPY, 7)], set_aside=[(LOG, 7), (LOG, 7), (LOG, 8)])

    assert findings(ledger, seen) == {"not set aside": 1}


def test_a_commit_over_a_record_that_is_nowhere_is_early_whenever_it_was() -> None:
    ledger, observed = only_row()
    place = Place("region-a", "logs", 0)
    records = [KafkaRecord(place, 7, b"i" * 16), KafkaRecord(place, 8, b"x" * 16)]

    assert findings(ledger, replace(observed, records=records, commits=[CommitSample(place, 8, START + 10**9)])) == {
        "not converged": 2
    }
    early = findings(ledger, replace(observed, records=records, commits=[CommitSample(place, 9, START + 10**9)]))
    assert early["committed early"] == 1
