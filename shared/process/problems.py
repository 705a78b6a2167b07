"""Makes every error of a FastAPI application a problem document, those of the framework included."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shared.wire.problem import CONTENT_TYPE, BadRequestError, InternalError, ProblemError, document


def problem(error: ProblemError) -> Response:
    """Return the answer to an error."""
    body = document(error.status, error.detail, error.extra)
    return Response(body, error.status, error.headers, media_type=CONTENT_TYPE)


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""

    @app.exception_handler(ProblemError)
    async def _on_problem(_: Request, exc: ProblemError) -> Response:
        return problem(exc)

    @app.exception_handler(HTTPException)
    async def _on_http(_: Request, exc: HTTPException) -> Response:
        return _plain(exc.status_code, str(exc.detail), exc.headers or {})

    @app.exception_handler(ClientDisconnect)
    async def _on_disconnect(_: Request, __: ClientDisconnect) -> Response:
        # The connection is gone, but counters and log must not show that as a fault of the service.
        return problem(BadRequestError("the client closed the connection before the body was complete"))

    @app.exception_handler(Exception)
    async def _on_bug(_: Request, __: Exception) -> Response:
        # The server logs it with its traceback.
        return problem(InternalError())

    @app.exception_handler(RequestValidationError)
    async def _on_parameters(_: Request, exc: RequestValidationError) -> Response:
        return _plain(HTTPStatus.BAD_REQUEST, "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in exc.errors()), {})


def _plain(status: int, detail: str, headers: Mapping[str, str]) -> Response:
    return Response(document(status, detail, {}), status, dict(headers), media_type=CONTENT_TYPE)
