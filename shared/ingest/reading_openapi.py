"""
The reading API in OpenAPI's words, for the gateway, which passes it on, and for the console, which serves it.

The routes here serve only the document. What a parameter means is decided in `console/query.py`.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter

from shared.ingest.openapi import PROBLEM_CONTENT
from shared.wire.reading import LOGS

_RANGE: Final = (
    ("from", "string", "Event time, included: `now`, `-15m`, `-2h`, `-3d`, RFC 3339, or milliseconds since 1970. `-15m` when left out."),
    ("to", "string", "The same, not included. `now` when left out."),
)  # fmt: skip
_FILTERS: Final = (
    ("service", "string", "Name; again and again: any of them. `pay*`: all that begin so."),
    ("level", "string", "At least this one, by any of its names."),
    ("levels", "string", "Exactly these: `ERROR,DEBUG`."),
    ("correlationId", "string", "Exactly."),
    ("region", "string", "Where it was acknowledged."),
    ("late", "boolean", "Whether it came too late to be put in order."),
    ("lateReason", "string", "Why."),
    ("storedBy", "string", "Which consumer stored it."),
    ("text", "string", "The message contains it, in any case; again and again: all of them. No character has a special meaning."),
    ("-text", "string", "The message does not contain it."),
    ("attr.NAME", "string", "The attribute NAME equals this, read as JSON where it is JSON (`200`, `true`, `\"200\"`), else as text; empty: it is there."),
)  # fmt: skip
_CURSOR: Final = (("cursor", "string", "From `next` or `prev` of an answer; all other parameters as they were."),)
_PAGE: Final = (
    ("order", "string", "`desc` or `asc`."),
    ("by", "string", "`time`: by event time. `stored`: in the order in which rows were written."),
    ("limit", "integer", "Rows of a page, 1 to 1000; 100 when left out."),
    ("full", "boolean", "Messages over 2 KiB and attributes over 4 KiB are not cut."),
)
_TIMESTAMP: Final = (
    ("timestamp", "string", "Of the event; with it the answer takes a millisecond, without it all days are looked at."),
)
_ERROR: Final[dict[str, Any]] = {"content": PROBLEM_CONTENT}
_ANSWERS: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.BAD_REQUEST: {"description": "A parameter is unknown or makes no sense; says which.", **_ERROR},
    HTTPStatus.TOO_MANY_REQUESTS: {"description": "Too many at once, or too much in a minute.", **_ERROR},
    HTTPStatus.SERVICE_UNAVAILABLE: {"description": "PostgreSQL or the console is away.", **_ERROR},
}
_GONE: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.GONE: {"description": "The cursor is of another database.", **_ERROR}
}
_ONE: Final[dict[int | str, dict[str, Any]]] = {
    HTTPStatus.MULTIPLE_CHOICES: {"description": "Several events have this id; their links."},
    HTTPStatus.NOT_FOUND: {"description": "No event with this id is stored.", **_ERROR},
}


def reading_api() -> APIRouter:
    """Return the routes, for the document."""
    on_paper = APIRouter(tags=["reading"])

    @on_paper.get(LOGS, openapi_extra=_takes(_RANGE, _FILTERS, _PAGE, _CURSOR), responses=_ANSWERS | _GONE)
    async def get_logs() -> None:
        """
        Find stored events, the newest first.

        A page takes about two seconds at most. It says how far it looked (`searchedFrom`, `searchedTo`), whether that was all
        (`complete`), and where to go on (`next`). Pages that are followed hold each row once.

        With `Accept: application/x-ndjson` all rows come as lines, without limit. The last line is `{"end": true, …}`; a line
        `{"at": "…"}` in between is a cursor to go on from if the download breaks off.
        """

    @on_paper.get(
        f"{LOGS}/tail",
        openapi_extra=_takes(
            (
                (
                    "from",
                    "string",
                    "Where to begin: `now` (when left out), `-10m` or a time: what was stored since then, or the `id` of an event. "
                    "The header `Last-Event-ID` goes before it.",
                ),
            ),
            _FILTERS,
            (("full", "boolean", "Messages over 2 KiB and attributes over 4 KiB are not cut."),),
        ),
        responses=_ANSWERS
        | {HTTPStatus.OK: {"description": "Server-sent events.", "content": {"text/event-stream": {}}}},
    )
    async def get_tail() -> None:
        """
        Follow events in the order in which they are stored, as server-sent events.

        None is left out and none comes twice. `log` has an event; `at` comes every five seconds and says how far the tail is;
        `behind` says that it reads more slowly than events are stored, or that PostgreSQL is away; `reset` that the database was
        set back; `bye` that the console ends. Each `id` is a position to go on from.
        """

    @on_paper.get(
        f"{LOGS}/histogram",
        openapi_extra=_takes(
            _RANGE,
            _FILTERS,
            (
                ("interval", "string", "`auto`, or `500ms`, `10s`, `1m`, `2h`, `1d`; at most 1000 buckets."),
                ("by", "string", "`level`, `service`, `region` or `none`."),
            ),
            _CURSOR,
        ),
        responses=_ANSWERS | _GONE,
    )
    async def get_histogram() -> None:
        """Count events by time. What comes by `next` has to be added."""

    @on_paper.get(
        f"{LOGS}/values/{{field}}",
        openapi_extra=_takes((("prefix", "string", "Those that begin so."),), path="field"),
        responses=_ANSWERS,
    )
    async def get_values() -> None:
        """List values of `service`, `region` or `lateReason`."""

    @on_paper.get(f"{LOGS}/{{eventId}}", openapi_extra=_takes(_TIMESTAMP, path="eventId"), responses=_ANSWERS | _ONE)
    async def get_event() -> None:
        """Show one event, whole."""

    @on_paper.get(
        f"{LOGS}/{{eventId}}/context",
        openapi_extra=_takes(
            _TIMESTAMP,
            (
                ("before", "integer", "So many older ones, up to 200; 20 when left out."),
                ("after", "integer", "So many younger ones."),
                ("same", "string", "`correlation`: of the same correlation id. `service`: of the same service. `all`."),
            ),
            path="eventId",
        ),
        responses=_ANSWERS | _ONE,
    )
    async def get_context() -> None:
        """Show the events around one, in the order of event time."""

    return on_paper


def _takes(*groups: Sequence[tuple[str, str, str]], path: str | None = None) -> dict[str, Any]:
    inside = [] if path is None else [{"name": path, "in": "path", "required": True, "schema": {"type": "string"}}]
    return {
        "parameters": inside
        + [
            {"name": name, "in": "query", "required": False, "schema": {"type": kind}, "description": said}
            for group in groups
            for name, kind, said in group
        ]
    }
