"""`GET /api/logs…`: the reading API as JSON."""

from typing import Any, Final

from fastapi import APIRouter, Request, Response

from console.connected import while_connected
from console.query import parse_search, split_query
from console.row import encode, shown
from console.runtime import caller_of, runtime_of
from console.search import Page, search
from shared.event.times import format_time, from_epoch_us

JSON: Final = "application/json"
LOGS: Final = "/api/logs"


def logs_router() -> APIRouter:
    """Build the routes."""
    router = APIRouter(tags=["reading"])

    @router.get(LOGS)
    async def logs(request: Request) -> Response:
        """Search."""
        runtime = runtime_of(request)
        query = parse_search(split_query(request.scope["query_string"]), runtime.wall_us())

        async def work() -> Page:
            async with runtime.reading(caller_of(request)) as session:
                return await search(query, session)

        page = await while_connected(request, work())
        runtime.metrics.rows.labels(LOGS).inc(len(page.items))
        return answer(page_view(page, full=query.full))

    return router


def page_view(page: Page, *, full: bool = False) -> dict[str, Any]:
    """Return a page as the API shows it."""
    return {
        "items": [shown(row, full=full) for row in page.items],
        "next": page.next,
        "prev": page.prev,
        "searchedFrom": format_time(from_epoch_us(page.searched.begin)),
        "searchedTo": format_time(from_epoch_us(page.searched.end)),
        "complete": page.complete,
        "tookMs": round(page.took_s * 1000),
    }


def answer(view: Any) -> Response:
    """Return what was asked for, which no cache may keep."""
    return Response(encode(view), media_type=JSON, headers={"Cache-Control": "no-store"})
