"""
The log API in OpenAPI's words.

`shared.ingest.asgi` answers the requests, in front of the framework. So these routes serve only the document, which consists
of them and of the framework's own.
"""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, cast
from uuid import UUID

from fastapi import APIRouter, FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from shared.event.model import MAX_BATCH_EVENTS, LogEvent
from shared.ingest.logs_api import BATCH, NDJSON, ONE
from shared.wire import trace
from shared.wire.problem import CONTENT_TYPE


class LogAccepted(BaseModel):
    """The event is durable in `region`."""

    event_id: UUID = Field(alias="eventId")
    timestamp: datetime
    region: str
    failover: bool = Field(description="Another region than the one asked for acknowledged it.")


class BatchItem(BaseModel):
    """What became of one event of a batch."""

    index: int
    status: int
    event_id: UUID | None = Field(default=None, alias="eventId")
    timestamp: datetime | None = None
    region: str | None = None
    failover: bool | None = None
    retryable: bool | None = Field(default=None, description="Only for events that were not accepted.")
    detail: str | None = Field(default=None, description="Only for events that were not accepted.")


class BatchResult(BaseModel):
    """One item an event, in the order sent."""

    accepted: int
    rejected: int
    items: list[BatchItem]


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str
    title: str
    status: int
    detail: str
    event_id: UUID | None = Field(
        default=None,
        alias="eventId",
        description="Once an event has its identity, as in a 503: send it again with both, and it is the same event.",
    )
    timestamp: datetime | None = None


PROBLEM_CONTENT: Final = {CONTENT_TYPE: {"schema": Problem.model_json_schema()}}


def _event_schema() -> dict[str, Any]:
    _, definitions = models_json_schema([(LogEvent, "validation")], by_alias=True)
    return cast("dict[str, Any]", definitions["$defs"]["LogEvent"])


_REGION_PARAMETER: Final = {
    "name": "X-Region",
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "Region to write to; the preferred healthy one when left out. Unknown regions are refused.",
}

_TRACE_PARAMETER: Final = {
    "name": trace.HEADER,
    "in": "header",
    "required": False,
    "schema": {"type": "string"},
    "description": "W3C trace context. Becomes the header of that name of each Kafka record; left out if it is none.",
}


def _single_schema() -> dict[str, Any]:
    """Return what `POST /api/logs` takes."""
    content = {"application/json": {"schema": _event_schema()}}
    return {"requestBody": {"required": True, "content": content}, "parameters": [_REGION_PARAMETER, _TRACE_PARAMETER]}


def _batch_schema() -> dict[str, Any]:
    """Return what `POST /api/logs/batch` takes."""
    event = _event_schema()
    content = {
        "application/json": {"schema": {"type": "array", "items": event, "minItems": 1, "maxItems": MAX_BATCH_EVENTS}},
        NDJSON: {"schema": {"type": "string", "description": "One event a line."}},
    }
    coding = {
        "name": "Content-Encoding",
        "in": "header",
        "required": False,
        "schema": {"type": "string", "enum": ["gzip", "x-gzip", "deflate", "zstd", "snappy", "identity"]},
    }
    partial = {
        "name": "partial",
        "in": "query",
        "required": False,
        "schema": {"type": "integer", "enum": [200, 207], "default": 207},
        "description": "Status of a batch of which some events were accepted and the others refused for good.",
    }
    return {
        "requestBody": {"required": True, "content": content},
        "parameters": [_REGION_PARAMETER, _TRACE_PARAMETER, coding, partial],
    }


def _responses(accepted: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Return what both answer; `accepted` is the answer to what was."""
    headers = {
        "X-Served-Region": {"schema": {"type": "string"}, "description": "The region that acknowledged."},
        "X-Failover": {"schema": {"type": "string", "enum": ["true", "false"]}},
    }
    retry = {"Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}}
    error = {"content": PROBLEM_CONTENT}
    return {
        HTTPStatus.ACCEPTED: {"model": accepted, "description": "Durable in a region's Kafka.", "headers": headers},
        HTTPStatus.BAD_REQUEST: {"description": "Malformed or invalid; says which field.", **error},
        HTTPStatus.REQUEST_TIMEOUT: {"description": "The body did not arrive in time.", **error},
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: {"description": "Larger than the limit.", **error},
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE: {"description": "Not a type or coding that is read here.", **error},
        HTTPStatus.SERVICE_UNAVAILABLE: {
            "description": "Not acknowledged; retry with the same identity.",
            "headers": retry,
            **error,
        },
    }


def describe(app: FastAPI, *others: APIRouter) -> None:
    """Add the log API to the document at `/openapi.json`, and what other routers have only for it."""
    write(app, log_api(), *others)


def log_api() -> APIRouter:
    """Return the routes by which events come in, for the document."""
    on_paper = APIRouter(tags=["logs"])

    @on_paper.post(
        ONE, status_code=HTTPStatus.ACCEPTED, openapi_extra=_single_schema(), responses=_responses(LogAccepted)
    )
    async def post_log() -> None:
        """Accept one log event; 202 only after a region's Kafka acknowledged it with acks=all."""

    @on_paper.post(
        BATCH,
        status_code=HTTPStatus.ACCEPTED,
        openapi_extra=_batch_schema(),
        responses=_responses(BatchResult)
        | {
            HTTPStatus.OK: {"model": BatchResult, "description": "As 207, for requests with `partial=200`."},
            HTTPStatus.MULTI_STATUS: {"model": BatchResult, "description": "Some events were accepted, some not."},
            HTTPStatus.BAD_REQUEST: {
                "model": BatchResult,
                "description": "No event was valid (one item each), or the body is no batch (a problem); nothing was sent.",
                "content": PROBLEM_CONTENT,
            },
        },
    )
    async def post_batch() -> None:
        """
        Accept up to 10,000 events, as a JSON array or as NDJSON, gzipped or not.

        All events are validated before any is sent. A retry of a batch whose events carry identities is safe.

        A shipper that takes only 200 to 205 for success would retry a batch with one bad event for ever. `?partial=200`
        replaces the status 207: by 200 if all refusals are final, by 503 if a retry can help. After 503 the client sends the
        whole batch again.
        """

    return on_paper


def write(app: FastAPI, *on_paper: APIRouter) -> None:
    """Let the document at `/openapi.json` have these routes before the app's own."""

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = get_openapi(
                title=app.title,
                version=app.version,
                description=app.description,
                routes=[*(route for router in on_paper for route in router.routes), *app.routes],
            )
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]  # how FastAPI wants it to be done
