"""
The only list of protocols, each with the path on which it answers. A new protocol is added here (docs/howto).

The project's own (`shared.ingest.logs_api`) is not among them: the producers speak it, too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.settings import GatewaySettings
from shared.ingest.protocol import ShipperProtocol
from shared.ingest.routes import Handshake, Route

__all__ = ["HANDSHAKES", "ROUTES", "UNDER", "Route"]

ROUTES: Final[Sequence[Route]] = ()

HANDSHAKES: Final[Sequence[Callable[[GatewaySettings], Handshake]]] = ()
"""What clients ask before they send anything, on paths that are no routes."""

UNDER: Final[Mapping[str, ShipperProtocol]] = {}
"""Whose form an error has on a path that begins so, and is no route."""
