"""
The hop from gateway to producer: many events in one request, one outcome each.

Internal, versioned with the services, never for clients: `POST /internal/records` takes NDJSON of received events (which
have their identity and the gateway's `receivedAt`) and answers 200 with a JSON array, in order, of null for an event that
Kafka acknowledged and `[status, retryable, detail]` for one that it did not.

* HandoffError   the other side broke this contract
"""

from collections.abc import Iterable, Sequence
from typing import Annotated, Final

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import to_json

from shared.event import InvalidEventError, ReceivedEvent, decode_received
from shared.log_api import Accepted, Outcome, Refused

PATH: Final = "/internal/records"
MAX_BODY_BYTES: Final = 16 * 1024 * 1024

_Status = Annotated[int, Field(ge=400, le=599)]
_Answers: Final = TypeAdapter(list[tuple[_Status, bool, str] | None])


class HandoffError(Exception):
    """A body that is none of this hop's."""


def encode_events(events: Iterable[ReceivedEvent]) -> bytes:
    """Write the request body."""
    return join_encoded([event.encode() for event in events])


def join_encoded(events: Iterable[bytes]) -> bytes:
    """Write the request body from events that are encoded already, as they are for a second attempt."""
    # Canonical JSON has no raw line breaks, so none can be mistaken for the border between two events.
    return b"\n".join(events)


def decode_events(body: bytes) -> list[ReceivedEvent]:
    """
    Read the request body.

    Raises:
        HandoffError: A line is no received event; none of the body may be sent then.
    """
    try:
        return [decode_received(line) for line in body.split(b"\n") if line]
    except InvalidEventError as exc:
        raise HandoffError(str(exc)) from exc


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
    return [Accepted(region) if answer is None else Refused(answer[0], answer[2], answer[1]) for answer in answers]
