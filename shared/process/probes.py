"""
What every service answers to monitoring: `/health`, `/ready`, `/metrics`.

`/health` says that the process runs. `/ready` says whether it can do its job, and if not, why. They are two because an
orchestrator must not restart a healthy process when its database is away. The internal listener has all three. With
`FLEET_SECURITY=on` the public one has no `/metrics`, and no reasons in `/ready`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from pydantic_core import to_json

from shared.process import problems
from shared.process.head import HeadAsGet
from shared.process.served_settings import ServedSettings
from shared.wire.internal import PORT_HEADER, PREFIX
from shared.wire.problem import NotFoundError


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


ReadinessOf = Callable[[Request], Readiness]
RegistryOf = Callable[[Request], CollectorRegistry]
_METHODS: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


def internal_app(title: str, readiness_of: ReadinessOf, registry_of: RegistryOf, *routers: APIRouter) -> FastAPI:
    """Build what a service answers on its internal listener: all three probes, and `routers`."""
    app = FastAPI(title=title, openapi_url=None)
    problems.install(app)
    app.add_middleware(HeadAsGet)
    app.include_router(probe_router(readiness_of, registry_of))
    for router in routers:
        app.include_router(router)
    return app


def public_router(settings: ServedSettings, readiness_of: ReadinessOf, registry_of: RegistryOf) -> APIRouter:
    """Build what a service tells about itself on its public listener, by its settings; and where its internal one is."""
    port = settings.port_inside
    where = {PORT_HEADER: str(port)}
    if settings.security == "on":
        router = _bare_probes(readiness_of, where)
    else:
        router = probe_router(readiness_of, registry_of, where)

    @router.api_route(PREFIX + "/{path:path}", methods=_METHODS, include_in_schema=False)
    async def elsewhere(path: str) -> Response:
        """Say where that is."""
        detail = f"{PREFIX}/{path} is on the internal listener alone, port {port}; ask there"
        raise NotFoundError(detail, headers=where)

    return router


def probe_router(
    readiness_of: ReadinessOf, registry_of: RegistryOf, headers: Mapping[str, str] | None = None
) -> APIRouter:
    """Build the three probes; answers of `/ready` have `headers`."""
    router = APIRouter(tags=["operations"])
    _add_health(router)

    @router.get("/ready", responses={HTTPStatus.SERVICE_UNAVAILABLE: {"description": "Not ready; says why."}})
    async def ready(request: Request) -> Response:
        """Tell whether the service can do its job; 503 with the reasons if not."""
        state = readiness_of(request)
        told = {"reasons": list(state.reasons), "degraded": list(state.degraded), **state.details}
        return _readiness(state, told, headers or {})

    @router.get("/metrics")
    async def metrics(request: Request) -> Response:
        """Show the metrics in Prometheus' text format."""
        return Response(generate_latest(registry_of(request)), media_type=CONTENT_TYPE_LATEST)

    return router


def _bare_probes(readiness_of: ReadinessOf, headers: Mapping[str, str]) -> APIRouter:
    router = APIRouter(tags=["operations"])
    _add_health(router)

    @router.get("/ready", responses={HTTPStatus.SERVICE_UNAVAILABLE: {"description": "Not ready."}})
    async def ready(request: Request) -> Response:
        """Tell whether the service can do its job; 503 if not."""
        return _readiness(readiness_of(request), {}, headers)

    return router


def _add_health(router: APIRouter) -> None:
    @router.get("/health")
    async def health() -> dict[str, str]:
        """Tell that the process is alive."""
        return {"status": "alive"}


def _readiness(state: Readiness, told: Mapping[str, Any], headers: Mapping[str, str]) -> Response:
    body = {"status": "ready" if state.ready else "not ready", **told}
    status = HTTPStatus.OK if state.ready else HTTPStatus.SERVICE_UNAVAILABLE
    return Response(to_json(body), status, dict(headers), media_type="application/json")
