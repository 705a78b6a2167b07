"""How every service is served: uvicorn on uvloop and httptools, at two addresses."""

import socket
import sys

from contextlib import suppress
from functools import partial
from typing import Any, Final, cast

import structlog
import uvicorn

from starlette.types import ASGIApp

from shared.process.hosts import AllowedHosts, split_names
from shared.process.listeners import Listener, ListenError, Listeners, open_sockets
from shared.process.secured import SecuredServer
from shared.process.served_settings import ServedSettings
from shared.process.server import KEEP_ALIVE_S, LogProtocol

log: Final = structlog.stdlib.get_logger(__name__)
# What uvicorn's own command ends with.
_NOT_STARTED: Final = 3


def serve(public: ASGIApp, internal: ASGIApp, settings: ServedSettings, *, shutdown_s: int) -> None:
    """
    Serve until SIGTERM or SIGINT.

    Args:
        public: Started and stopped with the server.
        internal: Gets the same state, and is for the fleet alone.
        settings: Where to listen, and under which names.
        shutdown_s: Time for requests in flight, in seconds.

    Raises:
        ListenError: One of the addresses cannot be had, or a certificate cannot be used.
    """
    prefix = settings.model_config["env_prefix"]
    hosts = AllowedHosts([*split_names(settings.allowed_hosts), socket.gethostname()])
    places = [
        (public, settings.host, settings.port, f"{prefix}HOST or {prefix}PORT"),
        (internal, settings.internal_host, settings.port_inside, f"{prefix}INTERNAL_HOST or {prefix}INTERNAL_PORT"),
    ]
    sockets: list[socket.socket] = []
    listeners: dict[int, Listener] = {}
    try:
        for app, host, port, names in places:
            sockets += open_sockets(host, port, names)
            listeners[sockets[-1].getsockname()[1]] = settings.secured(Listener(app, hosts), internal=app is internal)
    except ListenError:
        for one in sockets:
            one.close()
        raise
    public_at, internal_at = (f"{host}:{port}" for _, host, port, _ in places)
    log.info("addresses taken", public=public_at, internal=internal_at)
    server = make_server(public, listeners, shutdown_s)
    with suppress(KeyboardInterrupt):
        server.run(sockets)
    if not server.started:
        sys.exit(_NOT_STARTED)


def make_server(app: ASGIApp, listeners: Listeners, shutdown_s: int, **options: Any) -> uvicorn.Server:
    """
    Make the server of an application.

    Args:
        app: Started and stopped with it.
        listeners: By port, those of the sockets that it will get.
        shutdown_s: Time for requests in flight, in seconds.
        options: Further ones of uvicorn.
    """
    config = uvicorn.Config(
        app,
        loop="uvloop",
        # uvicorn calls it as it would call the class.
        http=cast("Any", partial(LogProtocol, listeners=listeners)),
        ws="none",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=shutdown_s,
        **options,
    )
    if any(one.tls for one in listeners.values()):
        return SecuredServer(config, listeners)
    return uvicorn.Server(config)
