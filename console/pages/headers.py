"""
What every answer of the console tells a browser: run only our script, load nothing from elsewhere, keep no copy.

Log lines are written by strangers. Templates escape them; if one ever got through, these headers keep it from running.
"""

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

PAGE_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
# The reference has its style in the page, and no script.
REFERENCE_POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
DATA_POLICY: Final = "default-src 'none'; frame-ancestors 'none'"
_REFERENCE: Final = frozenset({"/docs", "/redoc"})


class BrowserHeaders:
    """
    Adds the headers to what `app` answers. A header that the answer has already stays.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        await self._app(scope, receive, _with_headers(scope["path"], send))


def _with_headers(path: str, send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.setdefault("X-Content-Type-Options", "nosniff")
            headers.setdefault("Referrer-Policy", "no-referrer")
            headers.setdefault("Cache-Control", "no-store")
            headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
            headers.setdefault("Content-Security-Policy", _policy(path, headers.get("content-type", "")))
        await send(message)

    return sending


def _policy(path: str, kind: str) -> str:
    if not kind.startswith("text/html"):
        return DATA_POLICY
    return REFERENCE_POLICY if path in _REFERENCE else PAGE_POLICY
