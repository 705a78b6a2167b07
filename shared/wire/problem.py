"""
Errors as HTTP clients see them: `application/problem+json` (RFC 9457).

* ProblemError               any error that has an answer; carries status, sentence, headers
  x PayloadTooLargeError     413
  x UnsupportedMediaTypeError 415
  x BadRequestError          400
  x RefusedError             the status that whoever refused the event gave
  x RequestTimeoutError      408
  x UnavailableError         503, with Retry-After
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final, cast

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shared.event.model import FieldProblem, InvalidEventError

CONTENT_TYPE: Final = "application/problem+json"
IDENTITY: Final = "log_identity"
"""Where the scope of a request holds members for every problem that follows: the identities that were given."""


class ProblemError(Exception):
    """An error with an answer for the client; `extra` becomes further members of the problem document."""

    status: int = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(
        self, detail: str, *, headers: Mapping[str, str] | None = None, extra: Mapping[str, Any] | None = None
    ) -> None:
        super().__init__(detail)
        self.detail = detail
        self.headers = dict(headers or {})
        self.extra = dict(extra or {})


class BadRequestError(ProblemError):
    """The request is malformed or invalid; repeating it as it is cannot help."""

    status = HTTPStatus.BAD_REQUEST


class PayloadTooLargeError(ProblemError):
    """The body is larger than the limit, on the wire or after decompression."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UnsupportedMediaTypeError(ProblemError):
    """The body's type or coding is not one that is read here."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class RefusedError(ProblemError):
    """An event that passed every check here was refused further on, for good."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class RequestTimeoutError(ProblemError):
    """The client did not send its body in time."""

    status = HTTPStatus.REQUEST_TIMEOUT


class UnavailableError(ProblemError):
    """The event cannot be made durable now; the same request may succeed after `retry_after_s` seconds."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str, *, retry_after_s: int = 1, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)}, extra=extra)


def problem(
    status: int, detail: str, *, headers: Mapping[str, str] | None = None, extra: Mapping[str, Any] | None = None
) -> Response:
    """Render one problem document."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return Response(
        to_json(body | dict(extra or {}), inf_nan_mode="null"), status, dict(headers or {}), media_type=CONTENT_TYPE
    )


def invalid_event(problems: Sequence[FieldProblem]) -> Response:
    """Render a 400 that names every field that is wrong."""
    fields = [{"field": item.field, "message": item.message} for item in problems]
    return problem(HTTPStatus.BAD_REQUEST, "; ".join(map(str, problems)), extra={"errors": fields})


def _given(request: Request) -> dict[str, Any]:
    """Return the identities that were given before something failed, so that a retry need not be a second event."""
    return cast("dict[str, Any]", request.scope.get(IDENTITY, {}))


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document, those of the framework included."""

    @app.exception_handler(ProblemError)
    async def _on_problem(request: Request, exc: ProblemError) -> Response:
        return problem(exc.status, exc.detail, headers=exc.headers, extra=_given(request) | exc.extra)

    @app.exception_handler(InvalidEventError)
    async def _on_invalid_event(_: Request, exc: InvalidEventError) -> Response:
        return invalid_event(exc.problems)

    @app.exception_handler(HTTPException)
    async def _on_http(_: Request, exc: HTTPException) -> Response:
        return problem(exc.status_code, str(exc.detail), headers=exc.headers)

    @app.exception_handler(ClientDisconnect)
    async def _on_disconnect(_: Request, __: ClientDisconnect) -> Response:
        # Nobody reads it, but what is counted and logged must not look like a fault of the service.
        return problem(HTTPStatus.BAD_REQUEST, "the client closed the connection before the body was complete")

    @app.exception_handler(Exception)
    async def _on_bug(request: Request, _: Exception) -> Response:
        # The server above logs it with its traceback; the client learns nothing of the inside.
        detail = "the service failed; the event may or may not be durable"
        return problem(HTTPStatus.INTERNAL_SERVER_ERROR, detail, extra=_given(request))

    @app.exception_handler(RequestValidationError)
    async def _on_parameters(_: Request, exc: RequestValidationError) -> Response:
        return problem(HTTPStatus.BAD_REQUEST, "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in exc.errors()))
