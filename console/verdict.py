"""
The life of an event: its steps, and in one sentence what became of it. Pure.

It follows from a row, or none, and from what each region's Kafka shows. A region that is away is "unseen", and its copies are
"unknown", never "missing".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from console.row import Row
from console.sightings import Answer, Sighting, Sightings
from console.steps import Step, before, is_duplicate, is_other, steps_of, wanted_of
from shared.wire.regions import DEAD_LETTERS, Region

REASONS: Final[Mapping[str, str]] = {
    "delayed": "it was older than the window when a gateway took it",
    "replication_backlog": "it was in time at its origin, and came late through the mirror",
    "pipeline": "a restart, a retry or a rebalance held it up",
    "clock_skew": "its time lies too far in the future",
    "overtaken": "an event that was dated ahead of the clock had been stored before it",
}
_CONFLICT: Final = "conflict"


class Kind(StrEnum):
    """What became of an event; several may hold at once."""

    STORED = "stored"
    LATE = "late"
    FAILED_OVER = "failed-over"
    RETRIED = "retried"
    EXPOSED = "exposed"
    GONE = "gone"
    POISONED = "poisoned"
    WAITING = "waiting"
    FINDING = "finding"
    ABSENT = "absent"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Life:
    """
    The answer.

    Attributes:
        verdict: What became of the event, for a person.
        kinds: The same, for a program.
        steps: Where it was, in the order in which it came there.
        exposed: By region, whether its Kafka alone has the event; None: unknown.
        unseen: What could not be looked at.
    """

    verdict: str
    kinds: Sequence[Kind]
    steps: Sequence[Step]
    exposed: Mapping[Region, bool | None]
    unseen: Sequence[Mapping[str, Any]]


def life_of(time_us: int, row: Row | None, answers: Mapping[Region, Answer]) -> Life:
    """
    Say what became of an event.

    Args:
        time_us: Its timestamp, microseconds since 1970.
        row: It, as it is stored; None if it is not, neither before nor after the regions were asked.
        answers: What each region's Kafka shows.
    """
    seen = Sightings(answers)
    exposed = {region: seen.exposed(region) for region in seen.regions}
    clauses = list(_of_row(row, seen) if row is not None else _without_row(seen))
    if only := [region for region, alone in exposed.items() if alone]:
        clauses.append((Kind.EXPOSED, f"exposed: only {only[0]}'s Kafka has it"))
    clauses += ((None, f"{region} was not seen, its copies are unknown") for region in seen.away)
    return Life(
        verdict="; ".join(clause for _, clause in clauses),
        kinds=[kind for kind in Kind if any(kind is said for said, _ in clauses)],
        steps=list(steps_of(time_us, row, seen)),
        exposed=exposed,
        unseen=seen.unseen,
    )


Clause = tuple[Kind | None, str]


def _of_row(row: Row, seen: Sightings) -> Iterator[Clause]:
    yield Kind.STORED, "stored once"
    if row.late:
        reason = REASONS.get(row.late_reason or "", "")
        yield Kind.LATE, f"late by {duration(row.late_by_ms or 0)}, {row.late_reason}: {reason}"
    if (wanted := wanted_of(row, seen.all)) is not None:
        yield Kind.FAILED_OVER, f"{wanted} was wanted, {row.origin_region} took it"
    origins = {row.origin_region, *(each.origin for each in seen.all if not is_other(each))}
    if len(origins) > 1:
        yield Kind.RETRIED, f"sent to {' and '.join(sorted(origins))}"
    if number := sum(is_duplicate(each, row, seen.all) for each in seen.all):
        yield None, f"{number} {'copy' if number == 1 else 'copies'} recognised as {_duplicates(number)}"
    if not seen.all and all(seen.is_in(region) is False for region in seen.regions):
        yield Kind.GONE, "no Kafka has a copy any more"
    for region, letter in seen.letters:
        yield Kind.POISONED, f"another record with its identity was set aside in {region}: {letter.reason}"


def _without_row(seen: Sightings) -> Iterator[Clause]:
    for region, letter in seen.letters:
        yield Kind.POISONED, f"not stored, set aside in {region}'s {DEAD_LETTERS}: {letter.reason}"
    left = [each for each in seen.all if not each.letters]
    for each in left:
        if not each.is_passed:
            what = "" if each.copy.wrong is None else f", and cannot become a row: {each.copy.wrong}"
            yield Kind.WAITING, f"waits in {each.place}, {_queue(each)}{what}"
    if seen.letters or any(not each.is_passed for each in left):
        return
    if not left:
        if all(seen.is_in(region) is False for region in seen.regions):
            yield Kind.ABSENT, "not in the fleet: never acknowledged, or older than Kafka keeps and not stored"
        else:
            yield Kind.UNKNOWN, "not stored, and not found where it was looked for"
        return
    unsure = sorted({each.region for each in left if not seen.has_seen_letters(each.region)})
    if unsure:
        yield Kind.UNKNOWN, f"read and not stored; the dead letters of {' and '.join(unsure)} could not be looked at"
    else:
        places = ", ".join(each.place for each in left)
        yield (
            Kind.FINDING,
            f"a finding: {places} was read, and there is neither row nor dead letter; a dropped day looks so, too",
        )


def _duplicates(number: int) -> str:
    return "a duplicate" if number == 1 else "duplicates"


def _queue(each: Sighting) -> str:
    number = before(each)
    return "how many before it is unknown" if number is None else f"about {number} before it"


def duration(ms: int) -> str:
    """Return a time for a person."""
    for unit, size in (("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if ms >= size:
            return f"{ms / size:.1f} {unit}"
    return f"{ms} ms"
