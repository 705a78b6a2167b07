"""The pages' routes. Each reads its state from the address, asks the API, and fills a template."""

import asyncio
import ssl

from collections.abc import Callable
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl
from uuid import UUID

import httpx

from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.responses import RedirectResponse

from console.login import Login
from console.pages.asking import Answer, ask
from console.pages.forwarding import PATH as REPLICATION
from console.pages.forwarding import replication_forwarder
from console.pages.headers import BrowserHeaders
from console.pages.login import login_router
from console.pages.render import Templates
from console.pages.static import StaticFiles
from console.pages.views import state
from console.pages.views.chart import chart
from console.pages.views.event import kinds_of_neighbours, neighbours, shown
from console.pages.views.life import life
from console.pages.views.moments import moment, span
from console.pages.views.past import DEFAULT as PAST_DEFAULT
from console.pages.views.past import past
from console.pages.views.past import ranges as past_ranges
from console.pages.views.replication import replication_map
from console.pages.views.rows import lines

_NEIGHBOURS: Final = 15
# A console without the life of events answers so.
_NO_LIFE: Final = frozenset({HTTPStatus.NOT_IMPLEMENTED, HTTPStatus.METHOD_NOT_ALLOWED})


def add_pages(
    app: FastAPI,
    *,
    gateway_url: str,
    gateway: httpx.AsyncBaseTransport | None = None,
    tls: ssl.SSLContext | None = None,
    login: Login | None = None,
) -> None:
    """
    Add the pages, what they load, `GET /api/replication`, and the headers that every answer gets.

    Args:
        app: The application with the API.
        gateway_url: Where the gateway is, which sees both regions.
        gateway: Replaces the network between the console and it.
        tls: If its address begins with https.
        login: Takes keys, where they are asked for.
    """
    static = StaticFiles()
    app.include_router(static.router())
    app.include_router(replication_forwarder(gateway_url, gateway, tls))
    templates = Templates(static, asks_for_keys=login is not None)
    app.include_router(pages_router(templates))
    if login is not None:
        app.include_router(login_router(login, templates))
    app.add_middleware(BrowserHeaders)


def pages_router(templates: Templates, wall: Callable[[], datetime] = lambda: datetime.now(UTC)) -> APIRouter:
    """Build the routes."""
    router = APIRouter(include_in_schema=False)

    @router.get("/")
    async def search(request: Request) -> Response:
        """Find events."""
        parameters = state.canonical(state.read(request.url.query))
        if parameters != tuple(parse_qsl(request.url.query, keep_blank_values=True)):
            # The form sends its empty fields, too. Without them the address can be read, and shared.
            return RedirectResponse(state.write(parameters), HTTPStatus.SEE_OTHER)
        found, counted, services = await asyncio.gather(
            ask(request, "/api/logs", parameters),
            ask(request, "/api/logs/histogram", _for_histogram(parameters)),
            ask(request, "/api/logs/values/service"),
        )
        body = found.body if found.ok else {}
        after = body.get("next")
        return templates.page(
            "search.html",
            status=found.status,
            headers=_retry(found),
            **_form(parameters, "/", services),
            trouble="" if found.ok else found.detail,
            lines=lines(body.get("items", ()), parameters),
            chart=chart(counted.body, parameters) if counted.ok else None,
            no_chart="" if counted.ok or not found.ok else counted.detail,
            complete=bool(body.get("complete", True)),
            took=span(float(body.get("tookMs") or 0)),
            searched_from=moment(body.get("searchedFrom")),
            searched_to=moment(body.get("searchedTo")),
            more=state.write((*state.without(parameters, "cursor"), ("cursor", after))) if after else "",
            first=state.write(state.without(parameters, "cursor")) if state.get(parameters, "cursor") else "",
            api=state.write(parameters, "/api/logs"),
            newest_first=state.get(parameters, "order", "desc") == "desc",
            turned=state.write(
                state.with_(parameters, "order", "asc" if state.get(parameters, "order", "desc") == "desc" else "desc")
            ),
        )

    @router.get("/tail")
    async def tail(request: Request) -> Response:
        """Follow events as they are stored."""
        parameters = state.read(request.url.query)
        services = await ask(request, "/api/logs/values/service")
        selection = state.filters(parameters)
        return templates.page(
            "tail.html",
            **_form(parameters, "/tail", services),
            stream=state.write((*state.only(parameters, ["from"]), *selection), "/api/logs/tail"),
            search=state.write(selection),
        )

    @router.get("/events/{event_id}")
    async def event(request: Request, event_id: str) -> Response:
        """Show one event, its neighbours, and its life."""
        parameters = state.read(request.url.query)
        origin = state.read(state.get(parameters, "in"))
        common: dict[str, Any] = {
            "page": "event",
            "query": parameters,
            "back": state.write(origin),
            "event_id": event_id,
        }
        if not _is_uuid(event_id):
            detail = "An event's id is a UUID, as the answer to its request gave it."
            return templates.page("no-event.html", status=HTTPStatus.NOT_FOUND, detail=detail, life=None, **common)
        at = state.only(parameters, ["timestamp"])
        path = f"/api/logs/{event_id}"
        around = (*state.only(parameters, ["same"]), ("before", str(_NEIGHBOURS)), ("after", str(_NEIGHBOURS)))
        found, near, traced = await asyncio.gather(
            ask(request, path, at), ask(request, f"{path}/context", (*at, *around)), ask(request, f"{path}/trace", at)
        )
        lived = life(traced.body) if traced.ok else None
        if found.status == HTTPStatus.MULTIPLE_CHOICES:
            choices = lines(found.body.get("items", ()), origin)
            return templates.page("several-events.html", status=HTTPStatus.OK, lines=choices, **common)
        if not found.ok:
            return templates.page(
                "no-event.html",
                status=found.status,
                headers=_retry(found),
                detail=found.detail,
                life=lived,
                **common,
            )
        return templates.page(
            "event.html",
            event=shown(found.body, origin),
            neighbours=neighbours(near.body, origin) if near.ok else [],
            no_neighbours="" if near.ok else near.detail,
            kinds=kinds_of_neighbours(parameters, f"/events/{event_id}"),
            life=lived,
            no_life=_why_no_life(traced),
            api=state.write(at, path),
            **common,
        )

    @router.get("/replication")
    async def replication(request: Request) -> Response:
        """Show both regions, the directions between them, and how they were."""
        parameters = state.canonical(state.read(request.url.query))
        only_map = state.get(parameters, "part") == "map"
        span_of_time = state.only(parameters, ["from", "to"])
        # The map is renewed each second, and the past is not.
        answer, kept = await asyncio.gather(
            ask(request, REPLICATION), _nothing() if only_map else ask(request, f"{REPLICATION}/history", span_of_time)
        )
        return templates.page(
            "replication.html",
            status=answer.status,
            headers=_retry(answer),
            page="replication",
            map=replication_map(answer.body, wall()) if answer.ok else None,
            trouble="" if answer.ok else answer.detail,
            now=moment(wall().isoformat()),
            past=past(kept.body) if kept and kept.ok else None,
            no_past=kept.detail if kept and not kept.ok else "",
            past_ranges=past_ranges(state.get(span_of_time, "from", PAST_DEFAULT) if len(span_of_time) < 2 else ""),  # noqa: PLR2004 - with both it is no span from here back
        )

    return router


async def _nothing() -> None:
    return None


def _form(parameters: state.Parameters, path: str, services: Answer) -> dict[str, Any]:
    known = services.body.get("values", ()) if services.ok else ()
    return {
        "page": "tail" if path == "/tail" else "search",
        "path": path,
        "query": parameters,
        "text": state.get(parameters, "text"),
        "level": state.get(parameters, "level").upper(),
        "levels": state.LEVELS,
        "chips": state.chips(parameters, path),
        "hidden": state.hidden(parameters),
        "ranges": state.ranges(parameters),
        "begin": state.get(parameters, "from", state.DEFAULT_FROM),
        "end": state.get(parameters, "to", "now"),
        "services": [str(one.get("value", "") if isinstance(one, dict) else one) for one in known],
        "reset": path,
    }


def _for_histogram(parameters: state.Parameters) -> state.Parameters:
    span_of_time = state.only(parameters, ["from", "to"])
    return (*span_of_time, *state.filters(parameters), ("by", "level"))


def _why_no_life(answer: Answer) -> str:
    if answer.ok:
        return ""
    if answer.status in _NO_LIFE or (answer.status == HTTPStatus.NOT_FOUND):
        return "This console does not follow events through Kafka."
    return answer.detail


def _retry(answer: Answer) -> dict[str, str]:
    return {"Retry-After": answer.retry_after} if answer.retry_after else {}


def _is_uuid(text: str) -> bool:
    try:
        return str(UUID(text)) == text.lower()
    except ValueError:
        return False
