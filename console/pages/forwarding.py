"""`GET /api/replication` of the console: what the gateway says, passed on. The gateway alone observes both regions."""

import ssl

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import httpx

from fastapi import APIRouter, FastAPI, Request, Response

from shared.process.http_client import http_client
from shared.wire.problem import UnavailableError

PATH: Final = "/api/replication"
_CONNECTIONS: Final = 4
_TIMEOUT_S: Final = 2.0


def replication_forwarder(
    gateway_url: str, transport: httpx.AsyncBaseTransport | None = None, tls: ssl.SSLContext | None = None
) -> APIRouter:
    """
    Build the route.

    Args:
        gateway_url: Where the gateway is.
        transport: Replaces the network.
        tls: If its address begins with https.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with http_client(_TIMEOUT_S, _CONNECTIONS, gateway_url, transport, tls) as client:
            yield {"gateway_client": client}

    router = APIRouter(tags=["replication"], lifespan=lifespan)

    @router.get(PATH)
    async def replication(request: Request) -> Response:
        """Report the state of each direction of replication, as the gateway sees it; 503 while it does not answer."""
        client: httpx.AsyncClient = request.state.gateway_client
        accept = request.headers.get("accept", "application/json")
        try:
            answer = await client.get(PATH, headers={"Accept": accept})
        except httpx.TransportError as exc:
            raise UnavailableError(
                f"the gateway at {gateway_url} does not answer ({str(exc) or type(exc).__name__}); it alone sees both regions"
            ) from exc
        kind = answer.headers.get("content-type", "application/json")
        return Response(answer.content, answer.status_code, media_type=kind)

    return router
