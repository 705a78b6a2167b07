"""Makes every error of a FastAPI application a problem document, those of the framework included."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from shared.wire.problem import CONTENT_TYPE, BadRequestError, InternalError, ProblemError, document


def install(app: FastAPI) -> None:
    """Make every error of `app` a problem document."""

    @app.exception_handler(ProblemError)
    async def _on_problem(_: Request, exc: ProblemError) -> Response:
        return _answer(exc)

    @app.exception_handler(HTTPException)
    async def _on_http(_: Request, exc: HTTPException) -> Response:
        return _response(exc.status_code, str(exc.detail), exc.headers or {}, {})

    @app.exception_handler(ClientDisconnect)
    async def _on_disconnect(_: Request, __: ClientDisconnect) -> Response:
        # The connection is gone, but counters and log must not show that as a fault of the service.
        return _answer(BadRequestError("the client closed the connection before the body was complete"))

    @app.exception_handler(Exception)
    async def _on_bug(_: Request, __: Exception) -> Response:
        # The server logs it with its traceback.
        return _answer(InternalError())

    @app.exception_handler(RequestValidationError)
    async def _on_parameters(_: Request, exc: RequestValidationError) -> Response:
        return _response(HTTPStatus.BAD_REQUEST, "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in exc.errors()), {}, {})


def _answer(error: ProblemError) -> Response:
    return _response(error.status, error.detail, error.headers, error.extra)


def _response(status: int, detail: str, headers: Mapping[str, str], extra: Mapping[str, Any]) -> Response:
    return Response(document(status, detail, extra), status, dict(headers), media_type=CONTENT_TYPE)
