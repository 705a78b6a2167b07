"""The only list of protocols, each with the path on which it answers. A new protocol is added here (docs/howto)."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.settings import GatewaySettings
from shared.ingest.logs_api import BATCH, ONE, PROTOCOLS
from shared.ingest.protocol import IngestProtocol


@dataclass(frozen=True, slots=True)
class Route:
    """
    A path on which events arrive.

    Attributes:
        path: The URL's path.
        protocol: Decodes the requests and encodes the answers.
        max_requests: Limit of requests in flight. Each holds its body in memory until it is answered.
    """

    path: str
    protocol: IngestProtocol
    max_requests: Callable[[GatewaySettings], int]


ROUTES: Final = (
    Route(ONE, PROTOCOLS[ONE], lambda settings: settings.max_requests),
    Route(BATCH, PROTOCOLS[BATCH], lambda settings: settings.max_batch_requests),
)
