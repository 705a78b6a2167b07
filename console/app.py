"""The console's wiring: settings in, application out. No logic."""

import asyncio

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.routing import APIRoute
from starlette.types import ASGIApp

from console.access import needs
from console.api import logs_router
from console.audited import AuditReads
from console.connections import WAIT_S
from console.counted import Counted
from console.gateways import ForGateways
from console.internal import Consumers, Transport
from console.limits import Budget, Places
from console.lives import Lives
from console.login import Login
from console.loki.api import loki_router
from console.metrics import ConsoleMetrics
from console.pages.pages import add_pages
from console.past_api import past_router
from console.ports import Store
from console.runtime import Runtime, runtime_of, system_us
from console.settings import ConsoleSettings
from console.store import PostgresStore
from console.tail.api import tail_router
from console.tail.fanouts import FanOuts
from console.tail.ports import Table
from console.tail.table import PostgresTable
from console.trace_api import trace_router
from console.values import KnownValues
from console.views import LOGS
from console.watch import StoreWatch
from shared.ingest.docs import docs_router
from shared.ingest.key_door import KeyDoor
from shared.ingest.openapi import write
from shared.ingest.reading_openapi import reading_api
from shared.process import problems
from shared.process.audit_acts import Acts
from shared.process.bounds import BOUNDS, Bounds
from shared.process.head import HeadAsGet
from shared.process.metrics import new_registry
from shared.process.probes import Readiness, internal_app, public_router
from shared.process.server import ENDING

DESCRIPTION: Final = """
Finds stored events.

A search answers within about two seconds with what it found and how far it looked; `next` goes on from there. Errors are
`application/problem+json`; where a retry can help they carry `Retry-After`.
"""


def create_app(  # noqa: PLR0915 - wiring is a list
    settings: ConsoleSettings,
    *,
    store: Store | None = None,
    table: Table | None = None,
    wall_us: Callable[[], int] = system_us,
    transport: Transport | None = None,
) -> FastAPI:
    """
    Build what the console answers to readers. While PostgreSQL is away it starts, and answers with 503.

    Args:
        settings: Its configuration.
        store: Replaces PostgreSQL for searches if given.
        table: Replaces it for tails.
        wall_us: Microseconds since 1970.
        transport: Replaces the network between console and consumers if given.
    """
    metrics = ConsoleMetrics(new_registry())
    metrics.url.labels(settings.for_people).set(1)

    def now() -> float:
        return wall_us() / 1_000_000

    audit = settings.open_audit("console", metrics.audit, now)
    acts = Acts(audit)
    keys = settings.open_keys(acts.keys_read)
    if keys is not None:
        metrics.keys_current.set_function(lambda: float(keys.problem is None))
    bounds = Bounds(on_cut=lambda why: metrics.cut[why].inc())
    bounds.on_stranger = acts.connection_refused
    metrics.bytes_held.set_function(lambda: bounds.held_bytes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(acts.written(app.version, keys))
            opened = store
            if opened is None:
                opened = await stack.enter_async_context(PostgresStore(settings.store, settings.connections))
            addresses = {region: [str(url) for url in urls] for region, urls in settings.consumers.items()}
            consumers = await stack.enter_async_context(Consumers(addresses, transport, settings.to_fleet))
            followed = table
            if followed is None:
                followed = await stack.enter_async_context(PostgresTable(settings.store))
            fan_outs = await stack.enter_async_context(FanOuts(followed))
            ending = asyncio.Event()
            stack.push_async_callback(_cancel, asyncio.create_task(_end_with(ending, fan_outs)))
            if keys is not None:
                stack.push_async_callback(_cancel, asyncio.create_task(keys.run()))
            watch = StoreWatch(opened, metrics)
            watching = asyncio.create_task(watch.run())
            stack.push_async_callback(_cancel, watching)
            runtime = Runtime(
                settings=settings,
                store=opened,
                metrics=metrics,
                watch=watch,
                searches=Places("searches", settings.searches_a_caller, wait_s=WAIT_S),
                exports=Places("exports", settings.exports_a_caller, settings.exports),
                budget=Budget(settings.query_seconds_a_minute),
                values=KnownValues(),
                lives=Lives(consumers),
                table=followed,
                fan_outs=fan_outs,
                tails=Places("tails", settings.tails_a_caller, settings.tails),
                wall_us=wall_us,
                keys=keys,
                audit=audit,
            )
            yield {"runtime": runtime, BOUNDS: bounds, ENDING: ending}

    app = FastAPI(
        title="Log console",
        description=DESCRIPTION,
        lifespan=lifespan,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
    )
    problems.install(app)
    app.include_router(trace_router())
    # Before what takes any name for that of an event.
    app.include_router(tail_router())
    app.include_router(logs_router())
    app.include_router(loki_router())
    app.include_router(public_router(settings, _readiness_of, lambda _: metrics.registry))
    write(app, reading_api())
    app.include_router(docs_router(lambda: app))
    metrics.show([route.path for route in app.routes if isinstance(route, APIRoute) and route.path.startswith(LOGS)])
    app.include_router(past_router(str(settings.prometheus), wall_us))
    if audit is not None:
        app.add_middleware(AuditReads, audit=audit)
    # Inside of what counts answers and gives them headers for browsers, refusals included.
    login = None
    if keys is not None:
        told = acts.counting(metrics.keys_refused)
        login = Login(lambda: keys.value, told, now)
        app.add_middleware(
            KeyDoor,
            keys=lambda: keys.value,
            needs=needs(),
            told=told,
            now=now,
            form=login.form,
            session_of=login.key_of,
            failures=login.failures,
        )
    add_pages(app, gateway_url=str(settings.gateway), tls=settings.to_fleet, login=login)
    app.add_middleware(Counted, metrics=metrics)
    app.add_middleware(HeadAsGet)
    return app


def create_internal_app(public: ASGIApp) -> ASGIApp:
    """
    Build what the console answers to the fleet alone; it lives on the state of the other one.

    Args:
        public: That one, which gateways ask here for their clients.
    """
    probes = internal_app("Log console, internal", _readiness_of, lambda request: runtime_of(request).metrics.registry)
    return ForGateways(probes, public)


def _readiness_of(request: Request) -> Readiness:
    runtime = runtime_of(request)
    state = runtime.watch.readiness()
    problems = [file.problem for file in (runtime.keys, runtime.audit) if file and file.problem]
    return replace(state, degraded=[*state.degraded, *problems]) if problems else state


async def _end_with(ending: asyncio.Event, fan_outs: FanOuts) -> None:
    await ending.wait()
    fan_outs.end()


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
