"""`GET /api/logs/{eventId}/trace`: the life of one event, as JSON."""

import time

from collections.abc import Sequence
from typing import Any, Final
from uuid import UUID

import structlog

from fastapi import APIRouter, Request, Response

from console.events import ALWAYS, find_events, parse_event_id
from console.life import trace
from console.parameters import Parameters, split_query
from console.query import parse_moment
from console.row import Row
from console.runtime import caller_of, runtime_of, tenant_of
from console.verdict import Kind, Life
from console.views import LOGS, answer, several
from shared.event.fields import MAX_NAME_CHARS
from shared.event.times import epoch_us, format_time, from_epoch_us
from shared.process.connected import while_connected
from shared.wire.problem import BadRequestError, NotFoundError, UnavailableError

log: Final = structlog.stdlib.get_logger(__name__)

TRACE: Final = f"{LOGS}/{{event_id}}/trace"
_NO_CONSUMERS: Final = "this console knows no consumers to ask; name them in CONSOLE_CONSUMERS"
_NOT_STORED: Final = "no event with this id is stored; with its ?timestamp= it is looked for in Kafka, too"


def trace_router() -> APIRouter:
    """Build the route."""
    router = APIRouter(include_in_schema=False)  # `shared/ingest/reading_openapi.py` describes it

    @router.get(TRACE)
    async def life(request: Request, event_id: str) -> Response:
        """Say where an event was and is, and what became of it."""
        given = Parameters(split_query(request.scope["query_string"]), ("timestamp", "correlationId"))
        wanted = parse_event_id(event_id)
        said, correlation_id = given.one("timestamp"), given.one("correlationId")
        time_us = None if said is None else parse_moment("timestamp", said, runtime_of(request).wall_us())
        if time_us is not None and not ALWAYS.begin <= time_us < ALWAYS.end:
            raise BadRequestError("timestamp must lie in the years 1970 to 2200")
        if correlation_id is not None and len(correlation_id) > MAX_NAME_CHARS:
            raise BadRequestError(f"correlationId has at most {MAX_NAME_CHARS} characters")
        runtime = runtime_of(request)
        if not runtime.lives.consumers.regions:
            raise UnavailableError(_NO_CONSUMERS)
        with runtime.counted():
            async with runtime.lives.places.place(caller_of(request)):
                return await while_connected(request, _answer(request, wanted, time_us, correlation_id))

    return router


async def _answer(request: Request, event_id: UUID, time_us: int | None, correlation_id: str | None) -> Response:
    runtime, started = runtime_of(request), time.perf_counter()
    if time_us is None:
        found = await _rows(request, event_id, None)
        if not found:
            raise BadRequestError(_NOT_STORED)
        if len(found) > 1:
            return several(found)
        time_us = epoch_us(found[0].event_time)
    known: Row | None = None

    async def find_row() -> Row | None:
        nonlocal known
        known = next(iter(await _rows(request, event_id, time_us)), None)
        return known

    lived = await trace(
        event_id,
        time_us,
        find_row,
        runtime.lives.consumers,
        now_us=runtime.wall_us(),
        correlation_id=correlation_id,
        tenant=tenant_of(request),
    )
    if Kind.FINDING in lived.kinds:
        log.error("a record was read and not stored", eventId=str(event_id), verdict=lived.verdict)
    view = {
        "eventId": str(event_id),
        "timestamp": format_time(from_epoch_us(time_us)),
        "correlationId": known.correlation_id if known is not None else correlation_id,
        **life_view(lived),
        "tookMs": round((time.perf_counter() - started) * 1000),
    }
    return answer(view)


def life_view(lived: Life) -> dict[str, Any]:
    """Return a life as the API shows it."""
    return {
        "verdict": lived.verdict,
        "kinds": list(lived.kinds),
        "steps": list(lived.steps),
        "exposed": dict(lived.exposed),
        "unseen": list(lived.unseen),
    }


async def _rows(request: Request, event_id: UUID, time_us: int | None) -> Sequence[Row]:
    try:
        async with runtime_of(request).reading(caller_of(request), tenant_of(request)) as session:
            return await find_events(event_id, time_us, session)
    except NotFoundError:
        return ()
