"""
How clients say their events to the gateway, and what its answers tell them. PURE.

A protocol knows two things: the request for a batch, and the row that the fleet has to make of each event. The latter comes from
the documentation and shares no code with the gateway, so that a mistake in the gateway's mapping is a finding.
`chaos/shippers.py` has those of log shippers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, NamedTuple, Protocol
from uuid import UUID

from pydantic_core import from_json, to_json

from chaos.ledger import Outcome, Sent, digest
from shared.event.model import format_time, from_epoch_us

MARK: Final = "mark"
"""Attribute by which the checker knows an event whose identity its client does not know."""

_RETRYABLE: Final = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


class Drawn(NamedTuple):
    """
    An event as it was drawn, whatever it is sent by.

    Attributes:
        event_id: Its id, also in the ledger.
        time_us: When it happened, in microseconds since 1970. None if its client does not say so.
        service: The run's name.
        level: One of the fleet's levels.
        message: Any text.
        correlation_id: What it belongs to.
        attributes: Numbers, booleans and texts by name.
        valid: Whether it may be accepted.
    """

    event_id: UUID
    time_us: int | None
    service: str
    level: str
    message: str
    correlation_id: str
    attributes: Mapping[str, Any]
    valid: bool


@dataclass(frozen=True, slots=True)
class Made:
    """
    An event ready to be sent.

    Attributes:
        sent: Its entry for the ledger.
        body: Its part of the request's body, as its protocol has it.
        valid: Whether it may be accepted.
        named: Whether a client may send it again. Else it would be a new event each time.
    """

    sent: Sent
    body: Any
    valid: bool
    named: bool = True


class Request(NamedTuple):
    """A POST: its path, its headers and its body. The same events make the same bytes."""

    path: str
    headers: Mapping[str, str]
    content: bytes


class Told(NamedTuple):
    """
    What an answer tells.

    Attributes:
        outcomes: One for each event.
        served: The region that acknowledged each. None if it was not, or if the protocol does not say which.
    """

    outcomes: Sequence[Outcome]
    served: Sequence[str | None]


class ClientProtocol(Protocol):
    """
    One way to send events.

    Attributes:
        name: The name on the command line.
        is_whole: Whether a request is taken or refused as a whole: a client sends the same bytes again, or nothing.
        tells_regions: Whether answers say which region acknowledged.
    """

    name: str
    is_whole: bool
    tells_regions: bool

    def make(self, drawn: Drawn) -> Made:
        """Return an event ready to be sent, with the contents that its row must have."""
        ...

    def request(self, events: Sequence[Made]) -> Request:
        """Return the request for a batch."""
        ...

    def told(self, status: int, content: bytes, events: Sequence[Made]) -> Told | None:
        """Return what an answer tells. None if it tells nothing that a client of this protocol can use."""
        ...


def not_now(status: int) -> bool:
    """Return whether a status asks for a later retry."""
    return status in _RETRYABLE


class Own:
    """The project's own API: identities are the client's, and each event has its outcome."""

    name = "api"
    is_whole = False
    tells_regions = True

    def make(self, drawn: Drawn) -> Made:
        """Return an event as `/api/logs/batch` takes it. One without a time has no identity either."""
        attributes, identity = dict(drawn.attributes), {}
        if drawn.time_us is None:
            attributes[MARK] = drawn.event_id.hex
        else:
            identity = {"eventId": str(drawn.event_id), "timestamp": format_time(from_epoch_us(drawn.time_us))}
        body = {
            **identity,
            "serviceName": drawn.service,
            "level": drawn.level if drawn.valid else "LOUD",
            "message": drawn.message,
            "correlationId": drawn.correlation_id,
            "attributes": attributes,
        }
        hashed = digest(drawn.service, drawn.level, drawn.message, drawn.correlation_id, attributes)
        sent = Sent(drawn.event_id.bytes, drawn.time_us, hashed, drawn.correlation_id)
        return Made(sent, body, drawn.valid, drawn.time_us is not None)

    def request(self, events: Sequence[Made]) -> Request:
        """Return an array of JSON."""
        content = to_json([event.body for event in events])
        return Request("/api/logs/batch", {"Content-Type": "application/json"}, content)

    def told(self, status: int, content: bytes, events: Sequence[Made]) -> Told | None:
        """Return the outcome of each item."""
        if status not in {HTTPStatus.ACCEPTED, HTTPStatus.MULTI_STATUS}:
            return None
        items = from_json(content)["items"]
        if len(items) != len(events):
            raise ValueError(f"{len(items)} items for {len(events)} events")
        outcomes = [_OUTCOMES.get(item["status"], Outcome.UNKNOWN) for item in items]
        return Told(outcomes, [item.get("region") for item in items])


_OUTCOMES: Final = {HTTPStatus.ACCEPTED: Outcome.ACKNOWLEDGED, HTTPStatus.BAD_REQUEST: Outcome.REFUSED}
OWN: Final = Own()
