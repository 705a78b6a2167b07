"""What gateways ask at the internal listener, for their clients: the reading API, with the client's address and tenant as the caller's."""

from typing import Final

from starlette.types import ASGIApp, Receive, Scope, Send

from shared.access.principal import DEFAULT_TENANT, Principal, is_tenant
from shared.access.scopes import Scope as KeyScope
from shared.ingest.asgi import send_reply
from shared.ingest.caller import PRINCIPAL, PRINCIPAL_KEY
from shared.ingest.protocol import problem_reply
from shared.wire.internal import PREFIX
from shared.wire.problem import BadRequestError
from shared.wire.reading import CALLER_HEADER, INTERNAL_LOGS, KEY_HEADER, TENANT_HEADER

_CALLER: Final = CALLER_HEADER.lower().encode()
_TENANT: Final = TENANT_HEADER.lower().encode()
_KEY: Final = KEY_HEADER.lower().encode()


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
        headers = dict(reversed(scope["headers"]))
        inner = {**scope, "path": path.removeprefix(PREFIX)}
        inner.pop("raw_path", None)
        if _CALLER in headers:
            inner["client"] = (headers[_CALLER].decode("latin-1"), 0)
        # The gateway has checked the key. One that asks for none says nothing, and its clients are those of the one tenant.
        tenant = headers.get(_TENANT, DEFAULT_TENANT.encode()).decode("latin-1")
        if not is_tenant(tenant):
            await send_reply(problem_reply(BadRequestError(f"{TENANT_HEADER} is no name of a tenant")), send)
            return
        reader = Principal(headers.get(_KEY, b"").decode("latin-1"), tenant, frozenset({KeyScope.READ}))
        inner[PRINCIPAL_KEY] = reader
        PRINCIPAL.set(reader)
        await self._public(inner, receive, send)
