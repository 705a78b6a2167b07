"""
Which services may ask what on an internal listener, by the names in their certificates.

The listener takes no other certificate than the fleet's, and each connection has one. So what a connection may do is known
when it begins, and no request has to be looked at.
"""

from collections.abc import Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.process.tls import SCHEME, name_of
from shared.wire.problem import CONTENT_TYPE, document

PROBES: Final = frozenset({"/health", "/ready", "/metrics"})
"""What those may ask who watch, and no more."""


class Peers:
    """
    Who may do what.

    Args:
        app: What answers.
        peers: Services that may ask it everything.
        watchers: Services that may ask for the probes.

    Attributes:
        on_refused: Told the name, of each connection and of each request that is refused.
    """

    def __init__(self, app: ASGIApp, peers: Collection[str], watchers: Collection[str]) -> None:
        self.on_refused: Callable[[str], None] = lambda _: None
        self._app = app
        self._peers = frozenset(peers)
        self._watchers = frozenset(watchers)

    def app_for(self, shown: Mapping[str, Any] | None) -> ASGIApp:
        """Return what answers the connection on which this verified certificate was shown."""
        name = name_of(shown)
        if name in self._peers:
            return self._app
        if name in self._watchers:
            return self._probes(name)
        said = f"{SCHEME}{name}" if name else "no service of the fleet"
        self.on_refused(said)
        return _refusal(f"the certificate is of {said}, and this listener is not for it")

    def _probes(self, name: str) -> ASGIApp:
        refuse = _refusal(f"{SCHEME}{name} may ask for {', '.join(sorted(PROBES))} here, and for nothing else")

        async def probes(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and scope["path"] not in PROBES:
                self.on_refused(f"{SCHEME}{name}")
                await refuse(scope, receive, send)
            else:
                await self._app(scope, receive, send)

        return probes


def _refusal(detail: str) -> ASGIApp:
    return Response(document(HTTPStatus.FORBIDDEN, detail, {}), HTTPStatus.FORBIDDEN, {"content-type": CONTENT_TYPE})
