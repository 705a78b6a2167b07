"""The page that asks for a key, and the forms that begin and end a session. All of it works without a script."""

from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response

from console.login import PATH, Login, LoginRefusedError, is_same_origin, next_of
from console.pages.render import Templates

_MAX_FORM: Final = 8 * 1024
# With the policy of other pages a browser would not say where its form is from.
_HEADERS: Final = {"Referrer-Policy": "same-origin"}
_FOREIGN: Final = "the form was sent by another page than this one; write the key here"
_TOO_LONG: Final = "a key has 64 characters; what was sent is far longer"


def login_router(login: Login, templates: Templates) -> APIRouter:
    """Build the routes."""
    router = APIRouter(include_in_schema=False)

    def page(
        request: Request, target: str, problem: str = "", status: int = 200, retry_s: int | None = None
    ) -> Response:
        reader = login.reader(request.scope)
        key = "" if reader is None else reader.key_id
        tenant = "" if reader is None else reader.tenant
        headers = _HEADERS if retry_s is None else {**_HEADERS, "Retry-After": str(retry_s)}
        return templates.page(
            "login.html",
            status=status,
            headers=headers,
            page="login",
            key=key,
            tenant=tenant,
            next=target,
            problem=problem,
        )

    @router.get(PATH)
    async def ask(request: Request) -> Response:
        """Ask for a key."""
        return page(request, next_of(request.query_params.get("next", "/")))

    @router.post(PATH)
    async def begin(request: Request) -> Response:
        """Take it."""
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if len(body) > _MAX_FORM:
                return page(request, "/", _TOO_LONG, HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        form = parse_qs(body.decode("latin-1"), max_num_fields=10) if body.count(b"&") < 10 else {}  # noqa: PLR2004 - fields
        target = next_of(form.get("next", ["/"])[0])
        if not is_same_origin(request.scope):
            return page(request, target, _FOREIGN, HTTPStatus.FORBIDDEN)
        try:
            cookie = login.begin(form.get("key", [""])[0].strip(), request.scope)
        except LoginRefusedError as refused:
            status = HTTPStatus.UNAUTHORIZED if refused.retry_s is None else HTTPStatus.TOO_MANY_REQUESTS
            return page(request, target, refused.sentence, status, refused.retry_s)
        return Response(status_code=HTTPStatus.SEE_OTHER, headers={"Location": target, "Set-Cookie": cookie})

    @router.post("/logout")
    async def end(request: Request) -> Response:
        """End the session. A stranger's page cannot: its form would have no cookie."""
        cookie = login.end(request.scope)
        return Response(status_code=HTTPStatus.SEE_OTHER, headers={"Location": PATH, "Set-Cookie": cookie})

    return router
