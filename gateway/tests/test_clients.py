"""The client turns httpx's errors into the gateway's."""

import asyncio

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest

from gateway.delivery.clients import ProducerClient, open_producer
from gateway.delivery.errors import (
    ConnectionLostError,
    RegionContractError,
    RegionError,
    RegionTimeoutError,
    RegionUnavailableError,
    RegionUnreachableError,
)
from gateway.tests.fleet import producers, settings
from shared.event.outcome import Accepted, Refused

Handler = Callable[[httpx.Request], httpx.Response]


def raises(error: Exception) -> Handler:
    def handler(_: httpx.Request) -> httpx.Response:
        raise error

    return handler


def answers(status: int, body: bytes = b"") -> Handler:
    return lambda _: httpx.Response(status, content=body)


async def outcome_of(handler: Handler, events: list[bytes]) -> object:
    async with open_producer("region-a", settings(producers()), httpx.MockTransport(handler)) as producer:
        return await producer.send(events)


async def test_events_go_out_as_lines_and_come_back_as_outcomes() -> None:
    seen: list[httpx.Request] = []

    def handler(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=b'[null,[503,true,"away"]]')

    outcomes = await outcome_of(handler, [b"{1}", b"{2}"])

    assert outcomes == [Accepted("region-a"), Refused(503, "away", retryable=True)]
    assert str(seen[0].url) == "http://region-a.test/internal/records"
    assert seen[0].content == b"{1}\n{2}"
    assert seen[0].headers["content-type"] == "application/x-ndjson"


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (raises(httpx.ConnectError("refused")), RegionUnreachableError),
        (raises(httpx.ConnectTimeout("black hole")), RegionTimeoutError),
        (raises(httpx.ReadTimeout("silence")), RegionTimeoutError),
        (raises(httpx.WriteTimeout("full")), RegionTimeoutError),
        (raises(httpx.PoolTimeout("busy")), RegionTimeoutError),
        (raises(httpx.ReadError("reset")), ConnectionLostError),
        (raises(httpx.WriteError("")), ConnectionLostError),
        (raises(httpx.RemoteProtocolError("closed")), ConnectionLostError),
        (raises(httpx.DecodingError("bad gzip")), RegionError),
        (answers(500), RegionUnavailableError),
        (answers(503), RegionUnavailableError),
        (answers(404), RegionUnavailableError),
        (answers(302), RegionUnavailableError),
        (answers(200, b"<html>"), RegionContractError),
        (answers(200, b"[]"), RegionContractError),
        (answers(200, b"[null,null]"), RegionContractError),
        (answers(200, b'[[202,true,"x"]]'), RegionContractError),
    ],
)
async def test_every_failure_is_one_of_the_regions(handler: Handler, error: type[RegionError]) -> None:
    with pytest.raises(error) as caught:
        await outcome_of(handler, [b"{}"])

    assert type(caught.value) is error
    assert str(caught.value)


async def test_an_answer_that_trickles_in_does_not_outlive_the_attempt() -> None:
    """Each chunk resets httpx's own timeout. Only the limit of the whole request ends this."""

    async def trickle() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.005)

    def handler(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=trickle())

    quick = settings(producers(), attempt_timeout_ms=50)
    async with open_producer("region-a", quick, httpx.MockTransport(handler)) as producer:
        with pytest.raises(RegionTimeoutError, match=r"within 0\.05 s"):
            await producer.send([b"{}"])


@pytest.mark.parametrize(("status", "well"), [(200, True), (503, False), (500, False), (404, False)])
async def test_a_check_passes_on_200_only(status: int, *, well: bool) -> None:
    regions = producers()
    regions["region-a"].ready = status
    async with open_producer("region-a", settings(regions), regions["region-a"]) as producer:
        if well:
            await producer.check()
        else:
            with pytest.raises(RegionUnavailableError, match=str(status)):
                await producer.check()


@pytest.mark.real_time
async def test_a_refused_connection_is_seen_over_a_real_socket(unused_tcp_port: int) -> None:
    unreachable = settings(producers()).model_copy(
        update={"regions": {"region-a": httpx.URL(f"http://127.0.0.1:{unused_tcp_port}")}}
    )
    async with open_producer("region-a", unreachable) as producer:
        with pytest.raises(RegionUnreachableError):
            await producer.send([b"{}"])


class WellProducer(asyncio.Protocol):
    """Answers every request on one real connection with 200."""

    def __init__(self, connections: set[asyncio.Transport]) -> None:
        self._connections = connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._connections.add(transport)

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            self._transport.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")


@asynccontextmanager
async def a_producer_that_is_well() -> AsyncIterator[int]:
    """Start such a producer and yield its port."""
    connections: set[asyncio.Transport] = set()
    server = await asyncio.get_running_loop().create_server(lambda: WellProducer(connections), "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for connection in connections:
            connection.abort()
        await asyncio.sleep(0)  # the loop closes an aborted connection in its next iteration


@pytest.mark.real_time
async def test_attempts_given_up_at_any_moment_take_nothing_from_later_ones() -> None:
    """A timeout may end the HTTP client between any two of its steps. The region must stay reachable."""
    async with a_producer_that_is_well() as port:
        one = settings(producers()).model_copy(update={"regions": {"region-a": httpx.URL(f"http://127.0.0.1:{port}")}})
        async with open_producer("region-a", one) as producer:
            for steps in range(60):
                attempts = [asyncio.create_task(producer.check()) for _ in range(3)]
                for _ in range(steps):
                    await asyncio.sleep(0)
                for attempt in attempts:
                    attempt.cancel()
                await asyncio.gather(*attempts, return_exceptions=True)
            await producer.check()


class Producer(httpx.AsyncBaseTransport):
    """
    A producer at two ports, which may be of an earlier release.

    Attributes:
        internal_port: None: it serves hand-offs on its public port, as earlier releases do.
        served: Ports that hand-offs were served at.
        asked: Ports of all requests.
    """

    def __init__(self, internal_port: int | None = 8181) -> None:
        self.internal_port = internal_port
        self.served: list[int | None] = []
        self.asked: list[int | None] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        port = request.url.port
        self.asked.append(port)
        if port == 8081 and self.internal_port:
            status = 200 if request.url.path == "/ready" else 404
            return httpx.Response(status, headers={"internal-port": str(self.internal_port)})
        if port != (self.internal_port or 8081):
            raise httpx.ConnectError("refused")
        if request.url.path == "/ready":
            return httpx.Response(200)
        self.served.append(port)
        return httpx.Response(200, content=b"[null]")


@asynccontextmanager
async def named(port: int, there: Producer) -> AsyncIterator[ProducerClient]:
    quick = settings(producers()).model_copy(update={"regions": {"region-a": httpx.URL(f"http://producer:{port}")}})
    async with open_producer("region-a", quick, there) as client:
        yield client


@pytest.mark.parametrize("port", [8081, 8181])
async def test_hand_offs_go_to_the_internal_listener_whichever_address_the_settings_name(port: int) -> None:
    there = Producer()
    async with named(port, there) as client:
        for _ in range(3):
            assert await client.send([b"{}"]) == [Accepted("region-a")]
        await client.check()

    assert there.served == [8181] * 3
    assert there.asked == [8081] * (port == 8081) + [8181] * 4


async def test_a_check_finds_the_internal_listener_and_passes_only_if_that_answers() -> None:
    there = Producer()
    async with named(8081, there) as client:
        await client.check()
        assert there.asked == [8081, 8181]
        assert await client.send([b"{}"]) == [Accepted("region-a")]
        there.internal_port, there.asked = 8281, []
        await client.check()
        assert there.asked == [8181, 8081, 8281]


async def test_a_producer_of_an_earlier_release_gets_hand_offs_where_the_settings_say() -> None:
    there = Producer(None)
    async with named(8081, there) as client:
        await client.check()
        assert await client.send([b"{}"]) == [Accepted("region-a")]

    assert there.asked == [8081] * 2


async def test_a_producer_that_is_replaced_by_another_release_gets_the_next_hand_off() -> None:
    there = Producer(None)
    async with named(8081, there) as client:
        for release in (None, 8181, None, 8181, 8182, None):
            there.internal_port = release
            assert await client.send([b"{}"]) == [Accepted("region-a")]

    assert there.served == [8081, 8181, 8081, 8181, 8182, 8081]


@pytest.mark.parametrize("told", ["", "0", "-1", "65536", "8181x", "9" * 5000, "\u0661"])
async def test_a_port_that_can_be_none_is_passed_over(told: str) -> None:
    there = httpx.MockTransport(lambda _: httpx.Response(404, headers={b"internal-port": told.encode()}))
    async with open_producer("region-a", settings(producers()), there) as client:
        with pytest.raises(RegionUnavailableError, match="404"):
            await client.send([b"{}"])
