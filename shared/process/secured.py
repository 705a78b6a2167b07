"""A server whose listeners have TLS, each its own; uvicorn has one for all of them."""

import asyncio
import socket

from functools import partial

import uvicorn

from shared.process.bounds import BOUNDS, Bounds, Cut
from shared.process.listeners import Listener, Listeners
from shared.process.refusals import Refusals
from shared.process.tls import HANDSHAKE_S, watch


class SecuredServer(uvicorn.Server):
    """
    Serves the sockets of all listeners, and renews their certificates.

    Args:
        config: Of the server.
        listeners: By port.
    """

    def __init__(self, config: uvicorn.Config, listeners: Listeners) -> None:
        super().__init__(config)
        self._listeners = listeners
        self._watch: asyncio.Task[None] | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, and listen."""
        by_socket = {one: self._listeners[one.getsockname()[1]] for one in sockets or ()}
        await super().startup([one for one, listener in by_socket.items() if listener.tls is None])
        self.started = False
        bounds: Bounds = self.lifespan.state.setdefault(BOUNDS, Bounds())
        refusals = Refusals(bounds.on_cut)
        loop = asyncio.get_running_loop()
        for one, listener in by_socket.items():
            if listener.tls is None:
                continue
            self._tell(listener, bounds, refusals)
            self.servers.append(
                await loop.create_server(
                    self._protocol,
                    sock=one,
                    ssl=listener.tls,
                    ssl_handshake_timeout=HANDSHAKE_S,
                    backlog=self.config.backlog,
                )
            )
        self._watch = asyncio.create_task(watch())
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen no more, and end once the requests in flight are answered."""
        if self._watch is not None:
            self._watch.cancel()
        await super().shutdown(sockets)

    def _protocol(self) -> asyncio.Protocol:
        return self.config.http_protocol_class(  # type: ignore[call-arg]
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state, _loop=None
        )

    @staticmethod
    def _tell(listener: Listener, bounds: Bounds, refusals: Refusals) -> None:
        if listener.tls is not None:
            listener.tls.on_refused = partial(_refused, bounds, refusals, Cut.TLS)
            listener.tls.on_full = partial(bounds.on_cut, Cut.CONNECTIONS)
            # As many as may be connected afterwards, so that all of them may come back at once.
            listener.tls.max_handshakes = bounds.max_connections
        if listener.peers is not None:
            listener.peers.on_refused = partial(_refused, bounds, refusals, Cut.PEER)


def _refused(bounds: Bounds, refusals: Refusals, why: Cut, shown: str) -> None:
    refusals.refused(why, shown)
    bounds.on_stranger(why, shown)
