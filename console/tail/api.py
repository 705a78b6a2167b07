"""`GET /api/logs/tail`: events as they are stored."""

from contextlib import AsyncExitStack
from typing import Final

from fastapi import APIRouter, Request, Response

from console.marks import Position, newest
from console.parameters import Parameters, split_query
from console.query import FILTERS, parse_filter, parse_moment
from console.runtime import Runtime, caller_of, runtime_of, tenant_of
from console.tail import cursor
from console.tail.ports import Table
from console.tail.stream import TailStream
from shared.event.times import from_epoch_us
from shared.wire.problem import BadRequestError

TAIL: Final = "/api/logs/tail"
_LAST: Final = "last-event-id"


def tail_router() -> APIRouter:
    """Build the route."""
    router = APIRouter(tags=["reading"])

    @router.get(TAIL)
    async def tail(request: Request) -> Response:
        """Follow events in the order in which they are stored, none left out and none twice."""
        runtime = runtime_of(request)
        given = Parameters(split_query(request.scope["query_string"]), (*FILTERS, "from", "full"), attributes=True)
        wanted, is_full = parse_filter(given), given.is_set("full")
        tenant = tenant_of(request)
        begin = request.headers.get(_LAST) or given.one("from") or "now"
        async with AsyncExitStack() as stack:
            with runtime.counted():
                await stack.enter_async_context(runtime.tails.place(caller_of(request)))
                position = await _begin(begin, runtime, tenant)
            stack.enter_context(runtime.metrics.tails.track_inprogress())
            held = stack.pop_all()
            return TailStream(
                runtime.fan_outs.of(tenant),
                wanted,
                position,
                full=is_full,
                on_events=lambda number: runtime.metrics.rows.labels(TAIL).inc(number),
                close=held.aclose,
            )

    return router


async def _begin(begin: str, runtime: Runtime, tenant: str | None) -> Position:
    """Return the position that a request names; ask PostgreSQL in any case, so that it is refused while that is away."""
    if begin.startswith((cursor.PREFIX, "c1.")):
        try:
            return cursor.read(begin)
        except cursor.CursorError as exc:
            raise BadRequestError(f"from, or Last-Event-ID: {exc}") from exc
    moment_us = None if begin == "now" else parse_moment("from", begin, runtime.wall_us())
    return await first_position(runtime.table, tenant, moment_us)


async def first_position(table: Table, tenant: str | None, moment_us: int | None) -> Position:
    """
    Return the position behind all that is stored, or behind what was stored before a moment.

    Raises:
        StoreUnavailableError: PostgreSQL does not answer.
    """
    async with table.snapshot(tenant) as now:
        marks = await now.marks()
        position = newest(marks)
        if moment_us is None:
            return position
        return position.not_above(await now.last_before(from_epoch_us(moment_us), marks.high))
