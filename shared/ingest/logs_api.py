"""
The project's own protocol, served alike by the gateway and by each producer.

`POST /api/logs` takes one event, `POST /api/logs/batch` up to 10,000. What differs between the services is only what
becomes of a valid event: the `EventSink` that each of them brings. Pure.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final

from pydantic_core import to_json

from shared.event.model import MAX_EVENT_BYTES, InvalidEventError
from shared.event.outcome import Accepted, Outcome, Refused
from shared.event.sealed import Intake, SealedEvent
from shared.ingest import slices
from shared.ingest.head import Head
from shared.ingest.media_type import JSON_TYPES, LINES_TYPES
from shared.ingest.protocol import IngestProtocol, Reply, Submission, problem_reply
from shared.wire.problem import (
    BadRequestError,
    ProblemError,
    RefusedError,
    UnavailableError,
    UnsupportedMediaTypeError,
)

ONE: Final = "/api/logs"
BATCH: Final = "/api/logs/batch"
JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
_JSON: Final = JSON.encode()
_TRUTH: Final = {True: "true", False: "false"}
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024
# An answer that only refuses has no more than this, whatever is wrong with how many events. So the first ones are explained
# at length, and the rest where there is room: each takes so many bytes with a short explanation, and a character up to six.
_ANSWER_BYTES: Final = 1024 * 1024
_SHORT_BYTES: Final = 92
_CHAR_BYTES: Final = 6
_LINES_AT_ONCE: Final = 32
_LONG_LINE: Final = 2048
_SHORT_DETAIL: Final = "invalid; the first items say how"


class OneLog:
    """`POST /api/logs`: 202 only after a region's Kafka acknowledged the event with acks=all."""

    max_body_bytes = MAX_EVENT_BYTES

    def check(self, head: Head) -> None:
        """Refuse what is not called JSON."""
        if (kind := head.media_type) not in JSON_TYPES:
            raise _not_called(JSON, kind)

    def read(self, body: bytes, intake: Intake, _: None) -> Submission:
        """Read the event."""
        return Submission([intake.seal(body)])

    def answer(self, submission: Submission, outcomes: Sequence[Outcome]) -> Reply:
        """Return the event's identity, and the region that has it."""
        [event], [outcome] = submission.events, outcomes
        if isinstance(outcome, Refused):
            if outcome.retryable:
                raise UnavailableError(outcome.detail)
            raise RefusedError(outcome.status, outcome.detail)
        # What is put in between needs no escaping: ids and times are checked, regions are names from the configuration.
        body = (
            f'{{"eventId":"{event.event_id}","timestamp":"{event.timestamp}",'
            f'"region":"{outcome.region}","failover":{_TRUTH[outcome.failover]}}}'
        )
        return Reply(HTTPStatus.ACCEPTED, body.encode(), _JSON, _served_by(outcome))

    def refuse(self, error: ProblemError, submission: Submission | None, _: Head) -> Reply:
        """Return a problem, with the event's identity once it has one, so that a retry is no second event."""
        if submission is not None:
            error.extra = identity(submission.events[0]) | error.extra
        return problem_reply(error)


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a batch is written, and the status for one of which some events were accepted."""

    lines: bool
    some: HTTPStatus


@dataclass(frozen=True, slots=True)
class _Decoded:
    """Everything in a batch, and the status for one of which some events were accepted."""

    items: Sequence[SealedEvent | InvalidEventError]
    some: HTTPStatus


class LogBatch:
    """
    `POST /api/logs/batch`: a JSON array or NDJSON. All events are validated before any is sent.

    A shipper that takes only 200 to 205 for success would retry a batch with one bad event for ever. `?partial=200`
    replaces the status 207: by 200 if all refusals are final, by 503 if a retry can help.
    """

    max_body_bytes = MAX_BATCH_BYTES

    def check(self, head: Head) -> _Asked:
        """Refuse what is called neither JSON nor NDJSON, and unknown values of `partial`."""
        some = _status_for_some(head.query("partial"))
        kind = head.media_type
        if kind not in JSON_TYPES and kind not in LINES_TYPES:
            raise _not_called(f"{JSON} or {NDJSON}", kind)
        return _Asked(kind in LINES_TYPES, some)

    def read(self, body: bytes, intake: Intake, asked: _Asked) -> Submission | Generator[None, None, Submission]:
        """Read all events; those that are wrong become items of the answer."""
        if slices.is_small(body):
            return _submission(intake.seal_lines(body) if asked.lines else intake.seal_array(body), asked)
        return _read_in_slices(body, intake, asked)

    def answer(self, submission: Submission, outcomes: Sequence[Outcome]) -> Reply:
        """Return the outcome of each event, in order."""
        decoded: _Decoded = submission.context
        events = submission.events
        if len(events) == len(decoded.items) and (first := _same_for_all(outcomes)) is not None:
            return _all_accepted(events, first)
        return _one_by_one(decoded, events, outcomes)

    def refuse(self, error: ProblemError, submission: Submission | None, _: Head) -> Reply:
        """Return a problem, with the events' identities once they have them."""
        if submission is not None:
            error.extra = {"items": list(map(identity, submission.events))} | error.extra
        return problem_reply(error)


def _read_in_slices(body: bytes, intake: Intake, asked: _Asked) -> Generator[None, None, Submission]:
    decoded = yield from (_lines if asked.lines else _array)(body, intake)
    return _submission(decoded, asked)


def _lines(body: bytes, intake: Intake) -> Generator[None, None, list[SealedEvent | InvalidEventError]]:
    decoded: list[SealedEvent | InvalidEventError] = []
    for number, line in enumerate(slices.of_lines(body)):
        if line is not None:
            decoded.append(intake.seal_line(line))
            if number % _LINES_AT_ONCE and len(line) < _LONG_LINE:
                continue
        yield
    return decoded


def _array(body: bytes, intake: Intake) -> Generator[None, None, list[SealedEvent | InvalidEventError]]:
    decoded: list[SealedEvent | InvalidEventError] = []
    for part in slices.of_array(body):
        try:
            some = intake.seal_array(part) if part is not None else ()
        except InvalidEventError:
            if part is body:
                raise
            # One element is not JSON, so that the array is none: its error says where.
            return intake.seal_array(body)
        decoded += some
        yield
    return decoded


def _submission(decoded: Sequence[SealedEvent | InvalidEventError], asked: _Asked) -> Submission:
    if not decoded:
        raise BadRequestError("the batch has no events")
    valid = [item for item in decoded if isinstance(item, SealedEvent)]
    return Submission(valid, _Decoded(decoded, asked.some))


PROTOCOLS: Final[Mapping[str, IngestProtocol]] = {ONE: OneLog(), BATCH: LogBatch()}
"""What every service that takes events speaks, by path."""


def identity(event: SealedEvent) -> dict[str, Any]:
    """Return what a client has to send again, with the event, so that a retry is no second event."""
    return {"eventId": event.event_id, "timestamp": event.timestamp}


def _one_by_one(decoded: _Decoded, events: Sequence[SealedEvent], outcomes: Sequence[Outcome]) -> Reply:
    items: list[dict[str, Any]] = []
    sent = iter(zip(events, outcomes, strict=True))
    served: Accepted | None = None
    failover = False
    accepted = 0
    room = (_ANSWER_BYTES - _SHORT_BYTES * len(decoded.items)) // _CHAR_BYTES
    for index, item in enumerate(decoded.items):
        if isinstance(item, InvalidEventError):
            detail = str(item)
            if len(detail) > len(_SHORT_DETAIL):
                room -= len(detail)
                detail = detail if room >= 0 else _SHORT_DETAIL
            items.append({"index": index, "status": 400, "retryable": False, "detail": detail})
            continue
        event, outcome = next(sent)
        known = identity(event)
        if isinstance(outcome, Accepted):
            accepted += 1
            served = outcome
            failover = failover or outcome.failover
            where = {"region": outcome.region, "failover": outcome.failover}
            items.append({"index": index, "status": 202} | known | where)
        else:
            why = {"retryable": outcome.retryable, "detail": outcome.detail}
            items.append({"index": index, "status": outcome.status} | known | why)
    result = {"accepted": accepted, "rejected": len(items) - accepted, "items": items}
    if accepted == len(items):
        status = HTTPStatus.ACCEPTED
    elif not events:
        status = HTTPStatus.BAD_REQUEST
    elif (not accepted or decoded.some is HTTPStatus.OK) and any(
        isinstance(outcome, Refused) and outcome.retryable for outcome in outcomes
    ):
        # A 2xx would claim success although nothing is durable, or the sender would forget events that a retry can save.
        which = "not every" if accepted else "no"
        raise UnavailableError(
            f"{which} event of the batch was acknowledged; retry it with the same identities", extra=result
        )
    else:
        status = decoded.some
    headers = _served_by(Accepted(served.region, failover)) if served else ()
    return Reply(status, to_json(result), _JSON, headers)


def _same_for_all(outcomes: Sequence[Outcome]) -> Accepted | None:
    """Return the one outcome if all were accepted alike, as is usual."""
    first = outcomes[0]
    return first if isinstance(first, Accepted) and all(o is first or o == first for o in outcomes) else None


def _all_accepted(events: Sequence[SealedEvent], outcome: Accepted) -> Reply:
    end = f'","region":"{outcome.region}","failover":{_TRUTH[outcome.failover]}}}'
    items = ",".join(
        [
            f'{{"index":{index},"status":202,"eventId":"{event.event_id}","timestamp":"{event.timestamp}{end}'
            for index, event in enumerate(events)
        ]
    )
    body = f'{{"accepted":{len(events)},"rejected":0,"items":[{items}]}}'
    return Reply(HTTPStatus.ACCEPTED, body.encode(), _JSON, _served_by(outcome))


def _served_by(outcome: Accepted) -> tuple[tuple[bytes, bytes], ...]:
    """Return the headers that say which region acknowledged."""
    return (b"x-served-region", outcome.region.encode()), (b"x-failover", _TRUTH[outcome.failover].encode())


def _not_called(wanted: str, kind: str) -> UnsupportedMediaTypeError:
    return UnsupportedMediaTypeError(f"Content-Type must be {wanted}, not {kind[:100] or 'absent'!r}")


def _status_for_some(asked: Sequence[str]) -> HTTPStatus:
    if list(asked) not in ([], ["200"], ["207"]):
        raise BadRequestError("partial must be 200 or 207: the status of a batch of which some events were accepted")
    return HTTPStatus.OK if list(asked) == ["200"] else HTTPStatus.MULTI_STATUS
