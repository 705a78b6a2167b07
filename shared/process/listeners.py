"""
Where a service listens: a public address, and one for the fleet alone.

Both are served by one server in one event loop. They share the state of the application and its budget of bytes. Each has
connections of its own, so that clients cannot push out the gateway's by the number of theirs.
"""

import errno
import socket

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from starlette.types import ASGIApp

from shared.process.bounds import Places
from shared.process.hosts import AllowedHosts

if TYPE_CHECKING:
    from shared.process.peers import Peers
    from shared.process.tls import Refusing

Listeners = Mapping[int, "Listener"]
"""By port; two listeners never have the same one."""

MAX_PORT = 65535
# An address family that this machine has not.
_ABSENT = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)


class ListenError(Exception):
    """A service cannot listen where it is told to; the message names the settings."""


@dataclass(eq=False, slots=True)
class Listener:
    """
    One of a server's listeners.

    Attributes:
        app: What serves its requests.
        hosts: Names that it has; None: any.
        connections: Those that are open.
        places: What bounds them; made with the first one.
        tls: How its connections are encrypted; None: not at all.
        peers: Who may ask it what; None: all who reach it may ask everything.
    """

    app: ASGIApp
    hosts: AllowedHosts | None = None
    connections: set[Any] = field(default_factory=set)
    places: Places | None = None
    tls: "Refusing | None" = None
    peers: "Peers | None" = None


def open_sockets(host: str, port: int, settings: str) -> list[socket.socket]:
    """
    Bind to an address, or to each address that a name has, without listening yet.

    Args:
        host: A name or an address.
        port: 0 takes a free one.
        settings: Which settings say so, for the error.

    Raises:
        ListenError: It is taken, or none of this machine.
    """
    opened: list[socket.socket] = []
    absent: OSError | None = None
    try:
        for family, address in _addresses(host, port):
            try:
                opened.append(_bound(family, address))
            except OSError as exc:
                if exc.errno not in _ABSENT:
                    raise
                absent = exc
        if absent is not None and not opened:
            raise absent
    except (OSError, OverflowError) as exc:
        for one in opened:
            one.close()
        reason = getattr(exc, "strerror", None) or str(exc)
        raise ListenError(f"cannot listen on {host}:{port}: {reason}; set {settings} to another address") from exc
    return opened


def _addresses(host: str, port: int) -> Iterable[tuple[int, Any]]:
    if port > MAX_PORT:  # the resolver would take what is left of it by 65,536
        raise OverflowError(f"a port has at most the number {MAX_PORT}")
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return dict.fromkeys((family, address) for family, _, _, _, address in found)


def _bound(family: int, address: Any) -> socket.socket:
    opened = socket.socket(family, socket.SOCK_STREAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(address)
    except OSError:
        opened.close()
        raise
    opened.setblocking(False)  # noqa: FBT003 - as the method wants it
    return opened
