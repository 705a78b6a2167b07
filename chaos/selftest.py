"""
Plants one mistake of each kind into the observations. A checker that does not find it has proved nothing. PURE.

`chaos/tests/test_checker.py` plants them into made-up data, and each real run plants them into its own data.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from itertools import pairwise
from random import Random
from typing import Final

from chaos.checker import CommitSample, Gone, KafkaRecord, Observed, Place, Rules, StoredRow, check
from chaos.ledger import Ledger, Outcome

Planter = Callable[[Ledger, Observed, Random], Observed | None]


def _with_rows(observed: Observed, rows: list[StoredRow]) -> Observed:
    return replace(observed, rows=rows)


def _drop(ledger: Ledger, observed: Observed, random: Random) -> Observed | None:
    acked = [i for i, row in enumerate(observed.rows) if _outcome(ledger, row) is Outcome.ACKNOWLEDGED]
    if not acked:
        return None
    gone = random.choice(acked)
    return _with_rows(observed, [row for i, row in enumerate(observed.rows) if i != gone])


def _outcome(ledger: Ledger, row: StoredRow) -> Outcome | None:
    entry = ledger.entries.get(row.event_id)
    return entry.outcome if entry else None


def _duplicate(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    if not observed.rows:
        return None
    row = random.choice(observed.rows)
    # With another time, because the primary key refuses an equal one.
    return _with_rows(observed, [*observed.rows, row._replace(seq=observed.rows[-1].seq + 1, time_us=row.time_us + 1)])


def _phantom(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    if not observed.rows:
        return None
    row = random.choice(observed.rows)._replace(event_id=random.randbytes(16))
    return _with_rows(observed, [*observed.rows, row])


def _refused(ledger: Ledger, observed: Observed, _: Random) -> Observed | None:
    refused = next((e.sent for e in ledger.entries.values() if e.outcome is Outcome.REFUSED), None)
    if not observed.rows or refused is None:
        return None
    row = observed.rows[-1]._replace(event_id=refused.event_id, digest=refused.digest)
    return _with_rows(observed, [*observed.rows, row])


def _corrupt(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    if not observed.rows:
        return None
    rows = list(observed.rows)
    index = random.randrange(len(rows))
    rows[index] = rows[index]._replace(digest="0" * 16)
    return _with_rows(observed, rows)


def _swap(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    by_writer: dict[str, list[int]] = {}
    for index, row in enumerate(observed.rows):
        if row.late_reason is None:
            by_writer.setdefault(row.stored_by, []).append(index)
    pairs = [
        (one, two)
        for indices in by_writer.values()
        for one, two in pairwise(indices)
        if observed.rows[one].time_us < observed.rows[two].time_us
    ]
    if not pairs:
        return None
    one, two = random.choice(pairs)
    rows = list(observed.rows)
    rows[one], rows[two] = rows[two], rows[one]
    return _with_rows(observed, rows)


def _swap_twins(ledger: Ledger, observed: Observed, random: Random) -> Observed | None:
    copies: dict[bytes, list[KafkaRecord]] = {}
    for record in observed.records:
        if "." not in record.place.topic:
            copies.setdefault(record.event_id, []).append(record)
    groups: dict[tuple[object, str, int], list[int]] = {}
    for index, row in enumerate(observed.rows):
        if row.event_id in ledger.entries and len(copies.get(row.event_id, ())) == 1:
            place = copies[row.event_id][0].place
            groups.setdefault((place, row.correlation_id, row.time_us), []).append(index)
    twins = [indices for indices in groups.values() if len(indices) > 1]
    if not twins:
        return None
    one, two = random.choice(twins)[:2]
    rows = list(observed.rows)
    rows[one], rows[two] = rows[two], rows[one]
    return _with_rows(observed, rows)


def _flag_late(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    prompt = [i for i, row in enumerate(observed.rows) if row.late_reason is None]
    if not prompt:
        return None
    rows = list(observed.rows)
    index = random.choice(prompt)
    row = rows[index]
    mirrored = not row.stored_by.startswith(f"{row.origin}/")
    # Later than possible: by more than the event took from client to row.
    by_ms = (max(row.stored_us, row.received_us) - row.time_us) // 1000 + 120_000
    rows[index] = row._replace(late_reason="replication_backlog" if mirrored else "pipeline", late_by_ms=by_ms)
    return _with_rows(observed, rows)


def _commit_early(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    if not observed.records:
        return None
    record = random.choice(observed.records)
    stored = {row.event_id: row.stored_us for row in observed.rows}.get(record.event_id)
    if stored is None:
        return None
    sample = CommitSample(record.place, record.offset + 1, stored - 1)
    return replace(observed, commits=[*observed.commits, sample])


def _mirror_gap(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    # Only copies whose original still exists: the checker does not expect a copy of a record that retention has removed.
    local = {(record.place.region, record.event_id) for record in observed.records if "." not in record.place.topic}
    mirrored = [r for r in observed.records if (r.place.topic.partition(".")[0], r.event_id) in local]
    mirrored = [record for record in mirrored if "." in record.place.topic]
    if not mirrored:
        return None
    gone = random.choice(mirrored)
    left = [r for r in observed.records if (r.place.topic, r.event_id) != (gone.place.topic, gone.event_id)]
    return replace(observed, records=left)


def _dead_letter(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    return replace(observed, dead_letters=[*observed.dead_letters, random.randbytes(16)])


def _no_letter(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    foreign = (Place("region-a", "logs", 0), 2**62 + random.randrange(2**32))
    return replace(observed, unreadable=[*observed.unreadable, foreign])


def _keep_quiet(ledger: Ledger, observed: Observed, random: Random) -> Observed | None:
    """Lose a row to retention, with more records of its log than the consumers counted as skipped."""
    stored = {row.event_id: index for index, row in enumerate(observed.rows)}
    chosen = [record for record in observed.records if record.event_id in stored and "." not in record.place.topic]
    if not chosen:
        return None
    record = random.choice(chosen)
    told = round(observed.told.get((record.place.region, record.place.topic), 0))
    gone = [
        Gone(record.place, record.offset + n, record.event_id if n == 0 else None, unread=True) for n in range(told + 1)
    ]
    left = [row for row in observed.rows if row.event_id != record.event_id]
    records = [other for other in observed.records if other.event_id != record.event_id]
    return replace(observed, rows=left, records=records, gone=[*observed.gone, *gone])


def _exaggerate(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    log = (random.choice(["region-a", "region-b"]), "logs")
    gone = sum((record.place.region, record.place.topic) == log for record in observed.gone)
    return replace(observed, told={**observed.told, log: gone + 1.0})


def _inflate(_: Ledger, observed: Observed, random: Random) -> Observed | None:
    if not observed.counters_allow:
        return None
    name = random.choice(sorted(observed.counters_allow))
    return replace(observed, counted={**observed.counted, name: observed.counters_allow[name] + 1})


PLANTED: Final[Mapping[str, tuple[Planter, str]]] = {
    "a row removed": (_drop, "lost"),
    "a row doubled": (_duplicate, "duplicated"),
    "a row of an event that was never sent": (_phantom, "phantom"),
    "a row of an event that was refused": (_refused, "phantom"),
    "a row with a byte changed": (_corrupt, "corrupted"),
    "two rows in order swapped": (_swap, "out of order"),
    "two rows of one time and trace swapped": (_swap_twins, "swapped"),
    "a late flag flipped": (_flag_late, "wrongly late"),
    "an offset committed early": (_commit_early, "committed early"),
    "a record not mirrored": (_mirror_gap, "not converged"),
    "a valid event set aside": (_dead_letter, "dead letter"),
    "an unreadable record without a dead letter": (_no_letter, "not set aside"),
    "a loss kept quiet": (_keep_quiet, "mistold"),
    "a loss told that was none": (_exaggerate, "mistold"),
    "a counter inflated": (_inflate, "miscounted"),
}


def missed(ledger: Ledger, observed: Observed, rules: Rules, random: Random) -> list[str]:
    """
    Plant each mistake, one at a time, and return those that the checker did not find.

    A mistake that cannot be planted into the data counts as missed, because such data proves nothing about it.
    """
    unfound: list[str] = []
    for name, (plant, kind) in PLANTED.items():
        if rules.set_back and kind == "swapped":
            continue  # the fleet does not promise this after such a run
        spoilt = plant(ledger, observed, random)
        if spoilt is None:
            unfound.append(name)
            continue
        before, after = (check(ledger, data, rules, only=kind).found[kind] for data in (observed, spoilt))
        if after <= before:
            unfound.append(name)
    return unfound
