"""The way in for log shippers: which protocol a request speaks, and its errors in that protocol's form."""

from collections.abc import Callable, Sequence
from http import HTTPStatus
from time import perf_counter
from typing import Final

from starlette.routing import BaseRoute, Match
from starlette.types import Receive, Scope, Send

from shared.event.outcome import EventSink
from shared.ingest.asgi import FAILED, REFUSALS, Gate, problem_of, send_reply
from shared.ingest.caller import note_caller
from shared.ingest.head import Head
from shared.ingest.routes import Route, Routes
from shared.ingest.shipping import Shipping
from shared.wire.problem import (
    BadRequestError,
    MethodNotAllowedError,
    NotFoundError,
    ProblemError,
    UnavailableError,
)

Headers = Sequence[tuple[bytes, bytes]]

_LATER: Final = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.SERVICE_UNAVAILABLE})
_BUG: Final = "the service failed; its events may or may not be durable. A retry is recognised as one"


class Shippers:
    """
    Answers what a protocol of shippers knows, for `shared.ingest.asgi.Ingest`.

    Args:
        routes: What is served.
        shipping: Takes the requests that bring events.
        sink_of: Finds the service's sink in a connection's scope.
        gate: Counts the requests.
        known: The app's own routes, which come before handshakes and before errors in a protocol's form.
    """

    def __init__(
        self,
        routes: Routes,
        shipping: Shipping,
        *,
        sink_of: Callable[[Scope], EventSink],
        gate: Gate,
        known: Callable[[], Sequence[BaseRoute]] = tuple,
    ) -> None:
        self._routes = routes
        self._shipping = shipping
        self._sink_of = sink_of
        self._gate = gate
        self._known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answer a request if a shipper's protocol knows its path, and return whether one does."""
        path: str = scope["path"]
        found = self._routes.find(path)
        if found is None:
            return await self._answer_else(path, scope, send)
        route, variable = found
        started = perf_counter()
        note_caller(scope)
        head = Head(scope, variable)
        status = FAILED
        try:
            status = await self._serve(route, head, scope, receive, send)
        finally:
            self._gate.count(status, perf_counter() - started)
        return True

    async def _serve(self, route: Route, head: Head, scope: Scope, receive: Receive, send: Send) -> int:
        protocol = route.protocol
        try:
            if head.method in route.methods:
                reply = await self._shipping.take(route, head, receive, self._sink_of(scope))
            elif head.method == "OPTIONS" and route.options is not None:
                reply = route.options
            else:
                raise MethodNotAllowedError(", ".join(route.methods))  # noqa: TRY301 - answered below, as every error is
        except REFUSALS as exc:
            reply = protocol.refuse(problem_of(exc, scope), None, head)
        except Exception:
            # Clients of most protocols drop what is answered with another error of a service.
            await send_reply(protocol.refuse(UnavailableError(_BUG), None, head), send)
            raise  # the server logs it with its traceback
        await send_reply(reply, send)
        return reply.status

    async def _answer_else(self, path: str, scope: Scope, send: Send) -> bool:
        """Answer what is no route, if it is a protocol's concern."""
        if any(route.matches(scope)[0] is not Match.NONE for route in self._known()):
            return False
        head = Head(scope)
        reply = self._routes.handshake(head.method, path, head)
        if reply is None:
            form = self._routes.form(path)
            if form is None:
                return False
            reply = form.refuse(NotFoundError(f"no such path: {path[:200]}"), None, head)
        await send_reply(reply, send)
        return True

    def refusal(self, scope: Scope, status: int, detail: str) -> tuple[int, bytes, bytes, Headers] | None:
        """See `shared.wire.problem.FORMS`: a body that does not arrive in time is sent again, if its client is told so."""
        found = self._routes.find(scope["path"])
        if found is None:
            return None
        error: ProblemError = UnavailableError(detail) if status in _LATER else BadRequestError(detail)
        reply = found.route.protocol.refuse(error, None, Head(scope, found.variable))
        return reply.status, reply.content_type, reply.body, reply.headers
