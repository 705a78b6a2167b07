"""An application of ours on a real socket, served as its process serves it."""

import asyncio
import socket

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.types import ASGIApp

from shared.process.hosts import AllowedHosts
from shared.process.listeners import Listener, open_sockets
from shared.process.served_settings import ServedSettings
from shared.process.serving import make_server


def bound(port: int = 0) -> socket.socket:
    """Return a socket, with a port of its own unless one is named, on which nothing listens yet."""
    [opened] = open_sockets("127.0.0.1", port, "no setting")
    return opened


@asynccontextmanager
async def served(app: ASGIApp, at: socket.socket | None = None) -> AsyncIterator[str]:
    """Return its address; `at` is a socket that is bound."""
    async with both_served(app, app, at or bound()) as (public, _):
        yield public


@asynccontextmanager
async def both_served(
    public: ASGIApp,
    internal: ASGIApp,
    at: socket.socket | None = None,
    hosts: AllowedHosts | None = None,
    *,
    internal_at: socket.socket | None = None,
    settings: ServedSettings | None = None,
) -> AsyncIterator[tuple[str, str]]:
    """Serve a public application and its internal one, by TLS where the settings say so; return their addresses."""
    sockets = [at or bound(), internal_at or bound()]
    ports = [one.getsockname()[1] for one in sockets]
    hosts = hosts or AllowedHosts()
    listeners = {port: Listener(app, hosts) for port, app in zip(ports, (public, internal), strict=True)}
    if settings is not None:
        for port, listener in listeners.items():
            settings.secured(listener, internal=port == ports[1])
    schemes = ["https" if listener.tls else "http" for listener in listeners.values()]
    server = make_server(public, listeners, 1)
    serving = asyncio.create_task(server._serve(sockets))
    while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
        await asyncio.sleep(0)
    try:
        public_at, internal_at_url = (
            f"{scheme}://127.0.0.1:{port}" for scheme, port in zip(schemes, ports, strict=True)
        )
        yield public_at, internal_at_url
    finally:
        server.should_exit = True
        await serving
