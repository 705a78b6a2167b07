"""
The hop from gateway to producer: many events in one request, one outcome each.

Internal, versioned with the services, never for clients. `POST /internal/records` takes NDJSON of received events, which
have their identity and the gateway's `receivedAt`. It answers 200 with a JSON array, one item an event, in order: null if
Kafka acknowledged it, else `[status, retryable, detail]`. One request carries the events of many clients' requests, so an
event's traceparent is in its own line, behind a tab at the end.

* HandoffError           the other side broke this contract
  x TooManyEventsError   by more events than this side takes at once
"""

from collections.abc import Generator, Iterable, Sequence
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from shared.event.model import InvalidEventError, ReceivedEvent
from shared.event.outcome import Accepted, Outcome, Refused
from shared.event.sealed import SealedEvent, decode_handoff
from shared.wire.trace import is_traceparent

PATH: Final = "/internal/records"
MAX_BODY_BYTES: Final = 16 * 1024 * 1024
# All that a gateway queues for a region, by its default.
MAX_EVENTS: Final = 20_000
_PART_EVENTS: Final = 50
_TAB: Final = b"\t"

_Status = Annotated[int, Field(ge=400, le=599)]
_Answers: Final = TypeAdapter(list[tuple[_Status, bool, str] | None])


class HandoffError(Exception):
    """The body does not have the form of a hand-off."""


class TooManyEventsError(HandoffError):
    """The body has more events than are taken at once; the argument says what to change."""


def encode_events(events: Iterable[ReceivedEvent]) -> bytes:
    """Write the request body."""
    return join_encoded([event.encode() for event in events])


def join_encoded(events: Iterable[bytes]) -> bytes:
    """Write the request body from events that are encoded already, so that a retry need not encode again."""
    # Canonical JSON has no raw line breaks, so none can be mistaken for the border between two events.
    return b"\n".join(events)


def with_traceparent(event: bytes, traceparent: bytes) -> bytes:
    """Append the traceparent to an encoded event."""
    # Canonical JSON has no raw tabs either.
    return event + _TAB + traceparent


def split_traceparents(body: bytes, max_events: int = MAX_EVENTS) -> tuple[bytes, Sequence[bytes | None] | None]:
    """
    Take the traceparents out of a request body.

    Raises:
        TooManyEventsError: It has more than `max_events` lines; it is not taken apart then.

    Returns:
        The body without them, and one for each event, None for an event that has none. When no event has one, a single
        None replaces the list; that costs one search for a byte.
    """
    if (count := body.count(b"\n") + 1) > max_events:
        raise TooManyEventsError(f"a hand-off has at most {max_events} events, this one has {count}")
    if _TAB not in body:
        return body, None
    events: list[bytes] = []
    traceparents: list[bytes | None] = []
    for line in body.split(b"\n"):
        if line:
            event, _, end = line.rpartition(_TAB)
            traced = is_traceparent(end)
            events.append(event if traced else line)
            traceparents.append(end if traced else None)
    return b"\n".join(events), traceparents


def decode_events(body: bytes) -> Generator[None, None, list[SealedEvent]]:
    """
    Read the request body, without traceparents; yield wherever this may be interrupted.

    Raises:
        HandoffError: A line is no received event; none of the body may be sent then.
    """
    events: list[SealedEvent] = []
    try:
        for number, line in enumerate(body.split(b"\n"), 1):
            if line:
                events.append(decode_handoff(line))
            if number % _PART_EVENTS == 0:
                yield
    except InvalidEventError as exc:
        raise HandoffError(str(exc)) from exc
    return events


def encode_outcomes(outcomes: Iterable[Outcome]) -> bytes:
    """Write the answer's body."""
    return to_json([None if isinstance(o, Accepted) else (o.status, o.retryable, o.detail) for o in outcomes])


def decode_outcomes(body: bytes, region: str, expected: int) -> Sequence[Outcome]:
    """
    Read the answer of `region`'s producer.

    Raises:
        HandoffError: The body is no answer to `expected` events.
    """
    try:
        answers = _Answers.validate_json(body)
    except ValidationError as exc:
        raise HandoffError(str(exc)) from exc
    if len(answers) != expected:
        raise HandoffError(f"{len(answers)} outcomes for {expected} events")
    accepted = Accepted(region)
    return [accepted if answer is None else Refused(answer[0], answer[2], answer[1]) for answer in answers]
