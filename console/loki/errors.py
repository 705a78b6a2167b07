"""Errors as clients of Loki read them: problem documents whose sentence is in `message` as well, which Grafana shows."""

from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute

from shared.wire.problem import CONTENT_TYPE, ProblemError, document

_NO_STORE: Final = {"Cache-Control": "no-store"}


class NotHereError(ProblemError):
    """Loki does this, and the console does not."""

    status = HTTPStatus.NOT_IMPLEMENTED


class TimeOverError(ProblemError):
    """The range could not be looked through in time, and the client would take a part of it for all."""

    status = HTTPStatus.GATEWAY_TIMEOUT


class LokiRoute(APIRoute):
    """A route whose errors have that form."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See `APIRoute`."""
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except ProblemError as exc:
                body = document(exc.status, exc.detail, {**exc.extra, "message": exc.detail})
                return Response(body, exc.status, {**exc.headers, **_NO_STORE}, media_type=CONTENT_TYPE)

        return answer
