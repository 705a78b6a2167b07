"""A gateway with producers that behave as a test says. Everything but the network and Kafka is real."""

import asyncio

from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import httpx

from asgi_lifespan import LifespanManager

from gateway.app import create_app, create_internal_app
from gateway.protocols.table import ROUTES, Route
from gateway.settings import GatewaySettings
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_received
from shared.event.outcome import Accepted, Outcome, Refused
from shared.ingest.turns import at_once
from shared.wire import handoff, wanted
from testbed.doors import Doors

EVENT = {"serviceName": "checkout", "level": "INFO", "message": "Hello", "correlationId": "trace-1"}
AWAY = Refused(503, "kafka is away", retryable=True)
NEVER_CHECKED: dict[str, Any] = {"health_interval_ms": 3_600_000}


class FakeProducer(httpx.AsyncBaseTransport):
    """
    A region's producer.

    Attributes:
        written: Events that its Kafka would hold, in order, also those whose answer was lost.
        requests: Bodies of all hand-offs that arrived.
        traceparents: Traceparent of each event that was answered.
        wanted: What each hand-off said of the regions that its events were meant for.
        behaviour: Handles a hand-off. The default is `answer`.
        outcome: The outcome of each event.
        ready: Status of the readiness check, None while the producer does not listen.
    """

    def __init__(self, region: str) -> None:
        self.region = region
        self.written: list[ReceivedEvent] = []
        self.requests: list[bytes] = []
        self.traceparents: list[bytes | None] = []
        self.wanted: list[str | None] = []
        self.behaviour: Callable[[bytes], Any] = self.answer
        self.outcome: Callable[[ReceivedEvent], Outcome] = lambda _: Accepted(self.region)
        self.ready: int | None = 200

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path == "/ready":
            if self.ready is None:
                raise httpx.ConnectError("refused")
            return httpx.Response(self.ready)
        assert (request.method, request.url.path) == ("POST", handoff.PATH)
        body = await request.aread()
        self.requests.append(body)
        self.wanted.append(request.headers.get(wanted.HEADER))
        response = await self.behaviour(body)
        assert isinstance(response, httpx.Response)
        return response

    def take_only(self, messages: Collection[str]) -> None:
        """Be away for all events but those with one of these messages."""
        self.outcome = lambda event: Accepted(self.region) if event.message in messages else AWAY

    async def answer(self, body: bytes) -> httpx.Response:
        """Answer as a healthy producer does."""
        body, traceparents = handoff.split_traceparents(body)
        events = [decode_received(event.encoded) for event in at_once(handoff.decode_events(body))]
        self.traceparents += traceparents or [None] * len(events)
        outcomes = [self.outcome(event) for event in events]
        self.written += [e for e, outcome in zip(events, outcomes, strict=True) if isinstance(outcome, Accepted)]
        return httpx.Response(200, content=handoff.encode_outcomes(outcomes))

    def hold(self) -> asyncio.Event:
        """Answer hand-offs as usual, but not before the event that is returned is set."""
        gate = asyncio.Event()

        async def wait(body: bytes) -> httpx.Response:
            await gate.wait()
            return await self.answer(body)

        self.behaviour = wait
        return gate

    async def refuse_connections(self, _: bytes) -> httpx.Response:
        """Refuse the connection."""
        raise httpx.ConnectError("refused")

    async def stay_silent(self, _: bytes) -> httpx.Response:
        """Take the request and never answer."""
        await asyncio.Event().wait()
        raise AssertionError

    async def break_off(self, body: bytes) -> httpx.Response:
        """Write the events, then die before the answer."""
        await self.answer(body)
        raise httpx.ReadError("reset by peer")

    async def fail(self, _: bytes) -> httpx.Response:
        """Answer with an error of the service."""
        return httpx.Response(500, text="boom")

    async def talk_nonsense(self, _: bytes) -> httpx.Response:
        """Answer 200 with a body that is no hand-off's answer."""
        return httpx.Response(200, text="<html>welcome</html>")

    def die(self) -> None:
        """Stop listening."""
        self.behaviour = self.refuse_connections
        self.ready = None

    def lose_kafka(self) -> None:
        """Answer each event, and the check, with 503."""
        self.outcome = lambda _: AWAY
        self.ready = 503

    def recover(self) -> None:
        """Be healthy again."""
        self.behaviour = self.answer
        self.outcome = lambda _: Accepted(self.region)
        self.ready = 200


def producers(*regions: str) -> dict[str, FakeProducer]:
    return {region: FakeProducer(region) for region in regions or ("region-a", "region-b")}


def settings(regions: Mapping[str, FakeProducer], **changes: Any) -> GatewaySettings:
    """Settings with short waits, for tests."""
    urls = {region: f"http://{region}.test" for region in regions}
    quick: dict[str, Any] = {"linger_ms": 1, "backoff_base_ms": 1, "backoff_max_ms": 5}
    # Nothing listens there: a test that runs beside a fleet must not read from its console.
    quick["console"] = "http://127.0.0.1:9"
    return GatewaySettings(regions=urls, **quick | changes)


@asynccontextmanager
async def gateway(
    regions: Mapping[str, FakeProducer], *, routes: Sequence[Route] = ROUTES, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway in front of these producers, as a client that is connected to it."""
    app = create_app(
        settings(regions, **changes),
        transports=regions,
        clock=lambda: asyncio.get_running_loop().time(),
        routes=routes,
    )
    async with LifespanManager(Doors(app, create_internal_app())) as manager:
        transport = httpx.ASGITransport(manager.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            yield client


async def metric(client: httpx.AsyncClient, sample: str) -> float:
    """Read one sample, written as in Prometheus' text format."""
    text = (await client.get("/metrics")).text
    values = [line.rpartition(" ")[2] for line in text.splitlines() if line.rpartition(" ")[0] == sample]
    return float(values[0]) if values else 0.0
