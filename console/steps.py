"""The steps of an event, in the order in which it came there: from the client's clock to what became of each of its records. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

from console.row import Row
from console.sightings import Sighting, Sightings, place_of
from shared.event.times import epoch_us, format_time, from_epoch_us
from shared.wire.finding import Letter
from shared.wire.regions import DEAD_LETTERS, Region

Step = dict[str, Any]


def steps_of(time_us: int, row: Row | None, seen: Sightings) -> Iterator[Step]:
    """
    Return the steps, ready to be encoded as JSON.

    Args:
        time_us: The event's timestamp, microseconds since 1970.
        row: It, as it is stored; None if it is not.
        seen: What the regions show.
    """
    yield from _arrival(time_us, row, seen)
    yield from _records(row, seen)
    yield from _ends(row, seen)


def _arrival(time_us: int, row: Row | None, seen: Sightings) -> Iterator[Step]:
    yield {"what": "happened", "at": _time(time_us), "by": "client clock"}
    first = stored_from(row, seen.all) if row is not None else _first(seen.all)
    received_us = epoch_us(row.received_at) if row is not None else first.copy.received_us if first else None
    if received_us is None:
        return
    step = {"what": "received", "at": _time(received_us), "by": "gateway", "afterMs": _ms(received_us - time_us)}
    served_by = row.origin_region if row is not None else first.origin if first else None
    wanted = wanted_of(row, seen.all) if row is not None else first.copy.wanted if first else None
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
        if row is not None and is_duplicate(each, row, seen.all):
            yield {"what": "duplicate", **where, "why": "same identity, already stored"}
        elif not each.is_passed and (row is None or each is not stored_from(row, seen.all)):
            yield {"what": "waiting", **where, "place": place_of(each.copy), "before": before(each)}
        elif each.is_passed and (row is None or is_other(each)):
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


def stored_from(row: Row, sightings: Iterable[Sighting]) -> Sighting | None:
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


def wanted_of(row: Row, sightings: Iterable[Sighting]) -> Region | None:
    """Return the region that the stored event was meant for, where that is another one than took it."""
    received_us = epoch_us(row.received_at)
    for each in sightings:
        if (each.origin, each.copy.received_us) == (row.origin_region, received_us) and each.copy.wanted:
            return each.copy.wanted if each.copy.wanted != row.origin_region else None
    return None


def is_other(each: Sighting) -> bool:
    """Tell whether a record is no copy of what is stored: it cannot be read, or says something else."""
    return each.copy.wrong is not None or bool(each.letters)


def is_duplicate(each: Sighting, row: Row, sightings: Iterable[Sighting]) -> bool:
    """Tell whether a record was read and recognised as a copy of what is stored."""
    return each.is_passed and not is_other(each) and each is not stored_from(row, sightings)


def _source(each: Sighting) -> str:
    if not each.is_mirrored:
        return each.place
    return f"{each.origin} {place_of(each.source)}" if each.source is not None else f"{each.origin} logs"


def before(each: Sighting) -> int | None:
    """Return about how many records the consumers have to read before this one; None if that is unknown."""
    return None if each.done is None else max(0, each.copy.offset - each.done)


def _time(us: int) -> str:
    return format_time(from_epoch_us(us))


def _ms(us: int) -> float:
    return round(us / 1000, 1)
