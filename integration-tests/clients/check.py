"""Compares what a client was given with what is stored. Pure."""

import json
import re

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

_NUMBER: Final = re.compile(r"record (\d+) of")
# Of one kind; the first ones say enough.
_MOST: Final = 5


@dataclass(frozen=True)
class Stored:
    """An event, from Kafka or from the table."""

    event_id: str
    service: str
    level: str
    message: str
    correlation_id: str
    time: datetime
    attributes: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """
    What a comparison found.

    Attributes:
        missing: Numbers of records that are not stored.
        twice: Numbers of records that are stored more than once.
        wrong: What must never be: a record that was never sent, or that differs. Sentences.
    """

    missing: Sequence[int]
    twice: Sequence[int]
    wrong: Sequence[str]


def compare(sent: Sequence[Mapping[str, Any]], stored: Sequence[Stored], begin: datetime, end: datetime) -> Found:
    """
    Compare them.

    Args:
        sent: What the program said of each record.
        stored: The events of its service. An identity that Kafka has twice is stored once.
        begin: When the program was started.
        end: When it had ended.
    """
    once = {(event.event_id, event.time): event for event in stored}
    found: defaultdict[int | None, list[Stored]] = defaultdict(list)
    for event in once.values():
        number = _NUMBER.search(event.message)
        found[int(number[1]) if number else None].append(event)
    wanted = {record["number"]: record for record in sent}
    twice = [number for number, events in found.items() if number is not None and len(events) > 1]
    strange = [f"not sent: {events[0]}" for number, events in found.items() if number not in wanted]
    differing = [
        f"record {number}: {', '.join(differences)}"
        for number, record in wanted.items()
        if number in found and (differences := list(_differences(record, found[number][0], begin, end)))
    ]
    missing = sorted(wanted.keys() - found.keys())
    return Found(missing, sorted(twice), [*strange[:_MOST], *differing[:_MOST]])


def _differences(sent: Mapping[str, Any], event: Stored, begin: datetime, end: datetime) -> Iterator[str]:
    message = json.loads(event.message)[sent["message_in"]] if "message_in" in sent else event.message
    for what, wanted, stored in (
        ("service", sent["service"], event.service),
        ("level", sent["level"], event.level),
        ("message", sent["message"], message),
        ("trace", sent["trace"], event.correlation_id),
    ):
        if stored != wanted:
            yield f"{what} is {stored!r}, not {wanted!r}"
    if "time_ns" in sent:
        time = datetime.fromtimestamp(0, UTC) + timedelta(microseconds=int(sent["time_ns"]) // 1000)
        if event.time != time:
            yield f"time is {event.time}, not {time}"
    # Clients cut their time to a millisecond.
    elif not begin - timedelta(milliseconds=1) <= event.time <= end:
        yield f"time is {event.time}, not from {begin} to {end}"
    for name, wanted in sent["attributes"].items():
        stored = event.attributes.get(name)
        stored = float(stored) if isinstance(stored, Decimal) else stored
        if stored != wanted or isinstance(stored, bool) != isinstance(wanted, bool):
            yield f"attribute {name} is {stored!r}, not {wanted!r}"
