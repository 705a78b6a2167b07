"""
The life of an event: its steps, and in one sentence what became of it. Pure.

It follows from a row, or none, and from what each region's Kafka shows. A region that is away is "unseen", and its copies are
"unknown", never "missing".
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from console.row import Row
from console.sightings import Answer, Sighting, Sightings, place_of
from shared.event.times import epoch_us, format_time, from_epoch_us
from shared.wire.finding import Letter
from shared.wire.regions import DEAD_LETTERS, Region

Step = dict[str, Any]

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
        steps=[*_arrival(time_us, row, seen), *_records(row, seen), *_ends(row, seen)],
        exposed=exposed,
        unseen=seen.unseen,
    )


Clause = tuple[Kind | None, str]


def _of_row(row: Row, seen: Sightings) -> Iterator[Clause]:
    yield Kind.STORED, "stored once"
    if row.late:
        reason = REASONS.get(row.late_reason or "", "")
        yield Kind.LATE, f"late by {duration(row.late_by_ms or 0)}, {row.late_reason}: {reason}"
    if (wanted := _wanted(row, seen.all)) is not None:
        yield Kind.FAILED_OVER, f"{wanted} was wanted, {row.origin_region} took it"
    origins = {row.origin_region, *(each.origin for each in seen.all if not _is_other(each))}
    if len(origins) > 1:
        yield Kind.RETRIED, f"sent to {' and '.join(sorted(origins))}"
    if number := sum(_is_duplicate(each, row, seen.all) for each in seen.all):
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


def _arrival(time_us: int, row: Row | None, seen: Sightings) -> Iterator[Step]:
    yield {"what": "happened", "at": _time(time_us), "by": "client clock"}
    first = _stored_from(row, seen.all) if row is not None else _first(seen.all)
    received_us = epoch_us(row.received_at) if row is not None else first.copy.received_us if first else None
    if received_us is None:
        return
    step = {"what": "received", "at": _time(received_us), "by": "gateway", "afterMs": _ms(received_us - time_us)}
    served_by = row.origin_region if row is not None else first.origin if first else None
    wanted = _wanted(row, seen.all) if row is not None else first.copy.wanted if first else None
    yield step | {"servedBy": served_by} | ({"wanted": wanted} if wanted else {})


def _records(row: Row | None, seen: Sightings) -> Iterator[Step]:
    first = _first(seen.all)
    for each in seen.all:
        copy = each.copy
        step: Step = {
            "what": "kafka",
            "region": each.region,
            "topic": copy.topic,
            "partition": copy.partition,
            "offset": copy.offset,
            "at": _time(copy.at_ms * 1000),
            "copyOf": None,
            "stillThere": True,
        }
        if each.is_mirrored:
            known = f"{copy.partition}@{each.source.offset}" if each.source is not None else f"{copy.partition}"
            step["copyOf"] = f"{each.origin} logs/{known}"
        elif note := _note(each, row, first):
            step["note"] = note
        if copy.wrong is not None:
            step["wrong"] = copy.wrong
        yield step
    if row is not None:
        yield from _gone(row, seen)


def _gone(row: Row, seen: Sightings) -> Iterator[Step]:
    if seen.is_in(row.origin_region) is False:
        note = "not there any more: older than its retention, or the topic was made anew"
        yield {"what": "kafka", "region": row.origin_region, "topic": "logs", "stillThere": False, "note": note}


def _note(each: Sighting, row: Row | None, first: Sighting | None) -> str | None:
    """Say why a region's own topic has a second record."""
    received_us = epoch_us(row.received_at) if row is not None else first.copy.received_us if first else None
    origin = row.origin_region if row is not None else first.origin if first else None
    if each.copy.received_us is None or (each is first and row is None):
        return None
    if each.copy.received_us == received_us:
        return None if each.origin == origin else "sent again by the gateway: an answer was lost"
    return "a client's retry" if each.origin == origin else "a client's retry to the other region"


def _ends(row: Row | None, seen: Sightings) -> Iterator[Step]:
    for region, letter in seen.letters:
        yield _set_aside(region, letter)
    if row is not None:
        yield {
            "what": "stored",
            "at": format_time(row.stored_at),
            "by": row.stored_by,
            "seq": row.seq,
            "order": f"late by {row.late_by_ms} ms: {row.late_reason}" if row.late else "in order",
            "fromReceiptMs": _ms(epoch_us(row.stored_at) - epoch_us(row.received_at)),
        }
    for each in seen.all:
        if each.letters:
            continue
        where = {"region": each.region, "of": _source(each)}
        if row is not None and _is_duplicate(each, row, seen.all):
            yield {"what": "duplicate", **where, "why": "same identity, already stored"}
        elif not each.is_passed and (row is None or each is not _stored_from(row, seen.all)):
            yield {"what": "waiting", **where, "place": place_of(each.copy), "before": before(each)}
        elif each.is_passed and (row is None or _is_other(each)):
            yield {"what": "passed", **where, "place": place_of(each.copy), "why": "read, and not stored"}


def _set_aside(region: Region, letter: Letter) -> Step:
    return {
        "what": "set aside",
        "region": region,
        "topic": DEAD_LETTERS,
        "partition": letter.partition,
        "offset": letter.offset,
        "at": _time(letter.at_ms * 1000),
        "of": f"{region} {letter.source_topic}/{letter.source_partition}@{letter.source_offset}",
        "why": letter.reason,
    }


def _first(sightings: Iterable[Sighting]) -> Sighting | None:
    """Return the record that a gateway took first."""
    taken = [each for each in sightings if each.copy.received_us is not None]
    return min(taken, key=lambda each: (each.copy.received_us or 0, each.is_mirrored), default=None)


def _stored_from(row: Row, sightings: Iterable[Sighting]) -> Sighting | None:
    """Return the record that the row was made of, if it is seen: the first of its receipt that its consumer read."""
    region, received_us = row.stored_by.partition("/")[0], epoch_us(row.received_at)
    return next(
        (
            each
            for each in sightings
            if (each.region, each.origin, each.copy.received_us) == (region, row.origin_region, received_us)
        ),
        None,
    )


def _wanted(row: Row, sightings: Iterable[Sighting]) -> Region | None:
    """Return the region that the stored event was meant for, where that is another one than took it."""
    received_us = epoch_us(row.received_at)
    for each in sightings:
        if (each.origin, each.copy.received_us) == (row.origin_region, received_us) and each.copy.wanted:
            return each.copy.wanted if each.copy.wanted != row.origin_region else None
    return None


def _is_other(each: Sighting) -> bool:
    """Tell whether a record is no copy of what is stored: it cannot be read, or says something else."""
    return each.copy.wrong is not None or bool(each.letters)


def _is_duplicate(each: Sighting, row: Row, sightings: Iterable[Sighting]) -> bool:
    return each.is_passed and not _is_other(each) and each is not _stored_from(row, sightings)


def _duplicates(number: int) -> str:
    return "a duplicate" if number == 1 else "duplicates"


def _source(each: Sighting) -> str:
    if not each.is_mirrored:
        return each.place
    return f"{each.origin} {place_of(each.source)}" if each.source is not None else f"{each.origin} logs"


def before(each: Sighting) -> int | None:
    """Return about how many records the consumers have to read before this one; None if that is unknown."""
    return None if each.done is None else max(0, each.copy.offset - each.done)


def _queue(each: Sighting) -> str:
    number = before(each)
    return "how many before it is unknown" if number is None else f"about {number} before it"


def duration(ms: int) -> str:
    """Return a time for a person."""
    for unit, size in (("h", 3_600_000), ("min", 60_000), ("s", 1000)):
        if ms >= size:
            return f"{ms / size:.1f} {unit}"
    return f"{ms} ms"


def _time(us: int) -> str:
    return format_time(from_epoch_us(us))


def _ms(us: int) -> float:
    return round(us / 1000, 1)
