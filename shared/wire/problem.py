"""
Errors as HTTP clients see them: `application/problem+json` (RFC 9457).

* ProblemError                any error that has an answer; carries status, sentence, headers
  x BadRequestError           400
  x NotFoundError             404
  x MethodNotAllowedError     405, with Allow
  x PayloadTooLargeError      413
  x UnsupportedMediaTypeError 415
  x RefusedError              the status of the component that refused the event
  x TooManyRequestsError      429, with Retry-After
  x InternalError             500
  x UnavailableError          503, with Retry-After
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from pydantic_core import to_json

from shared.event.model import FieldProblem

CONTENT_TYPE: Final = "application/problem+json"
FORMS: Final = "forms"
"""
Where an application's state, as its lifespan yields it, has who knows the form of a server's own errors: a function of a
request's scope, and of the error. It returns status, content type, body and headers; None for a problem document.
"""
REFUSED_AS: Final = "refused_as"
"""Key of a request's scope: the status with which the server itself answered it, in the application's place."""


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


class NotFoundError(ProblemError):
    """There is nothing at this path."""

    status = HTTPStatus.NOT_FOUND


class MethodNotAllowedError(ProblemError):
    """The path is known, and takes other methods; `allowed` names them."""

    status = HTTPStatus.METHOD_NOT_ALLOWED

    def __init__(self, allowed: str) -> None:
        super().__init__(HTTPStatus.METHOD_NOT_ALLOWED.phrase, headers={"Allow": allowed})


class InternalError(ProblemError):
    """A bug. The client learns that its events may be durable, and nothing about the inside."""

    def __init__(self) -> None:
        super().__init__("the service failed; the event may or may not be durable")


class PayloadTooLargeError(ProblemError):
    """The body is larger than the limit, on the wire or after decompression."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class UnsupportedMediaTypeError(ProblemError):
    """The body's type or coding is not one that is read here."""

    status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE


class RefusedError(ProblemError):
    """A later component refused, for good, an event that passed every check here."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class TooManyRequestsError(ProblemError):
    """The client may not send so much now, and nothing of it was taken; the same request may succeed later."""

    status = HTTPStatus.TOO_MANY_REQUESTS

    def __init__(self, detail: str, *, headers: Mapping[str, str], extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail, headers=headers, extra={"retryable": True} | dict(extra or {}))


class UnavailableError(ProblemError):
    """The event cannot be made durable now; the same request may succeed after `retry_after_s` seconds."""

    status = HTTPStatus.SERVICE_UNAVAILABLE

    def __init__(self, detail: str, *, retry_after_s: int = 1, extra: Mapping[str, Any] | None = None) -> None:
        super().__init__(detail, headers={"Retry-After": str(retry_after_s)}, extra=extra)


def document(status: int, detail: str, extra: Mapping[str, Any]) -> bytes:
    """Return one problem document; `extra` becomes further members of it."""
    body = {"type": "about:blank", "title": HTTPStatus(status).phrase, "status": status, "detail": detail}
    return to_json(body | dict(extra), inf_nan_mode="null")


def invalid_event(problems: Sequence[FieldProblem]) -> BadRequestError:
    """Return the error that names every field of an event that is wrong."""
    fields = [{"field": item.field, "message": item.message} for item in problems]
    return BadRequestError("; ".join(map(str, problems)), extra={"errors": fields})
