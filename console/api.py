"""`GET /api/logs…`: the reading API as JSON."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

from fastapi import APIRouter, Request, Response

from console.counted import COUNTED_AS
from console.events import ALWAYS, Context, Same, find_context, find_events, parse_event_id
from console.export import Export, is_asked, lines
from console.histogram import AUTO, histogram, parse_interval
from console.metrics import EXPORT
from console.parameters import Parameters, split_query
from console.ports import Group, Session
from console.query import (
    FILTERS,
    RANGE,
    SEARCH,
    Query,
    parse_filter,
    parse_moment,
    parse_search,
    parse_span,
)
from console.row import Row, shown
from console.runtime import caller_of, read, runtime_of, tenant_of
from console.search import search
from console.values import Field, Listed
from console.views import LOGS, answer, histogram_view, page_view, several
from console.walk import begin
from shared.wire.problem import BadRequestError

HISTOGRAM: Final = f"{LOGS}/histogram"
VALUES: Final = f"{LOGS}/values/{{field}}"
EVENT: Final = f"{LOGS}/{{event_id}}"
CONTEXT: Final = f"{EVENT}/context"
_MAX_NEIGHBOURS: Final = 200
_NEIGHBOURS: Final = 20
_COUNTED: Final = (Group.LEVEL, Group.SERVICE, Group.REGION, Group.NONE)
_EXPORTED: Final = tuple(name for name in SEARCH if name not in ("limit", "full"))

T = TypeVar("T")


def logs_router() -> APIRouter:
    """Build the routes."""
    router = APIRouter(include_in_schema=False)  # `shared/ingest/reading_openapi.py` describes them

    @router.get(LOGS)
    async def logs(request: Request) -> Response:
        """Search, or export all that a search would find."""
        if is_asked(request.headers):
            return await _export(request)
        query = parse_search(_pairs(request), runtime_of(request).wall_us())
        page = await read(request, lambda session: search(query, session))
        _count(request, LOGS, len(page.items))
        return answer(page_view(page, full=query.full))

    @router.get(HISTOGRAM)
    async def counts(request: Request) -> Response:
        """Count events by time."""
        given = Parameters(_pairs(request), (*RANGE, *FILTERS, "interval", "by", "cursor"), attributes=True)
        span = parse_span(given, runtime_of(request).wall_us())
        query = Query(span, parse_filter(given), cursor=given.one("cursor"))
        interval = parse_interval(given.one("interval") or AUTO, span)
        group = Group(given.choice("by", _COUNTED, Group.LEVEL))
        found = await read(request, lambda session: histogram(query, interval, group, session))
        return answer(histogram_view(found, group))

    @router.get(VALUES)
    async def values(request: Request, field: str) -> Response:
        """List what there is to filter by."""
        if field not in tuple(Field):
            raise BadRequestError(f"{field[:64]!r} has no list of values; there are {', '.join(Field)}")
        prefix = Parameters(_pairs(request), ("prefix",)).one("prefix") or ""
        runtime, of = runtime_of(request), Field(field)

        async def find(session: Session) -> Listed:
            return await runtime.values.find(of, tenant_of(request), runtime.wall_us(), session)

        listed = runtime.values.known(of, tenant_of(request))
        if listed is None:
            listed = await read(request, find)
        found = listed.beginning_with(prefix)
        return answer({"values": found.values, "complete": found.complete})

    _add_event(router)
    return router


def _add_event(router: APIRouter) -> None:
    @router.get(EVENT)
    async def event(request: Request, event_id: str) -> Response:
        """Show one event, whole."""
        wanted, time_us, _ = _identity(request, event_id)
        found = await read(request, lambda session: find_events(wanted, time_us, session))
        _count(request, EVENT, len(found))
        return answer(shown(found[0], full=True)) if len(found) == 1 else several(found)

    @router.get(CONTEXT)
    async def context(request: Request, event_id: str) -> Response:
        """Show the events around one."""
        wanted, time_us, given = _identity(request, event_id, "before", "after", "same")
        before = given.number("before", _NEIGHBOURS, 0, _MAX_NEIGHBOURS)
        after = given.number("after", _NEIGHBOURS, 0, _MAX_NEIGHBOURS)
        same = Same(given.choice("same", tuple(Same), Same.CORRELATION))

        async def look(session: Session) -> Sequence[Row] | Context:
            found = await find_events(wanted, time_us, session)
            return found if len(found) > 1 else await find_context(found[0], same, session, before=before, after=after)

        found = await read(request, look)
        if not isinstance(found, Context):
            return several(found)
        _count(request, CONTEXT, len(found.before) + 1 + len(found.after))
        return answer(
            {
                "before": [shown(row) for row in found.before],
                "event": shown(found.event),
                "after": [shown(row) for row in found.after],
                "complete": found.complete,
            }
        )


async def _export(request: Request) -> Response:
    runtime = runtime_of(request)
    request.scope[COUNTED_AS] = EXPORT
    given = Parameters(_pairs(request), _EXPORTED, attributes=True)
    query = parse_search(given.pairs, runtime.wall_us())
    sessions = partial(runtime.session, tenant_of(request))
    async with AsyncExitStack() as stack:
        with runtime.counted():
            await stack.enter_async_context(runtime.exports.place(caller_of(request)))
            async with sessions() as session:
                cursor = await begin(query, session)
        zipped = "gzip" in request.headers.get("accept-encoding", "")
        held = stack.pop_all()
        return Export(
            lines(query, cursor, sessions),
            zipped=zipped,
            on_rows=lambda number: _count(request, EXPORT, number),
            close=held.aclose,
        )


def _identity(request: Request, event_id: str, *others: str) -> tuple[UUID, int | None, Parameters]:
    given = Parameters(_pairs(request), ("timestamp", *others))
    time = given.one("timestamp")
    time_us = None if time is None else parse_moment("timestamp", time, runtime_of(request).wall_us())
    if time_us is not None and not ALWAYS.begin <= time_us < ALWAYS.end:
        raise BadRequestError("timestamp must lie in the years 1970 to 2200")
    return parse_event_id(event_id), time_us, given


def _pairs(request: Request) -> list[tuple[str, str]]:
    return split_query(request.scope["query_string"])


def _count(request: Request, route: str, rows: int) -> None:
    runtime_of(request).metrics.rows.labels(route).inc(rows)
