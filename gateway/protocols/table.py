"""Which protocol answers on which path: the only list of them. The table is where a new one is added (docs/howto)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.settings import GatewaySettings
from shared.ingest.logs_api import BATCH, ONE, PROTOCOLS
from shared.ingest.protocol import IngestProtocol


@dataclass(frozen=True, slots=True)
class Route:
    """
    One way in.

    Attributes:
        path: Where it is.
        protocol: What it speaks.
        max_requests: How many requests there may be at once. Each holds its body in memory until it is answered.
    """

    path: str
    protocol: IngestProtocol
    max_requests: Callable[[GatewaySettings], int]


ROUTES: Final = (
    Route(ONE, PROTOCOLS[ONE], lambda settings: settings.max_requests),
    Route(BATCH, PROTOCOLS[BATCH], lambda settings: settings.max_batch_requests),
)
