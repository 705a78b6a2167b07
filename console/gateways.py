"""What gateways ask at the internal listener, for their clients: the reading API, with the client's address as the caller's, and the tenant of its key."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.ingest.tenant import TENANT_KEY
from shared.wire.internal import PREFIX
from shared.wire.reading import CALLER_HEADER, INTERNAL_LOGS, TENANT_HEADER

_HEADER: Final = CALLER_HEADER.lower().encode()
_TENANT: Final = TENANT_HEADER.lower().encode()


class ForGateways:
    """
    ASGI wrapper around the internal application.

    Args:
        internal: Serves all else.
        public: Serves the reading API.
    """

    def __init__(self, internal: ASGIApp, public: ASGIApp) -> None:
        self._internal = internal
        self._public = public

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        path: str = scope.get("path", "")
        if scope["type"] != "http" or not (path == INTERNAL_LOGS or path.startswith(INTERNAL_LOGS + "/")):
            await self._internal(scope, receive, send)
            return
        named = [value for name, value in scope["headers"] if name == _HEADER]
        inner = {**scope, "path": path.removeprefix(PREFIX)}
        inner.pop("raw_path", None)
        if named:
            inner["client"] = (named[0].decode("latin-1"), 0)
        tenants = [value for name, value in scope["headers"] if name == _TENANT]
        if tenants:
            inner[TENANT_KEY] = tenants[0].decode("latin-1")
        await self._public(inner, receive, send)
