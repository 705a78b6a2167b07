"""The consumer's HTTP face: health, readiness and metrics. The work itself runs beside it, from start-up to shutdown."""

import asyncio
import signal

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import structlog

from fastapi import FastAPI

from consumer.service import ConsumerService
from consumer.settings import ConsumerSettings
from shared import problem
from shared.metrics import ConsumerMetrics, new_registry
from shared.probes import probe_router

log: Final = structlog.stdlib.get_logger(__name__)


def create_app(settings: ConsumerSettings) -> FastAPI:
    """Wire the consumer; its work begins with the app's lifespan and is drained at its end."""
    registry = new_registry()
    metrics = ConsumerMetrics(registry)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        service = ConsumerService(settings, metrics)
        work = asyncio.create_task(service.run())
        work.add_done_callback(_end_process_with)
        try:
            yield {"service": service}
        finally:
            work.remove_done_callback(_end_process_with)
            service.stop()
            await work

    app = FastAPI(title="Log consumer", lifespan=lifespan, openapi_url=None)
    problem.install(app)
    app.include_router(probe_router(lambda request: request.state.service.readiness(), lambda _: registry))
    return app


def _end_process_with(work: asyncio.Task[None]) -> None:
    # A process that only answers probes while nobody consumes is worse than none: its supervisor restarts it.
    log.critical("the consumer's work ended", exc_info=work.exception() if not work.cancelled() else None)
    signal.raise_signal(signal.SIGTERM)
