"""The proxy does what its plan says, and no more: bytes and headers come through as they were."""

import asyncio
import gzip

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
import pytest

from aiohttp import web

from testbed.proxy import Act, Proxy, always, every, first


class Upstream:
    """A server that keeps what it was sent."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []
        self.answers = asyncio.Event()
        self.answers.set()

    async def handle(self, request: web.BaseRequest) -> web.Response:
        await self.answers.wait()
        body = await request.content.read()
        self.requests.append((request.method, request.path_qs, dict(request.headers), body))
        return web.Response(status=204 if body else 200, headers={"X-Elastic-Product": "Elasticsearch"})

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        runner = web.ServerRunner(web.Server(self.handle, auto_decompress=False))
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()


@pytest.fixture
def upstream() -> Upstream:
    return Upstream()


@pytest.fixture
async def proxy(upstream: Upstream) -> AsyncIterator[Proxy]:
    async with upstream.running() as url, Proxy(url).running() as proxy:
        yield proxy


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as client:
        yield client


async def test_what_passes_is_what_was_sent(upstream: Upstream, proxy: Proxy, client: aiohttp.ClientSession) -> None:
    body = gzip.compress(b"a\0b")
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/x-ndjson", "X-Scope-OrgID": "shop"}

    async with client.put(f"{proxy.url}/a%2Fb/_bulk?refresh=x%20y", data=body, headers=headers) as answer:
        status, product = answer.status, answer.headers["X-Elastic-Product"]

    [(method, path, seen, received)] = upstream.requests
    assert (status, product) == (204, "Elasticsearch")
    assert (method, path, received) == ("PUT", "/a%2Fb/_bulk?refresh=x%20y", body)
    assert headers.items() <= seen.items()


async def test_a_body_in_chunks_has_the_digest_of_the_same_body_in_one(
    proxy: Proxy, client: aiohttp.ClientSession
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"one "
        yield b"two"

    for body in (chunks(), b"one two"):
        async with client.post(proxy.url, data=body) as answer:
            assert answer.status == 204

    assert proxy.again() == 1


async def test_a_request_without_a_body_passes_and_is_not_counted(
    upstream: Upstream, proxy: Proxy, client: aiohttp.ClientSession
) -> None:
    proxy.plan = always(Act.RESET)

    async with client.get(proxy.url) as answer:
        assert answer.status == 200

    assert len(upstream.requests) == 1
    assert proxy.seen == []


@pytest.mark.parametrize(("act", "reach"), [(Act.RESET, 1), (Act.SWALLOW, 2)])
async def test_a_client_whose_connection_is_reset_may_have_been_heard(
    upstream: Upstream, proxy: Proxy, client: aiohttp.ClientSession, act: Act, reach: int
) -> None:
    proxy.plan = first(1, act)

    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await client.post(proxy.url, data=b"log")
    async with client.post(proxy.url, data=b"log") as answer:
        assert answer.status == 204

    assert len(upstream.requests) == reach
    assert [request.act for request in proxy.seen] == [act, Act.PASS]
    assert (proxy.again(), proxy.never_stored()) == (1, 0)


async def test_a_client_may_see_the_end_of_its_connection_and_have_been_heard(
    upstream: Upstream, proxy: Proxy, client: aiohttp.ClientSession
) -> None:
    proxy.plan = always(Act.HANG_UP)

    with pytest.raises(aiohttp.ServerDisconnectedError):
        await client.post(proxy.url, data=b"log")

    assert len(upstream.requests) == 1
    assert proxy.never_stored() == 0


async def test_what_is_refused_does_not_reach_the_server(
    upstream: Upstream, proxy: Proxy, client: aiohttp.ClientSession
) -> None:
    proxy.plan = first(2, Act.REFUSE)
    answers = []

    for body in (b"1", b"2", b"3"):
        async with client.post(proxy.url, data=body) as answer:
            answers.append((answer.status, answer.headers.get("Retry-After")))

    assert answers == [(503, "1"), (503, "1"), (204, None)]
    assert [body for *_, body in upstream.requests] == [b"3"]
    assert (proxy.came(Act.REFUSE), proxy.never_stored()) == (2, 2)


async def test_an_answer_that_is_late_is_the_servers(
    upstream: Upstream, proxy: Proxy, client: aiohttp.ClientSession
) -> None:
    proxy.plan, proxy.delay_s = always(Act.DELAY), 0.01

    async with client.post(proxy.url, data=b"log") as answer:
        assert answer.status == 204

    assert len(upstream.requests) == 1


async def test_a_server_that_cannot_be_reached_is_a_reset_for_the_client(
    proxy: Proxy, client: aiohttp.ClientSession
) -> None:
    proxy.upstream = "http://127.0.0.1:1"

    with pytest.raises(aiohttp.ClientOSError, match="reset by peer"):
        await client.post(proxy.url, data=b"log")

    assert [request.status for request in proxy.seen] == [None]


def test_plans_are_told_by_the_number_of_the_request() -> None:
    alternating = every(3, Act.RESET, Act.SWALLOW)
    found = [alternating(number) for number in range(8)]

    assert found == [
        *(Act.RESET, Act.PASS, Act.PASS),
        *(Act.SWALLOW, Act.PASS, Act.PASS),
        *(Act.RESET, Act.PASS),
    ]
