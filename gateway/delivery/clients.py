"""
Requests to a region's producer and to its consumers. The only module of the gateway that knows httpx.

The settings name the URL of each region. Nothing that a client sends becomes part of a URL.
"""

import asyncio
import time

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import httpx

from gateway.delivery.errors import (
    ConnectionLostError,
    RegionContractError,
    RegionError,
    RegionTimeoutError,
    RegionUnavailableError,
    RegionUnreachableError,
)
from gateway.settings import GatewaySettings
from shared.event.outcome import Outcome
from shared.process.http_client import PooledTransport
from shared.wire import handoff, internal, replication
from shared.wire.replication import RegionReport
from shared.wire.wanted import HEADER, Stretch, write

Transport = httpx.AsyncBaseTransport

# Shorter than the producer's own idle time: a request must not meet a connection that the producer is closing.
IDLE_CONNECTION_S: Final = 2.0
_HEADERS: Final = {"Content-Type": "application/x-ndjson"}
_DETAIL_CHARS: Final = 200


class Service:
    """
    A service of the fleet at the other end of a transport.

    It uses httpx's transport without `httpx.AsyncClient`. The client handles cookies, redirects, credentials and the
    environment, which no service of this fleet uses. By a profile that was an eighth of a gateway's work on single posts.

    Args:
        base_url: URL of the service.
        transport: Connects to it.
        timeout: Limit of each step of a request.
    """

    def __init__(self, base_url: str | httpx.URL, transport: Transport, timeout: httpx.Timeout) -> None:
        self._base_url = httpx.URL(base_url)
        self._transport = transport
        self._timeout = timeout
        self._extensions = {"timeout": timeout.as_dict()}
        self._urls: dict[str, httpx.URL] = {}

    async def request(
        self, method: str, path: str, within_s: float, body: bytes | None = None, more: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """
        Send a request, read its answer to the end and return it.

        Args:
            method: The HTTP method.
            path: Path below the base URL. Each path is cached, so callers use a fixed few.
            within_s: Limit in seconds, from connecting to the last byte of the answer.
            body: NDJSON, if any.
            more: Further headers.

        Raises:
            RegionError: There is no complete answer.
        """
        headers = ({**_HEADERS, **more} if more else _HEADERS) if body else more
        request = httpx.Request(method, self._url(path), content=body, headers=headers, extensions=self._extensions)
        try:
            # A transport limits each step alone. An answer that trickles in passes all these limits and never ends.
            async with asyncio.timeout(within_s):
                response = await self._transport.handle_async_request(request)
                try:
                    await response.aread()
                finally:
                    await response.aclose()
                return response
        except (TimeoutError, httpx.TimeoutException) as exc:
            raise RegionTimeoutError(f"no answer within {within_s:g} s") from exc
        except httpx.ConnectError as exc:
            raise RegionUnreachableError(f"no connection: {exc}") from exc
        except httpx.TransportError as exc:
            raise ConnectionLostError(f"connection lost: {str(exc) or type(exc).__name__}") from exc
        except httpx.HTTPError as exc:
            raise RegionError(str(exc)) from exc

    def at_port(self, port: int) -> "Service":
        """Return the same service at another port."""
        return Service(self._base_url.copy_with(port=port), self._transport, self._timeout)

    def _url(self, path: str) -> httpx.URL:
        url = self._urls.get(path)
        if url is None:
            base_path = self._base_url.raw_path.rstrip(b"/")
            url = self._urls[path] = self._base_url.copy_with(raw_path=base_path + path.encode())
        return url


class InternalService:
    """
    A service's internal listener, which is found from whichever of its addresses the settings name.

    An answer that names the internal port comes from the public listener, which served nothing, so the request goes there. A
    service of an earlier release names none, and serves the request itself.

    Args:
        named: The service at the address that the settings name.
    """

    def __init__(self, named: Service) -> None:
        self._named = named
        self._found: Service | None = None

    async def request(
        self, method: str, path: str, within_s: float, body: bytes | None = None, more: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """Send a request and return its answer; see `Service`."""
        until = time.monotonic() + within_s
        if self._found is not None:
            try:
                return await self._found.request(method, path, within_s, body, more)
            except RegionUnreachableError:
                # It may have been started again, as an earlier release or with another port.
                self._found = None
                within_s = _left(until)
        response = await self._named.request(method, path, within_s, body, more)
        told = response.headers.get(internal.PORT_HEADER)
        if told is None or (port := internal.port_of(told)) is None:
            return response
        self._found = self._named.at_port(port)
        return await self._found.request(method, path, _left(until), body, more)


class ProducerClient:
    """
    One region's producer.

    Args:
        region: Its region.
        service: The producer.
        attempt_timeout_s: Limit of one hand-off, from connecting to the last byte of the answer.
        check_timeout_s: Limit of one readiness check, likewise.
    """

    def __init__(
        self, region: str, service: InternalService, *, attempt_timeout_s: float, check_timeout_s: float
    ) -> None:
        self.region = region
        self._service = service
        self._attempt_timeout_s = attempt_timeout_s
        self.check_timeout_s = check_timeout_s

    async def send(self, events: Sequence[bytes], wanted: Sequence[Stretch] = ()) -> Sequence[Outcome]:
        """
        Send encoded events and return one outcome an event, in order; see `gateway.delivery.lane.RegionClient`.

        Raises:
            RegionError: There is no outcome. The producer may or may not have written the events.
        """
        body = handoff.join_encoded(events)
        more = {HEADER: write(wanted)} if wanted else None
        response = await self._service.request("POST", handoff.PATH, self._attempt_timeout_s, body, more)
        if response.status_code != HTTPStatus.OK:
            raise RegionUnavailableError(*_described(response))
        try:
            return handoff.decode_outcomes(response.content, self.region, len(events))
        except handoff.HandoffError as exc:
            raise RegionContractError("answer out of contract", str(exc)[:_DETAIL_CHARS]) from exc

    async def check(self) -> None:
        """
        Ask whether the region can acknowledge events.

        Raises:
            RegionError: It cannot, or does not answer.
        """
        response = await self._service.request("GET", "/ready", self.check_timeout_s)
        if response.status_code != HTTPStatus.OK:
            raise RegionUnavailableError(*_described(response))


class ConsumerClient:
    """
    One of a region's consumers, which the gateway asks about replication.

    Args:
        region: Its region.
        address: Its address, for log lines.
        service: The consumer.
        timeout_s: Limit of one question, from connecting to the last byte of the answer.
    """

    def __init__(self, region: str, address: str, service: InternalService, *, timeout_s: float) -> None:
        self.region = region
        self.address = address
        self._service = service
        self._timeout_s = timeout_s

    async def report(self) -> RegionReport:
        """
        Ask what the region's Kafka shows about replication.

        Raises:
            RegionError: The consumer does not answer, or answers with an error.
        """
        response = await self._service.request("GET", replication.PATH, self._timeout_s)
        if response.status_code != HTTPStatus.OK:
            raise RegionUnavailableError(*_described(response, "consumer"))
        try:
            report = RegionReport.decode(response.content)
        except replication.ReportError as exc:
            raise RegionContractError("answer out of contract", str(exc)[:_DETAIL_CHARS]) from exc
        if report.region != self.region:
            raise RegionContractError(f"it is the consumer of {report.region}")
        return report


@asynccontextmanager
async def open_producer(
    region: str, settings: GatewaySettings, transport: Transport | None = None
) -> AsyncIterator[ProducerClient]:
    """
    Open the client of `region`'s producer and close it at the end.

    Args:
        region: A key of `settings.regions`.
        settings: Timeouts, concurrency and the producer's URL.
        transport: Replaces the network if given.
    """
    attempt_timeout_s = settings.attempt_timeout_ms / 1000
    check_timeout_s = settings.health_timeout_ms / 1000
    # One connection for each request in flight, and one for the checks.
    connections = settings.upstream_concurrency + 1
    timeout = httpx.Timeout(attempt_timeout_s, connect=min(attempt_timeout_s, check_timeout_s))
    async with transport or PooledTransport(connections, IDLE_CONNECTION_S, settings.to_fleet) as way:
        service = InternalService(Service(str(settings.regions[region]), way, timeout))
        yield ProducerClient(region, service, attempt_timeout_s=attempt_timeout_s, check_timeout_s=check_timeout_s)


@asynccontextmanager
async def open_consumer(
    region: str, address: str, settings: GatewaySettings, transport: Transport | None = None
) -> AsyncIterator[ConsumerClient]:
    """
    Open the client of one of `region`'s consumers and close it at the end.

    Args:
        region: A key of `settings.consumers`.
        address: One of its URLs.
        settings: The timeout.
        transport: Replaces the network if given.
    """
    timeout_s = settings.health_timeout_ms / 1000
    async with transport or PooledTransport(1, IDLE_CONNECTION_S, settings.to_fleet) as way:
        service = InternalService(Service(address, way, httpx.Timeout(timeout_s)))
        yield ConsumerClient(region, address, service, timeout_s=timeout_s)


def _left(until: float) -> float:
    return round(until - time.monotonic(), 3)


def _described(response: httpx.Response, who: str = "producer") -> tuple[str, str]:
    return f"{who} answered {response.status_code}", response.text[:_DETAIL_CHARS]
