"""The gateway's wiring: settings in, application out. No logic."""

import asyncio
import random
import time

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, cast

from fastapi import FastAPI, Request
from prometheus_client import CollectorRegistry
from starlette.types import Scope

from gateway.access import ask_for_keys, refusals
from gateway.admission import Admission
from gateway.delivery.circuit import Circuit
from gateway.delivery.clients import ConsumerClient, Transport, open_consumer, open_producer
from gateway.delivery.dispatch import Dispatcher
from gateway.delivery.lane import Clock, Lane
from gateway.delivery.queue import QueueLimits
from gateway.delivery.routing import RetryPolicy
from gateway.ledger import MetricsLedger
from gateway.listeners.connection import Means
from gateway.listeners.syslog import SyslogDoor, SyslogListener
from gateway.metrics import GatewayMetrics
from gateway.protocols.syslog import NAME as SYSLOG
from gateway.protocols.table import HANDSHAKES, ROUTES, UNDER, Route
from gateway.quotas.file import TenantsFile, open_quotas
from gateway.reading import AT_ONCE, CONNECT_S, SILENCE_S, Reading, ReadingDoor
from gateway.replication.api import replication_router
from gateway.replication.watch import ReplicationMonitor
from gateway.settings import GatewaySettings
from gateway.traced import TracedSink
from shared.access.keys import KeyRing
from shared.access.watched import Watched
from shared.event.outcome import EventSink
from shared.ingest.asgi import Ingest
from shared.ingest.docs import docs_router
from shared.ingest.logs_api import BATCH, ONE, PROTOCOLS
from shared.ingest.openapi import describe
from shared.ingest.reading_openapi import reading_api
from shared.ingest.routes import Routes
from shared.ingest.shippers import Shippers
from shared.ingest.shipping import Shipping
from shared.ingest.turns import Turns
from shared.process import problems
from shared.process.audit import Audit
from shared.process.audit_acts import Acts
from shared.process.bounds import BOUNDS, Bounds
from shared.process.head import HeadAsGet
from shared.process.http_client import Streams
from shared.process.metrics import new_registry
from shared.process.probes import Readiness, internal_app, public_router
from shared.process.server import ENDING
from shared.process.spans import open_spans
from shared.wire.problem import FORMS

VERSION: Final = "0.1.0"
# Lower limit, also with frequent checks: a busy process checks late, and a dead region must not count as one without news.
MIN_OPEN_S: Final = 2.0
DESCRIPTION: Final = """
Takes log events and makes them durable in a region's Kafka, wherever one is alive.

An event is answered with 202 only after a region acknowledged it with acks=all. `eventId` and `timestamp` together are its
identity: a retry with both is the same event, however old it is. Errors are `application/problem+json`; where a retry can
help they carry `Retry-After`.
"""


@dataclass(frozen=True, slots=True)
class Runtime:
    """The objects that live as long as the process."""

    sink: EventSink
    lanes: Sequence[Lane]
    replication: ReplicationMonitor
    reading: Reading
    registry: CollectorRegistry
    keys: Watched[KeyRing] | None = None
    tenants: TenantsFile | None = None
    audit: Audit | None = None


def create_app(  # noqa: PLR0915 - wiring is a list
    settings: GatewaySettings,
    *,
    transports: Mapping[str, Transport] | None = None,
    consumer_transports: Mapping[str, Transport] | None = None,
    clock: Clock = time.monotonic,
    uniform: Callable[[], float] = random.random,
    routes: Sequence[Route] = ROUTES,
    syslog: SyslogDoor | None = None,
    wall: Callable[[], float] = time.time,
) -> FastAPI:
    """
    Build what the gateway answers to clients.

    Args:
        settings: Its configuration.
        transports: Replace the network between gateway and producers, by region.
        consumer_transports: Replace the network between gateway and consumers, by address.
        clock: Monotonic seconds.
        uniform: Random numbers in [0, 1), for the jitter.
        routes: Paths on which log shippers send events.
        syslog: Where syslog arrives, if it is taken.
        wall: Seconds since 1970, for the times of keys.
    """
    registry = new_registry()
    metrics = GatewayMetrics(registry)
    bounds = Bounds(settings.max_body_bytes_held, settings.max_connections, lambda why: metrics.cut[why].inc())
    metrics.bytes_held.set_function(lambda: bounds.held_bytes)

    audit = settings.open_audit("gateway", metrics.audit, wall)
    acts = Acts(audit)
    bounds.on_stranger = acts.connection_refused
    keys = settings.open_keys(acts.keys_read)
    limits = {ONE: settings.max_requests, BATCH: settings.max_batch_requests}
    limits |= {route.path: route.max_requests(settings) for route in routes}
    gate = Admission(limits, bounds, metrics)
    turns, patience_s = Turns(), settings.shipper_deadline_ms / 1000
    meters, tenants = open_quotas(settings, metrics, clock, acts)
    ledger = MetricsLedger(metrics, routes, [SYSLOG] if syslog else [])
    front_door = Routes(routes, [handshake(settings) for handshake in HANDSHAKES], UNDER)
    shippers = Shippers(
        front_door,
        Shipping(gate, ledger, turns=turns, patience_s=patience_s, meters=meters, spread=settings.stream_spread),
        sink_of=_sink_of,
        gate=gate,
        known=lambda: app.routes,
    )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(acts.written(VERSION, keys))
            spans = await stack.enter_async_context(open_spans(settings.otlp_traces_endpoint, service="gateway"))
            limits = _queue_limits(settings)
            lanes: list[Lane] = []
            for region in settings.regions:
                transport = (transports or {}).get(region)
                producer = await stack.enter_async_context(open_producer(region, settings, transport))
                lane = Lane(producer, _circuit(settings), limits, metrics, clock)
                stack.push_async_callback(lane.close)
                lanes.append(lane)
            # Check before the first request, so that it finds known circuits.
            await asyncio.gather(*(lane.check() for lane in lanes))
            watches = [lane.watch(settings.health_interval_ms / 1000) for lane in lanes]
            for watch in [*watches, *(file.run() for file in (keys, tenants) if file is not None)]:
                stack.push_async_callback(_cancel, asyncio.create_task(watch))
            dispatcher = Dispatcher(
                lanes,
                limits=limits,
                policy=RetryPolicy(settings.backoff_base_ms / 1000, settings.backoff_max_ms / 1000),
                deadline_s=settings.deadline_ms / 1000,
                metrics=metrics,
                clock=clock,
                random=uniform,
            )
            streams = Streams(AT_ONCE, CONNECT_S, SILENCE_S, settings.to_fleet)
            stack.push_async_callback(streams.close)
            reading = Reading(str(settings.console), streams)
            replication = await _monitor_replication(stack, settings, consumer_transports or {}, metrics, clock)
            sink = dispatcher if spans is None else TracedSink(dispatcher, spans)
            if syslog is not None:
                lost, spread = metrics.syslog_lost.inc, settings.stream_spread
                means = Means(sink, ledger, turns, bounds, patience_s, lost, meters, spread)
                listener = SyslogListener(syslog, means)
                metrics.syslog_connections.set_function(lambda: listener.connections)
                metrics.syslog_waiting.set_function(lambda: listener.waiting)
                stack.push_async_callback(listener.close)
                await listener.start()
            yield {
                "runtime": Runtime(sink, lanes, replication, reading, registry, keys, tenants, audit),
                BOUNDS: bounds,
                FORMS: shippers.refusal,
                ENDING: asyncio.Event(),
            }

    app = FastAPI(
        title="Multi-region log gateway",
        description=DESCRIPTION,
        version=VERSION,
        lifespan=lifespan,
        # A redirect would turn a POST with a trailing slash into a second request, or into a GET.
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    describe(app, reading_api())
    app.include_router(replication_router(_replication_of))
    app.include_router(public_router(settings, _readiness_of, lambda _: registry))
    app.include_router(docs_router(lambda: app, paths=("/docs", "/redoc")))
    app.add_middleware(
        ReadingDoor,
        reading_of=lambda scope: scope["state"]["runtime"].reading,
        metrics=metrics,
    )
    app.add_middleware(HeadAsGet)
    app.add_middleware(
        Ingest,
        protocols=PROTOCOLS,
        sink_of=_sink_of,
        gate=gate,
        turns=turns,
        shippers=shippers,
        readable=frozenset({ONE}),
        meters=meters,
    )
    if keys is not None:
        ask_for_keys(app, keys, metrics, wall, form=refusals(front_door), acts=acts)
    return app


def create_internal_app() -> FastAPI:
    """Build what the gateway answers to the fleet alone; it lives on the state of the other one."""
    return internal_app(
        "Multi-region log gateway, internal",
        _readiness_of,
        lambda request: _runtime(request).registry,
        # The console shows it, and `./setup.sh status`; neither has a key.
        replication_router(_replication_of),
    )


def _sink_of(scope: Scope) -> EventSink:
    return cast("Runtime", scope["state"]["runtime"]).sink


def _queue_limits(settings: GatewaySettings) -> QueueLimits:
    return QueueLimits(
        linger_s=settings.linger_ms / 1000,
        max_events=settings.request_max_events,
        concurrency=settings.upstream_concurrency,
        queue_events=settings.queue_max_events,
        queue_bytes=settings.queue_max_bytes,
    )


def _circuit(settings: GatewaySettings) -> Circuit:
    between_checks_s = (settings.health_interval_ms + settings.health_timeout_ms) / 1000
    return Circuit(
        failures=settings.circuit_failures,
        open_s=max(2 * between_checks_s, MIN_OPEN_S),
        trial_s=settings.attempt_timeout_ms / 1000,
    )


async def _monitor_replication(
    stack: AsyncExitStack,
    settings: GatewaySettings,
    transports: Mapping[str, Transport],
    metrics: GatewayMetrics,
    clock: Clock,
) -> ReplicationMonitor:
    consumers: dict[str, list[ConsumerClient]] = {
        region: [
            await stack.enter_async_context(open_consumer(region, str(url), settings, transports.get(str(url))))
            for url in urls
        ]
        for region, urls in settings.consumers.items()
    }
    monitor = ReplicationMonitor(consumers, metrics, clock)
    watcher = asyncio.create_task(monitor.run(settings.health_interval_ms / 1000))
    stack.push_async_callback(_cancel, watcher)
    return monitor


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])


def _runtime(request: Request) -> Runtime:
    return cast("Runtime", request.state.runtime)


def _replication_of(request: Request) -> ReplicationMonitor:
    return _runtime(request).replication


def _readiness_of(request: Request) -> Readiness:
    runtime = _runtime(request)
    down = [f"{lane.region}: {lane.last_error}" for lane in runtime.lanes if lane.is_open]
    return Readiness(
        reasons=["no region can acknowledge events", *down] if len(down) == len(runtime.lanes) else (),
        degraded=[
            *down,
            *(file.problem for file in (runtime.keys, runtime.tenants, runtime.audit) if file and file.problem),
        ],
        details={"regions": {lane.region: lane.state.value for lane in runtime.lanes}},
    )
