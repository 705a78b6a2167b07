"""
What every service answers to monitoring: `/health`, `/ready`, `/metrics`.

`/health` says that the process runs. `/ready` says whether it can do its job, and if not, why. They are two because an
orchestrator must not restart a healthy process when its database is away.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic_core import to_json


@dataclass(frozen=True, slots=True)
class Readiness:
    """
    Whether a service can do its job.

    Attributes:
        reasons: Why not; empty when ready.
        degraded: What is missing although the job is done without it.
        details: Further facts for a person who looks.
    """

    reasons: Sequence[str] = ()
    degraded: Sequence[str] = ()
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ready(self) -> bool:
        """True when nothing stands in the way."""
        return not self.reasons


def probe_router(
    readiness_of: Callable[[Request], Readiness], registry_of: Callable[[Request], CollectorRegistry]
) -> APIRouter:
    """Build the three routes."""
    router = APIRouter(tags=["operations"])

    @router.get("/health")
    async def health() -> dict[str, str]:
        """Tell that the process is alive."""
        return {"status": "alive"}

    @router.get("/ready", responses={HTTPStatus.SERVICE_UNAVAILABLE: {"description": "Not ready; says why."}})
    async def ready(request: Request) -> Response:
        """Tell whether the service can do its job; 503 with the reasons if not."""
        state = readiness_of(request)
        body = {
            "status": "ready" if state.ready else "not ready",
            "reasons": list(state.reasons),
            "degraded": list(state.degraded),
            **state.details,
        }
        status = HTTPStatus.OK if state.ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Response(to_json(body), status, media_type="application/json")

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Show the metrics in Prometheus' text format."""
        return Response(generate_latest(registry_of(request)), media_type=CONTENT_TYPE_LATEST)

    return router
