"""
The only list of protocols, each with the path on which it answers. A new protocol is added here (docs/howto).

The project's own (`shared.ingest.logs_api`) is not among them: the producers speak it, too.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from gateway.protocols import hec, otlp
from gateway.protocols.bulk import Bulk
from gateway.protocols.bulk_answers import PREFIX, elasticsearch
from gateway.protocols.hec_answers import hec_health, success
from gateway.protocols.ingest import Ingest
from gateway.protocols.loki import LokiPush
from gateway.settings import GatewaySettings
from shared.ingest.protocol import ShipperProtocol
from shared.ingest.routes import Handshake, Route

__all__ = ["HANDSHAKES", "ROUTES", "UNDER", "Route"]


def _max_requests(settings: GatewaySettings) -> int:
    return settings.max_shipper_requests


_OTLP: Final = otlp.OtlpLogs()
_LOKI: Final = LokiPush()
_BULK: Final = Bulk()
_HEC: Final = hec.HecEvent()

ROUTES: Final[Sequence[Route]] = (
    *(Route(path, _OTLP, otlp.NAME, _max_requests) for path in otlp.PATHS),
    # The second one is that of Loki's first version.
    *(
        Route(path, _LOKI, "loki", _max_requests, is_snappy=LokiPush.is_snappy)
        for path in ("/loki/api/v1/push", "/api/prom/push")
    ),
    *(
        Route(f"{prefix}{path}", _BULK, "bulk", _max_requests, ("POST", "PUT"))
        for prefix in ("", PREFIX)
        for path in ("/_bulk", "/{index}/_bulk")
    ),
    Route("/ingest", Ingest(), "ingest", _max_requests),
    # Docker's driver begins with OPTIONS.
    *(Route(path, _HEC, hec.NAME, _max_requests, options=success()) for path in hec.EVENT_PATHS),
    *(Route(path, hec.HecRaw(), hec.NAME, _max_requests) for path in hec.RAW_PATHS),
    *(Route(path, hec.HecAck(), hec.NAME, _max_requests, brings_events=False) for path in hec.ACK_PATHS),
)

HANDSHAKES: Final[Sequence[Callable[[GatewaySettings], Handshake]]] = (elasticsearch, hec_health)
"""What clients ask before they send anything, on paths that are no routes."""

UNDER: Final[Mapping[str, ShipperProtocol]] = dict.fromkeys(otlp.UNDER, _OTLP) | {
    "/loki/": _LOKI,
    f"{PREFIX}/": _BULK,
    # No path of the gateway's own begins so.
    "/_": _BULK,
    hec.UNDER: _HEC,
}
"""Whose form an error has on a path that begins so, and is no route."""
