"""Answers on their way out."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import structlog

from starlette.types import Scope, Send

from shared.event.outcome import Outcome, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.protocol import Reply
from shared.wire.problem import REFUSED_AS, BadRequestError

log: Final = structlog.stdlib.get_logger(__name__)


def log_refusal(events: Sequence[SealedEvent], outcomes: Sequence[Outcome], traceparent: bytes | None) -> None:
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


def gone(scope: Scope) -> BadRequestError:
    """Say that the connection is gone: counters and log must not show that as a fault of the service."""
    error = BadRequestError("the client closed the connection before the body was complete")
    error.status = scope.get(REFUSED_AS, error.status)
    return error


async def send_reply(reply: Reply, send: Send) -> None:
    """Send an answer."""
    headers = [*reply.headers]
    if reply.status != HTTPStatus.NO_CONTENT:  # that may have neither
        headers = [(b"content-length", b"%d" % len(reply.body)), (b"content-type", reply.content_type), *headers]
    await send({"type": "http.response.start", "status": reply.status, "headers": headers})
    await send({"type": "http.response.body", "body": reply.body})
