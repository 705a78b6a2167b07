"""The log API in OpenAPI's words: what its routes take and answer."""

from datetime import datetime
from http import HTTPStatus
from typing import Any, Final, cast
from uuid import UUID

from pydantic import BaseModel, Field
from pydantic.json_schema import models_json_schema

from shared.event.model import MAX_BATCH_EVENTS, LogEvent
from shared.wire import trace
from shared.wire.problem import CONTENT_TYPE

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"


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


def single_schema() -> dict[str, Any]:
    """Return what `POST /api/logs` takes."""
    content = {"application/json": {"schema": _event_schema()}}
    return {"requestBody": {"required": True, "content": content}, "parameters": [_REGION_PARAMETER, _TRACE_PARAMETER]}


def batch_schema() -> dict[str, Any]:
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
        "schema": {"type": "string", "enum": ["gzip", "x-gzip", "deflate", "zstd", "identity"]},
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


def responses(accepted: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
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
