"""Both listeners of a service as one application, for tests without a socket."""

from starlette.types import ASGIApp, Receive, Scope, Send

INTERNAL = "internal"


class Doors:
    """
    Serves requests to the host `internal` by the internal application, and all others by the public one.

    `LifespanManager` starts the public one, and gives both its state.

    Args:
        public: Started and stopped.
        internal: Lives on the state of the other one.
    """

    def __init__(self, public: ASGIApp, internal: ASGIApp) -> None:
        self._public = public
        self._internal = internal

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one ASGI connection."""
        inside = scope["type"] == "http" and scope["server"][0] == INTERNAL
        await (self._internal if inside else self._public)(scope, receive, send)
