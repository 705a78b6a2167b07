"""
The public HTTP contract for log events, served alike by the gateway and by each producer.

`POST /api/logs` takes one event, `POST /api/logs/batch` up to 10,000. What differs between the services is only what
becomes of a valid event, and that is the `EventSink` each of them brings. Bodies are read raw and decoded by
`shared.event.model`; FastAPI's own body parsing would cost a second decoder that may judge differently.
"""

from collections.abc import Callable, Sequence, Set
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final

import structlog

from fastapi import APIRouter, Request, Response
from pydantic_core import to_json
from uuid_utils.compat import uuid7

from shared.event.model import MAX_EVENT_BYTES, InvalidEventError
from shared.event.outcome import Accepted, EventSink, Outcome, Refused
from shared.event.sealed import Receipt, SealedEvent
from shared.ingest.body import JSON_TYPES, LINES_TYPES, media_type, read_body
from shared.ingest.log_schema import (
    JSON,
    NDJSON,
    PROBLEM_CONTENT,
    BatchResult,
    LogAccepted,
    batch_schema,
    responses,
    single_schema,
)
from shared.wire import trace
from shared.wire.problem import (
    IDENTITY,
    BadRequestError,
    ProblemError,
    RefusedError,
    UnavailableError,
    UnsupportedMediaTypeError,
    problem,
)

log: Final = structlog.stdlib.get_logger(__name__)

MAX_BATCH_BYTES: Final = 8 * 1024 * 1024


def log_router(sink_of: Callable[[Request], EventSink], *, now: Callable[[], datetime] | None = None) -> APIRouter:
    """
    Build the two routes.

    Args:
        sink_of: Finds the service's sink in a request.
        now: Clock, aware UTC; the system's by default.
    """
    clock = now or (lambda: datetime.now(UTC))
    router = APIRouter(tags=["logs"])

    @router.post(
        "/api/logs", status_code=HTTPStatus.ACCEPTED, openapi_extra=single_schema(), responses=responses(LogAccepted)
    )
    async def post_log(request: Request) -> Response:
        """Accept one log event; 202 only after a region's Kafka acknowledged it with acks=all."""
        sink = sink_of(request)
        region = _requested_region(request, sink.regions)
        _require_type(request, JSON_TYPES, said=JSON)
        event = Receipt(clock(), uuid7).event(await read_body(request, MAX_EVENT_BYTES))
        traceparent = trace.of_request(request.scope["headers"])
        try:
            [outcome] = await sink.accept([event], region, traceparent)
        except Exception:
            request.scope[IDENTITY] = identity(event)
            raise
        if isinstance(outcome, Refused):
            tell_refusals([event], [outcome], traceparent)
            return refused(event, outcome)
        body = accepted_body(event, outcome)
        return Response(body, HTTPStatus.ACCEPTED, served_by(outcome), media_type="application/json")

    @router.post(
        "/api/logs/batch",
        status_code=HTTPStatus.ACCEPTED,
        openapi_extra=batch_schema(),
        responses=responses(BatchResult)
        | {
            HTTPStatus.OK: {"model": BatchResult, "description": "As 207, for who asked for it with `partial=200`."},
            HTTPStatus.MULTI_STATUS: {"model": BatchResult, "description": "Some events were accepted, some not."},
            HTTPStatus.BAD_REQUEST: {
                "model": BatchResult,
                "description": "No event was valid (one item each), or the body is no batch (a problem); nothing was sent.",
                "content": PROBLEM_CONTENT,
            },
        },
    )
    async def post_batch(request: Request) -> Response:
        """
        Accept up to 10,000 events, as a JSON array or as NDJSON, gzipped or not.

        All events are validated before any is sent. A retry of a batch whose events carry identities is safe.

        A shipper that takes only 200 to 205 for success would send a batch with one bad event for ever. With `?partial=200`
        what is 207 else is answered with 200, if what was refused was refused for good, and with 503 if a retry can help:
        the batch is then to be sent again as a whole.
        """
        sink = sink_of(request)
        region = _requested_region(request, sink.regions)
        some = _status_for_some(request)
        kind = _require_type(request, JSON_TYPES | LINES_TYPES, said=f"{JSON} or {NDJSON}")
        body = await read_body(request, MAX_BATCH_BYTES)
        receipt = Receipt(clock(), uuid7)
        decoded = receipt.lines(body) if kind in LINES_TYPES else receipt.array(body)
        if not decoded:
            raise BadRequestError("the batch has no events")
        valid = [item for item in decoded if isinstance(item, SealedEvent)]
        traceparent = trace.of_request(request.scope["headers"])
        try:
            outcomes = await sink.accept(valid, region, traceparent) if valid else []
        except Exception:
            request.scope[IDENTITY] = {"items": [identity(event) for event in valid]}
            raise
        tell_refusals(valid, outcomes, traceparent)
        return _batch_answer(decoded, valid, outcomes, some)

    return router


def _batch_answer(
    decoded: Sequence[SealedEvent | InvalidEventError],
    valid: Sequence[SealedEvent],
    outcomes: Sequence[Outcome],
    some: HTTPStatus,
) -> Response:
    if len(valid) == len(decoded) and (first := _same_for_all(outcomes)) is not None:
        return _all_accepted(valid, first)
    items: list[dict[str, Any]] = []
    sent = iter(zip(valid, outcomes, strict=True))
    served: Accepted | None = None
    failover = False
    accepted = 0
    for index, item in enumerate(decoded):
        if isinstance(item, InvalidEventError):
            items.append({"index": index, "status": 400, "retryable": False, "detail": str(item)})
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
    elif not valid:
        status = HTTPStatus.BAD_REQUEST
    elif (not accepted or some is HTTPStatus.OK) and any(isinstance(o, Refused) and o.retryable for o in outcomes):
        # A 2xx would be one for a batch of which nothing is durable, or for events that the sender would then forget.
        which = "not every" if accepted else "no"
        raise UnavailableError(
            f"{which} event of the batch was acknowledged; retry it with the same identities", extra=result
        )
    else:
        status = some
    headers = served_by(Accepted(served.region, failover)) if served else {}
    return Response(to_json(result), status, headers, media_type="application/json")


def _same_for_all(outcomes: Sequence[Outcome]) -> Accepted | None:
    """Return the one outcome if all were accepted alike, as is usual."""
    first = outcomes[0]
    return first if isinstance(first, Accepted) and all(o is first or o == first for o in outcomes) else None


def _all_accepted(events: Sequence[SealedEvent], outcome: Accepted) -> Response:
    # What is put in between needs no escaping: ids and times are checked, regions are names from the configuration.
    end = f'","region":"{outcome.region}","failover":{_truth(outcome.failover)}}}'
    items = ",".join(
        [
            f'{{"index":{index},"status":202,"eventId":"{event_id}","timestamp":"{timestamp}{end}'
            for index, (event_id, timestamp, _, _) in enumerate(events)
        ]
    )
    body = f'{{"accepted":{len(events)},"rejected":0,"items":[{items}]}}'
    return Response(body, HTTPStatus.ACCEPTED, served_by(outcome), media_type="application/json")


def tell_refusals(events: Sequence[SealedEvent], outcomes: Sequence[Outcome], traceparent: bytes | None) -> None:
    """Log the first event that was refused for good: one line a request, since a client may repeat itself."""
    for event, outcome in zip(events, outcomes, strict=True):
        if isinstance(outcome, Refused) and not outcome.retryable:
            log.warning(
                "event refused",
                eventId=event.event_id,
                correlationId=event.correlation_id,
                status=outcome.status,
                detail=outcome.detail,
                **({"traceparent": traceparent.decode()} if traceparent else {}),
            )
            return


def served_by(outcome: Accepted) -> dict[str, str]:
    """Return the headers that say who acknowledged."""
    return {"X-Served-Region": outcome.region, "X-Failover": _truth(outcome.failover)}


def identity(event: SealedEvent) -> dict[str, str]:
    """Return what a client has to send again, with the event, so that a retry is no second event."""
    return {"eventId": event.event_id, "timestamp": event.timestamp}


def refused(event: SealedEvent, outcome: Refused) -> Response:
    """Return the answer to an event that was not acknowledged; it may be written, so it tells its identity."""
    if outcome.retryable:
        error: ProblemError = UnavailableError(outcome.detail)
    else:
        error = RefusedError(outcome.status, outcome.detail)
    return problem(error.status, error.detail, headers=error.headers, extra=identity(event))


def accepted_body(event: SealedEvent, outcome: Accepted) -> str:
    """Return the answer to an event that was acknowledged; nothing in it needs escaping, as in `_all_accepted`."""
    return (
        f'{{"eventId":"{event.event_id}","timestamp":"{event.timestamp}",'
        f'"region":"{outcome.region}","failover":{_truth(outcome.failover)}}}'
    )


def _truth(value: bool) -> str:  # noqa: FBT001 - the value is all there is
    return "true" if value else "false"


def _requested_region(request: Request, known: Sequence[str]) -> str | None:
    values = request.headers.getlist("x-region")
    if not values:
        return None
    if len(values) > 1 or values[0] not in known:
        raise BadRequestError(f"X-Region must be one of {', '.join(known)}, sent once", extra={"regions": list(known)})
    return values[0]


def _require_type(request: Request, allowed: Set[str], *, said: str) -> str:
    kind = media_type(request)
    if kind not in allowed:
        raise UnsupportedMediaTypeError(f"Content-Type must be {said}, not {kind[:100] or 'absent'!r}")
    return kind


def _status_for_some(request: Request) -> HTTPStatus:
    asked = request.query_params.getlist("partial")
    if asked not in ([], ["200"], ["207"]):
        raise BadRequestError("partial must be 200 or 207: the status of a batch of which some events were accepted")
    return HTTPStatus.OK if asked == ["200"] else HTTPStatus.MULTI_STATUS
