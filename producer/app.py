"""The producer's wiring: settings in, application out."""

import asyncio

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, TypedDict, cast

from fastapi import APIRouter, FastAPI, Request, Response

from producer.admission import Admission
from producer.connection import Connection
from producer.kafka import AiokafkaProducer
from producer.metrics import ProducerMetrics
from producer.ports import Connect, KafkaClient
from producer.publisher import Publisher
from producer.settings import ProducerSettings
from producer.traced import TracedPublisher
from shared.event.outcome import Outcome
from shared.event.sealed import SealedEvent, to_record
from shared.ingest.asgi import Ingest
from shared.ingest.body import read_body
from shared.ingest.docs import docs_router
from shared.ingest.head import Head
from shared.ingest.logs_api import BATCH, ONE, PROTOCOLS
from shared.ingest.openapi import describe
from shared.ingest.turns import Turns
from shared.process import problems
from shared.process.bounds import BOUNDS, Bounds
from shared.process.head import HeadAsGet
from shared.process.metrics import new_registry
from shared.process.probes import Readiness, internal_app, public_router
from shared.process.spans import open_spans
from shared.wire import handoff, wanted
from shared.wire.problem import BadRequestError, PayloadTooLargeError, RefusedError
from shared.wire.regions import LOGS

_CLOSED: Final = "while FLEET_SECURITY=on producers take no events of clients, because they ask for no keys; send them to the gateway"


class RegionSink:
    """`EventSink` of the producer's own region."""

    def __init__(self, region: str, publisher: Publisher | TracedPublisher) -> None:
        self.regions: Sequence[str] = (region,)
        self._region = region
        self._publisher = publisher

    async def accept(
        self,
        events: Sequence[SealedEvent],
        region: str | None,
        traceparent: bytes | None = None,
        *,
        hold_s: float | None = None,
    ) -> Sequence[Outcome]:
        """Publish the events. `region` is this region or None, which means the same."""
        return await self.publish(events, None if traceparent is None else [traceparent] * len(events))

    async def publish(
        self,
        events: Sequence[SealedEvent],
        traceparents: Sequence[bytes | None] | None,
        regions: Sequence[bytes | None] | None = None,
    ) -> Sequence[Outcome]:
        """Publish the events, each with its own traceparent, and with the region that it was meant for if it is another one."""
        records = [to_record(event, self._region) for event in events]
        return await self._publisher.publish(records, traceparents, regions)


@dataclass(frozen=True, slots=True)
class Runtime:
    """The objects that live as long as the process; `max_events` is of a hand-off."""

    sink: RegionSink
    connection: Connection
    metrics: ProducerMetrics
    gate: Admission
    turns: Turns
    max_events: int


class State(TypedDict):
    """The state of a request, and of its connection."""

    runtime: Runtime
    bounds: Bounds


def runtime(request: Request) -> Runtime:
    """Return the process-wide runtime of a request."""
    return cast("Runtime", request.state.runtime)


def create_app(settings: ProducerSettings, connect: Connect | None = None) -> FastAPI:
    """
    Build what the producer answers to clients. While Kafka is away it starts, and answers with 503.

    Args:
        settings: The process' configuration.
        connect: Makes connected Kafka clients, by default with aiokafka.
    """

    async def connect_aiokafka() -> KafkaClient:
        return await AiokafkaProducer.connect(settings.kafka_bootstrap_servers, LOGS, access)

    access = settings.kafka_access
    metrics = ProducerMetrics(new_registry(), settings.region)
    bounds = Bounds(settings.max_body_bytes_held, on_cut=lambda why: metrics.cut[why].inc())
    metrics.bytes_held.set_function(lambda: bounds.held_bytes)
    limits = {ONE: settings.max_requests, BATCH: settings.max_batch_requests, handoff.PATH: settings.max_handoffs}
    gate, turns = Admission(limits, bounds), Turns()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[State]:
        connection = Connection(connect or connect_aiokafka, settings, metrics.rebuilds)
        publisher = Publisher(connection, settings, metrics)
        async with AsyncExitStack() as stack:
            spans = await stack.enter_async_context(
                open_spans(settings.otlp_traces_endpoint, service="producer", region=settings.region)
            )
            # Closed in the opposite order: `run` must not replace the client while `close` flushes it.
            stack.push_async_callback(connection.close, settings.shutdown_timeout_ms / 1000)
            watcher = asyncio.create_task(connection.run(), name="kafka connection")
            stack.push_async_callback(_cancel, watcher)
            sink = publisher if spans is None else TracedPublisher(publisher, spans)
            region_sink = RegionSink(settings.region, sink)
            runtime = Runtime(region_sink, connection, metrics, gate, turns, settings.handoff_max_events)
            yield {"runtime": runtime, BOUNDS: bounds}

    app = FastAPI(
        title="Log producer",
        description=f"Writes log events to the Kafka of {settings.region}.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    describe(app)
    app.include_router(docs_router(lambda: app))
    app.add_middleware(HeadAsGet)
    if settings.security == "on":
        # It asks for no keys: a gateway does, and brings the events to the internal listener.
        app.include_router(_closed_router())
    else:
        app.add_middleware(
            Ingest,
            protocols=PROTOCOLS,
            sink_of=lambda scope: scope["state"]["runtime"].sink,
            gate=gate,
            turns=turns,
        )
    app.include_router(public_router(settings, _readiness_of, lambda _: metrics.registry))
    return app


def _closed_router() -> APIRouter:
    router = APIRouter(include_in_schema=False)

    @router.post(ONE)
    @router.post(BATCH)
    async def closed() -> None:
        raise RefusedError(HTTPStatus.FORBIDDEN, _CLOSED)

    return router


def create_internal_app() -> FastAPI:
    """Build what the producer answers to the fleet alone; it lives on the state of the other one."""
    router = APIRouter()

    @router.post(handoff.PATH)
    async def post_records(request: Request) -> Response:
        """Take a gateway's events, and answer with one outcome for each."""
        here = runtime(request)
        gate, turns = here.gate, here.turns
        gate.ask(handoff.PATH)
        raw = await read_body(Head(request.scope), request.receive, handoff.MAX_BODY_BYTES, turns)
        gate.enter(handoff.PATH, size := len(raw))
        try:
            body, traceparents = handoff.split_traceparents(raw, here.max_events)
            events = await turns.run(handoff.decode_events(body))
            del raw, body
            said = request.headers.get(wanted.HEADER)
            regions = None if said is None else wanted.read(said, len(events))
            outcomes = await here.sink.publish(events, traceparents, regions)
            return Response(handoff.encode_outcomes(outcomes), media_type="application/json")
        except handoff.TooManyEventsError as exc:
            advice = "lower GATEWAY_REQUEST_MAX_EVENTS, or raise PRODUCER_HANDOFF_MAX_EVENTS"
            raise PayloadTooLargeError(f"{exc}; {advice}") from exc
        except handoff.HandoffError as exc:
            raise BadRequestError(str(exc)) from exc
        finally:
            gate.leave(handoff.PATH, size)

    return internal_app(
        "Log producer, internal", _readiness_of, lambda request: runtime(request).metrics.registry, router
    )


def _readiness_of(request: Request) -> Readiness:
    return runtime(request).connection.readiness()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
