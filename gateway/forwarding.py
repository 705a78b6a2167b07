"""
Requests to a region's producer and to its consumer. The only module that knows httpx.

Both are found by looking their region up in the settings; nothing a client sends becomes part of a URL.
"""

import asyncio

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Final

import httpx

from gateway.errors import (
    ConnectionLostError,
    RegionContractError,
    RegionError,
    RegionTimeoutError,
    RegionUnavailableError,
    RegionUnreachableError,
)
from gateway.settings import GatewaySettings
from shared import handoff, replication
from shared.log_api import Outcome
from shared.replication import RegionReport

Transport = httpx.AsyncBaseTransport

# Shorter than the idle time after which a producer closes a connection: a request must not meet a closing one.
IDLE_CONNECTION_S: Final = 2.0
_HEADERS: Final = {"Content-Type": "application/x-ndjson"}
_DETAIL_CHARS: Final = 200


class ProducerClient:
    """
    One region's producer.

    Args:
        region: Its region.
        client: Its base URL is the producer's.
        attempt_timeout_s: One hand-off, from connecting to the last byte of the answer.
        check_timeout_s: The same for one readiness check.
    """

    def __init__(
        self, region: str, client: httpx.AsyncClient, *, attempt_timeout_s: float, check_timeout_s: float
    ) -> None:
        self.region = region
        self._client = client
        self._attempt_timeout_s = attempt_timeout_s
        self.check_timeout_s = check_timeout_s

    async def send(self, events: Sequence[bytes]) -> Sequence[Outcome]:
        """
        Hand encoded events over; return one outcome an event, in order.

        Raises:
            RegionError: There is no outcome; the events may or may not have been written.
        """
        body = handoff.join_encoded(events)
        response = await self._request("POST", handoff.PATH, self._attempt_timeout_s, body)
        if response.status_code != HTTPStatus.OK:
            raise RegionUnavailableError(_describe(response))
        try:
            return handoff.decode_outcomes(response.content, self.region, len(events))
        except handoff.HandoffError as exc:
            raise RegionContractError(f"answer out of contract: {str(exc)[:_DETAIL_CHARS]}") from exc

    async def check(self) -> None:
        """
        Ask whether the region can acknowledge events.

        Raises:
            RegionError: It cannot, or does not say.
        """
        response = await self._request("GET", "/ready", self.check_timeout_s)
        if response.status_code != HTTPStatus.OK:
            raise RegionUnavailableError(_describe(response))

    async def _request(self, method: str, path: str, timeout_s: float, body: bytes | None = None) -> httpx.Response:
        return await _request(self._client, method, path, timeout_s, body)


class ConsumerClient:
    """
    One region's consumer, as far as the gateway asks it: about replication.

    Args:
        region: Its region.
        client: Its base URL is the consumer's.
        timeout_s: One question, from connecting to the last byte of the answer.
    """

    def __init__(self, region: str, client: httpx.AsyncClient, *, timeout_s: float) -> None:
        self.region = region
        self._client = client
        self._timeout_s = timeout_s

    async def report(self) -> RegionReport:
        """
        Ask what the region's Kafka shows about replication.

        Raises:
            RegionError: It does not say.
        """
        response = await _request(self._client, "GET", replication.PATH, self._timeout_s)
        if response.status_code != HTTPStatus.OK:
            raise RegionUnavailableError(_describe(response, "consumer"))
        try:
            report = RegionReport.decode(response.content)
        except replication.ReportError as exc:
            raise RegionContractError(f"answer out of contract: {str(exc)[:_DETAIL_CHARS]}") from exc
        if report.region != self.region:
            raise RegionContractError(f"it is the consumer of {report.region}")
        return report


async def _request(
    client: httpx.AsyncClient, method: str, path: str, timeout_s: float, body: bytes | None = None
) -> httpx.Response:
    try:
        # httpx limits each step by itself; an answer that trickles in would outlive all of its limits.
        async with asyncio.timeout(timeout_s):
            return await client.request(method, path, content=body, headers=_HEADERS if body else None)
    except (TimeoutError, httpx.TimeoutException) as exc:
        raise RegionTimeoutError(f"no answer within {timeout_s:g} s") from exc
    except httpx.ConnectError as exc:
        raise RegionUnreachableError(f"no connection: {exc}") from exc
    except httpx.TransportError as exc:
        raise ConnectionLostError(f"connection lost: {str(exc) or type(exc).__name__}") from exc
    except httpx.HTTPError as exc:
        raise RegionError(str(exc)) from exc


@asynccontextmanager
async def open_producer(
    region: str, settings: GatewaySettings, transport: Transport | None = None
) -> AsyncIterator[ProducerClient]:
    """
    Open the client of `region`'s producer and close it at the end.

    Args:
        region: A key of `settings.regions`.
        settings: Timeouts, concurrency and the producer's URL.
        transport: Takes the network's place when given.
    """
    attempt_timeout_s = settings.attempt_timeout_ms / 1000
    check_timeout_s = settings.health_timeout_ms / 1000
    # One connection more than requests under way. That is what is kept; there is no upper limit, because httpcore forgets to
    # free the place of a request that was given up at the wrong moment (encode/httpcore#1093): with a limit, a gateway that
    # was short of time for a while would never reach the region again. Requests under way are limited by who sends them.
    connections = settings.upstream_concurrency + 1
    async with httpx.AsyncClient(
        base_url=str(settings.regions[region]),
        transport=transport,
        timeout=httpx.Timeout(attempt_timeout_s, connect=min(attempt_timeout_s, check_timeout_s)),
        limits=httpx.Limits(
            max_connections=None, max_keepalive_connections=connections, keepalive_expiry=IDLE_CONNECTION_S
        ),
        # A proxy or credentials from the environment have no business between two services of one fleet.
        trust_env=False,
    ) as client:
        yield ProducerClient(region, client, attempt_timeout_s=attempt_timeout_s, check_timeout_s=check_timeout_s)


@asynccontextmanager
async def open_consumer(
    region: str, settings: GatewaySettings, transport: Transport | None = None
) -> AsyncIterator[ConsumerClient]:
    """
    Open the client of `region`'s consumer and close it at the end.

    Args:
        region: A key of `settings.consumers`.
        settings: Timeout and the consumer's URL.
        transport: Takes the network's place when given.
    """
    timeout_s = settings.health_timeout_ms / 1000
    async with httpx.AsyncClient(
        base_url=str(settings.consumers[region]),
        transport=transport,
        timeout=timeout_s,
        limits=httpx.Limits(max_connections=1, keepalive_expiry=IDLE_CONNECTION_S),
        trust_env=False,
    ) as client:
        yield ConsumerClient(region, client, timeout_s=timeout_s)


def _describe(response: httpx.Response, who: str = "producer") -> str:
    return f"{who} answered {response.status_code}: {response.text[:_DETAIL_CHARS]}"
