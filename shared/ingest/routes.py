"""Which path is whose: exact ones, those with a part that varies, and those that only lie under a protocol's. Pure."""

import re

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from shared.ingest.head import Head
from shared.ingest.protocol import Reply, ShipperProtocol

POST: Final = ("POST",)
_SLASHES: Final = re.compile("/{2,}")


def as_declared(_: Head) -> bool:
    """Say that a body has no coding but the one that its head names."""
    return False


def plain(path: str) -> str:
    """
    Return a path with one slash where there are several, and none at its end.

    Clients put paths together from what their users wrote: with a slash too many they would get 404, and drop what they have.
    """
    return _SLASHES.sub("/", path).rstrip("/") or "/"


@dataclass(frozen=True, slots=True)
class Route:
    """
    A path on which shippers send events.

    Attributes:
        path: The URL's path; one of its parts may be `{name}`, which any part matches.
        protocol: Decodes the requests and encodes the answers.
        name: The protocol's, in metrics; several routes may have one.
        max_requests: Limit of requests in flight, by the service's settings.
        methods: Which are taken.
        is_snappy: Tells whether a body is a block of snappy below the coding that its head names.
        options: The answer to OPTIONS, where clients ask so whether the server is there; None where that is no method of theirs.
        brings_events: Whether it is no mere question, so that a tenant's quotas hold.
    """

    path: str
    protocol: ShipperProtocol
    name: str
    max_requests: Callable[[Any], int]
    methods: Sequence[str] = POST
    is_snappy: Callable[[Head], bool] = as_declared
    options: Reply | None = None
    brings_events: bool = True


class Found(NamedTuple):
    """A route, and what its path's variable part is."""

    route: Route
    variable: str


Handshake = Callable[[str, str, Head], Reply | None]
"""Answers a method and a path that bring no events, from a table; None if it knows none."""


class Routes:
    """
    All routes, and what surrounds them.

    Args:
        routes: Where events arrive.
        handshakes: What clients ask before they send any; the first that knows an answer gives it.
        under: Whose form an error has below a path, for what has no route.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        handshakes: Iterable[Handshake] = (),
        under: Mapping[str, ShipperProtocol] | None = None,
    ) -> None:
        self.routes = tuple(routes)
        self._exact = {route.path: Found(route, "") for route in self.routes if "{" not in route.path}
        self._varying = [
            (route.path.partition("{")[0], route.path.partition("}")[2], route)
            for route in self.routes
            if "{" in route.path
        ]
        self._handshakes = tuple(handshakes)
        self._under = dict(under or {})

    def find(self, path: str) -> Found | None:
        """Return the route of a path, however many slashes it has; an exact one comes before those with a variable part."""
        if (found := self._exact.get(path)) is not None:
            return found
        path = plain(path)
        if (found := self._exact.get(path)) is not None:
            return found
        for begin, end, route in self._varying:
            variable = path[len(begin) : len(path) - len(end)]
            if variable and "/" not in variable and path.startswith(begin) and path.endswith(end):
                return Found(route, variable)
        return None

    def handshake(self, method: str, path: str, head: Head) -> Reply | None:
        """Return the answer to what a client asks before it sends events."""
        path = plain(path)
        return next((reply for known in self._handshakes if (reply := known(method, path, head)) is not None), None)

    def form(self, path: str) -> ShipperProtocol | None:
        """Return whose form an error about a path has that is no route."""
        path = plain(path)
        return next((protocol for begin, protocol in self._under.items() if path.startswith(begin)), None)
