"""
The one way in: every request that brings events passes here, whatever protocol it speaks.

Plain ASGI in front of the framework, which serves the rest: probes, documentation, reports. The framework's routing and
wrappers of requests and answers cost more than everything that is done here (docs/decisions/0014).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from time import perf_counter
from typing import Final, Protocol

import structlog

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Receive, Scope, Send
from uuid_utils import uuid7

from shared.event.model import InvalidEventError
from shared.event.outcome import EventSink, Outcome, Refused
from shared.event.sealed import Intake, SealedEvent
from shared.ingest.account import count_accepted, settle
from shared.ingest.body import read_body
from shared.ingest.caller import PRINCIPAL_KEY, note_caller
from shared.ingest.head import Head
from shared.ingest.protocol import IngestProtocol, Reply, Submission
from shared.ingest.quota import LARGE_BYTES, AgedIntake, Meter, Meters
from shared.ingest.tenant import tenant_of_request
from shared.ingest.turns import Turns
from shared.wire.problem import (
    REFUSED_AS,
    BadRequestError,
    InternalError,
    MethodNotAllowedError,
    ProblemError,
    TooManyRequestsError,
    invalid_event,
)

log: Final = structlog.stdlib.get_logger(__name__)
FAILED: Final = 500
_READS: Final = ("GET", "HEAD")
_ALL: Final = "GET, HEAD, POST"
REFUSALS: Final = (ProblemError, InvalidEventError, ClientDisconnect)
"""What ends a request without being a fault of the service."""


class Gate(Protocol):
    """Decides whether one more request may be served, and counts how each one ended."""

    def ask(self, path: str) -> None:
        """
        Look whether a request would be let in, before its body is read; it takes no place yet, since that may last.

        Raises:
            ProblemError: There are too many.
        """
        ...

    def enter(self, path: str, size: int) -> None:
        """
        Let a request in whose body, of `size` bytes, has arrived; `leave` follows.

        Raises:
            ProblemError: There are too many, or their bodies are too large; nothing follows.
        """
        ...

    def leave(self, path: str, size: int) -> None:
        """Note that a request that entered is done."""
        ...

    def count(self, status: int, seconds: float) -> None:
        """Note that a request was answered with `status` after so many seconds."""
        ...


class OpenGate:
    """A gate that lets everything in, for tests."""

    def ask(self, path: str) -> None:
        """Do nothing."""

    def enter(self, path: str, size: int) -> None:
        """Do nothing."""

    def leave(self, path: str, size: int) -> None:
        """Do nothing."""

    def count(self, status: int, seconds: float) -> None:
        """Do nothing."""


class Ingest:
    """
    ASGI wrapper around an app: serves the paths of the protocols, and leaves all others to the app.

    Args:
        app: What is wrapped.
        protocols: By path.
        sink_of: Finds the service's sink in a connection's scope.
        gate: Bounds how many requests there are at once.
        now: Clock, aware UTC; the system's by default.
        turns: Where long work is done; of the app's own by default.
        shippers: Answers what log shippers send, if the service takes that; told of each other path, it returns whether it
            did.
        readable: Paths of protocols that the app serves where they are asked with GET or HEAD.
        meters: What tenants may send, where that is limited.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        protocols: Mapping[str, IngestProtocol],
        sink_of: Callable[[Scope], EventSink],
        gate: Gate,
        now: Callable[[], datetime] | None = None,
        turns: Turns | None = None,
        shippers: Callable[[Scope, Receive, Send], Awaitable[bool]] | None = None,
        readable: Collection[str] = (),
        meters: Meters | None = None,
    ) -> None:
        self._app = app
        self._protocols = protocols
        self._sink_of = sink_of
        self._gate = gate
        self._now = now or partial(datetime.now, UTC)
        self._turns = turns or Turns()
        self._shippers = shippers
        self._readable = readable
        self._meters = meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        path: str = scope["path"] if scope["type"] == "http" else ""
        if (protocol := self._protocols.get(path)) is None:
            if not path or self._shippers is None or not await self._shippers(scope, receive, send):
                await self._app(scope, receive, send)
            return
        if path in self._readable and scope["method"] in _READS:
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        note_caller(scope)
        status = FAILED
        try:
            status = await self._serve(protocol, scope, receive, send)
        finally:
            self._gate.count(status, perf_counter() - started)

    async def _serve(  # noqa: C901, PLR0915 - each request passes here, and calls cost more than all the rest of it
        self, protocol: IngestProtocol, scope: Scope, receive: Receive, send: Send
    ) -> int:
        """Answer one request; return the status."""
        submission: Submission | None = None
        meter: Meter | None = None
        taken: int | None = None
        size = 0
        outcomes: Sequence[Outcome] = ()
        entered: int | None = None
        path: str = scope["path"]
        head = Head(scope)
        try:
            self._gate.ask(path)
            if scope["method"] != "POST":
                raise MethodNotAllowedError(_ALL if path in self._readable else "POST")  # noqa: TRY301 - answered below, as every error is
            sink = self._sink_of(scope)
            region = head.region(sink.regions)
            asked = protocol.check(head)
            if self._meters is not None and (found := self._meters.find()) is not None:
                found.enter(head)
                meter = found
            body = await read_body(head, receive, protocol.max_body_bytes, self._turns)
            self._gate.enter(path, size := len(body))
            entered = size
            owner = tenant_of_request(scope) if PRINCIPAL_KEY in scope else None
            if meter is not None and size > LARGE_BYTES:
                meter.look(size)
            if meter is None or not meter.is_aged:
                intake = Intake(self._now(), uuid7, owner=owner)
            else:
                intake = AgedIntake(self._now(), uuid7, meter.ages(), owner=owner)
            read = protocol.read(body, intake, asked)
            del body  # its events are what is needed from here on
            submission = read if isinstance(read, Submission) else await self._turns.run(read)
            events, traceparent = submission.events, head.traceparent
            if meter is not None and events:
                meter.take(number := len(events), size)
                taken = number
            outcomes = await sink.accept(events, region, traceparent) if events else ()
            log_refusal(events, outcomes, traceparent)
            reply = protocol.answer(submission, outcomes)
        except REFUSALS as exc:
            if meter is not None:
                settle(meter, exc, taken, size, count_accepted(outcomes))
            reply = protocol.refuse(problem_of(exc, scope), _known(submission, exc), head)
        except Exception:
            await send_reply(protocol.refuse(InternalError(), submission, head), send)
            raise  # the server logs it with its traceback
        finally:
            if entered is not None:
                self._gate.leave(path, entered)
            if meter is not None:
                meter.leave()
        await send_reply(reply, send)
        return reply.status


def _known(submission: Submission | None, error: Exception) -> Submission | None:
    """Return what a client should know the identities of. Of what is too much nothing was sent on, so they matter to none."""
    return None if isinstance(error, TooManyRequestsError) else submission


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


def problem_of(refusal: Exception, scope: Scope) -> ProblemError:
    """Return one of `REFUSALS` as the problem that its client is told."""
    if isinstance(refusal, ProblemError):
        return refusal
    if isinstance(refusal, InvalidEventError):
        return invalid_event(refusal.problems)
    # The connection is gone: counters and log must not show that as a fault of the service.
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
