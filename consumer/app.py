"""
The consumer's HTTP interface: health, readiness, metrics, and what the fleet alone asks: about replication, and about an event.

The work itself runs beside it, from start-up to shutdown.
"""

import asyncio
import signal

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, cast

import structlog

from fastapi import APIRouter, FastAPI, Request, Response

from consumer.adapters.kafka_log_reader import KafkaLogReader
from consumer.adapters.kafka_replication import KafkaReplication
from consumer.assembly import assemble
from consumer.finding import Finder, TooManyQuestionsError
from consumer.metrics import ConsumerMetrics
from consumer.ports import SourceUnavailableError
from consumer.replication import ReplicationProbe
from consumer.settings import ConsumerSettings
from shared.ingest.body import read_body
from shared.ingest.head import Head
from shared.process import problems
from shared.process.bounds import BOUNDS, Bounds
from shared.process.head import HeadAsGet
from shared.process.metrics import new_registry
from shared.process.probes import Readiness, internal_app, public_router
from shared.process.spans import open_spans
from shared.wire import finding, replication
from shared.wire.problem import BadRequestError, UnavailableError
from shared.wire.regions import consumed_topics

log: Final = structlog.stdlib.get_logger(__name__)


def create_app(settings: ConsumerSettings) -> FastAPI:
    """Wire the consumer; its work begins with the app's lifespan and is drained at its end."""
    registry = new_registry()
    metrics = ConsumerMetrics(registry, settings.region, settings.regions)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[Mapping[str, Any]]:
        async with open_spans(settings.otlp_traces_endpoint, service="consumer", region=settings.region) as spans:
            service = assemble(settings, metrics, spans)
            work = asyncio.create_task(service.run())
            work.add_done_callback(_end_process_with)
            finder = Finder(
                settings.region,
                consumed_topics(settings.region, settings.regions),
                partial(_read_logs, settings),
                service.stored,
            )
            probe = ReplicationProbe(settings.region, partial(_look_at_replication, settings))
            probing = asyncio.create_task(probe.run())
            probing.add_done_callback(_log_end_of)
            try:
                yield {
                    "service": service,
                    "replication": probe,
                    "finder": finder,
                    "registry": registry,
                    BOUNDS: Bounds(on_cut=lambda why: metrics.cut[why].inc()),
                }
            finally:
                probing.remove_done_callback(_log_end_of)
                probing.cancel()
                work.remove_done_callback(_end_process_with)
                service.stop()
                await asyncio.wait([work, probing])
                await finder.close()
                work.result()

    app = FastAPI(title="Log consumer", lifespan=lifespan, openapi_url=None)
    problems.install(app)
    app.add_middleware(HeadAsGet)
    app.include_router(public_router(settings, _readiness_of, lambda _: registry))
    return app


def create_internal_app() -> FastAPI:
    """Build what the consumer answers to the fleet alone; it lives on the state of the other one."""
    router = APIRouter()

    @router.get(replication.PATH)
    async def see_replication(request: Request) -> Response:
        """Tell what this region's Kafka shows about replication."""
        report = request.state.replication.report()
        if report is None:
            raise UnavailableError("replication was not seen yet; ask again")
        return Response(report.encode(), media_type="application/json")

    @router.post(finding.PATH)
    async def find(request: Request) -> Response:
        """Tell what this region's Kafka has of an event."""
        try:
            body = await read_body(Head(request.scope), request.receive, finding.MAX_QUESTION_BYTES, None)
            found = await request.state.finder.find(finding.Question.decode(body))
        except finding.FindingError as exc:
            raise BadRequestError(str(exc)) from exc
        except (TooManyQuestionsError, SourceUnavailableError) as exc:
            raise UnavailableError(str(exc)) from exc
        return Response(found.encode(), media_type="application/json")

    return internal_app("Log consumer, internal", _readiness_of, lambda request: request.state.registry, router)


def _readiness_of(request: Request) -> Readiness:
    return cast("Readiness", request.state.service.readiness())


def _read_logs(settings: ConsumerSettings) -> KafkaLogReader:
    return KafkaLogReader(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        client_id=f"find-{settings.region}-{settings.instance}",
        group=settings.group,
        access=settings.kafka_access,
    )


def _look_at_replication(settings: ConsumerSettings) -> KafkaReplication:
    return KafkaReplication(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        client_id=f"replication-watch-{settings.region}-{settings.instance}",
        sources=[region for region in settings.regions if region != settings.region],
        access=settings.kafka_access,
    )


def _end_process_with(work: asyncio.Task[None]) -> None:
    # A process that answers probes and consumes nothing is worse than none, which its supervisor restarts.
    log.critical("the consumer's work ended", exc_info=work.exception() if not work.cancelled() else None)
    signal.raise_signal(signal.SIGTERM)


def _log_end_of(probing: asyncio.Task[None]) -> None:
    # Events are stored without it; the gateway sees its last report grow old.
    log.critical("the probe of replication ended", exc_info=probing.exception() if not probing.cancelled() else None)
