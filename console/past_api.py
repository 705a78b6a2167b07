"""`GET /api/replication/history`: how replication was, for the page that shows it and for programs."""

import asyncio

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from fastapi import APIRouter, FastAPI, Request

from console.parameters import Parameters, split_query
from console.past import QUERIES, UnreadableError, history, step_s
from console.query import parse_span
from shared.event.times import format_time, from_epoch_us
from shared.process.http_client import http_client
from shared.wire.problem import UnavailableError

PATH: Final = "/api/replication/history"
_CONNECTIONS: Final = 4
_TIMEOUT_S: Final = 3.0


def past_router(
    prometheus_url: str, wall_us: Callable[[], int], transport: httpx.AsyncBaseTransport | None = None
) -> APIRouter:
    """
    Build the route.

    Args:
        prometheus_url: Where Prometheus is.
        wall_us: Microseconds since 1970.
        transport: Replaces the network.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with http_client(_TIMEOUT_S, _CONNECTIONS, prometheus_url, transport) as client:
            yield {"prometheus_client": client}

    router = APIRouter(tags=["replication"], lifespan=lifespan)

    @router.get(PATH)
    async def past(request: Request) -> dict[str, Any]:
        """
        Report how replication was: of each direction what was exposed, how far it was behind, and its splits.

        `from` and `to` are as in a search; the default is the last day. A point is milliseconds since 1970, events that were
        exposed, seconds behind, and 1 while the direction copied. A split without an end goes on. `lateRows` and `duplicates` are
        what each region's consumer counted from its begin until a minute after `convergedAt`, when the target had caught up.
        """
        now = wall_us()
        given = Parameters(split_query(request.scope["query_string"]), ("from", "to"))
        span = parse_span(given, now, default_from="-1d")
        end = min(span.end, now)
        step = step_s(span.begin, end)
        client: httpx.AsyncClient = request.state.prometheus_client

        async def asked(query: str) -> tuple[str, Any]:
            parameters: dict[str, str | float] = {
                "query": query,
                "start": span.begin / 1e6,
                "end": end / 1e6,
                "step": step,
            }
            return query, (await client.get("/api/v1/query_range", params=parameters)).json()

        try:
            answers = dict(await asyncio.gather(*(asked(query) for query in QUERIES)))
            found = history(answers, step)
        except (httpx.TransportError, UnreadableError, ValueError) as exc:
            raise UnavailableError(
                f"Prometheus at {prometheus_url} does not answer ({str(exc) or type(exc).__name__}); it alone remembers"
            ) from exc
        return {"from": format_time(from_epoch_us(span.begin)), "to": format_time(from_epoch_us(end))} | found

    return router
