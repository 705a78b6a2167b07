"""
HTTP from one part of the fleet to another: httpx's interface over aiohttp's connections.

A request may be cancelled at any moment: by a timeout, by its caller, by the end of the process. Its socket is then closed,
and its place in the connection pool free. `integration-tests/test_http_client.py` holds that for every client of the fleet.
httpx's own connections do not promise it (decision 17), so no other module makes any. Tests that talk to an application
without a network may still use them, because nothing is cancelled there.
"""

import io
import ssl

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import lru_cache
from types import TracebackType
from typing import Final, Self

import aiohttp
import httpx

from yarl import URL

# Headers that aiohttp would add; no service of the fleet needs them. Those that a caller sets are sent.
_NOT_BY_ITSELF: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")
_IDLE_S: Final = 2.0
_WRITTEN_AT_ONCE: Final = 1024 * 1024


class PooledTransport(httpx.AsyncBaseTransport):
    """
    Connections that are kept for the next request. To be made inside a running event loop.

    An answer is read to its end before it is returned, so a caller cannot forget to give its connection back. Between two
    services of one fleet, a proxy or credentials from the environment would be wrong: none is used.

    Args:
        connections: Most at the same time, further requests wait; None: no limit.
        idle_s: How long an idle one is kept. Shorter than the other end keeps it, or a request meets a closing connection.
        tls: For addresses that begin with https; None: the authorities of the machine are trusted.
    """

    def __init__(
        self, connections: int | None = None, idle_s: float = _IDLE_S, tls: ssl.SSLContext | None = None
    ) -> None:
        # Names are looked up anew for each connection: a service that was started again may have another address.
        self._connector = aiohttp.TCPConnector(
            limit=connections or 0, keepalive_timeout=idle_s, use_dns_cache=False, ssl=tls or True
        )
        self._session = aiohttp.ClientSession(
            connector=self._connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_BY_ITSELF,
            trust_env=False,
        )

    @property
    def in_use(self) -> int:
        """How many connections requests have now."""
        return len(self._connector._acquired)  # noqa: SLF001 - not told by other means

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """
        Send a request and read its answer.

        Raises:
            httpx.TransportError: There is none.
        """
        body = await request.aread()
        headers = [item for item in request.headers.multi_items() if item[0] != "transfer-encoding"]
        limits = request.extensions.get("timeout") or {}
        timeout = _timeout(*(limits.get(step) for step in ("pool", "connect", "write", "read")))
        url = URL(str(request.url), encoded=True)
        try:
            async with self._session.request(
                request.method, url, data=_payload(body), headers=headers, allow_redirects=False, timeout=timeout
            ) as answer:
                content = await answer.read()
                return httpx.Response(answer.status, headers=answer.raw_headers, content=content, request=request)
        except (aiohttp.ClientError, OSError) as exc:
            raise _translated(exc, request) from exc

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        await self.aclose()


class Streams:
    """
    Answers that are passed on while they come. To be made inside a running event loop.

    Args:
        connections: Most at the same time, further requests wait.
        connect_s: How long to wait for a connection.
        silence_s: How long an answer may pause.
        tls: For addresses that begin with https; None: the authorities of the machine are trusted.
    """

    def __init__(self, connections: int, connect_s: float, silence_s: float, tls: ssl.SSLContext | None = None) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections, keepalive_timeout=_IDLE_S, use_dns_cache=False, ssl=tls or True
            ),
            timeout=aiohttp.ClientTimeout(total=None, connect=connect_s, sock_connect=connect_s, sock_read=silence_s),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_NOT_BY_ITSELF,
            trust_env=False,
        )

    @asynccontextmanager
    async def get(self, url: str, headers: Mapping[str, str]) -> AsyncIterator["StreamedAnswer"]:
        """
        Ask, and give the answer as soon as its headers are there. Its connection is closed unless it is read to its end.

        Raises:
            httpx.TransportError: There is none, or it breaks off.
        """
        request = httpx.Request("GET", url)
        try:
            async with self._session.get(
                URL(url, encoded=True), headers=dict(headers), allow_redirects=False
            ) as answer:
                yield StreamedAnswer(answer)
        except (aiohttp.ClientError, OSError) as exc:
            raise _translated(exc, request) from exc

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()


class StreamedAnswer:
    """
    An answer whose body may still be under way.

    Attributes:
        status: Of HTTP.
        headers: Names in lower case, and values.
    """

    def __init__(self, answer: aiohttp.ClientResponse) -> None:
        self.status = answer.status
        self.headers = [(name.lower(), value) for name, value in answer.raw_headers]
        self._answer = answer

    def pieces(self) -> AsyncIterator[bytes]:
        """Return the body as it comes."""
        return self._answer.content.iter_any()


def http_client(
    timeout_s: float,
    connections: int | None = None,
    base_url: str = "",
    transport: httpx.AsyncBaseTransport | None = None,
    tls: ssl.SSLContext | None = None,
) -> httpx.AsyncClient:
    """
    Make a client for what calls the fleet: `httpx.AsyncClient`, with connections that are never lost.

    Args:
        timeout_s: Of each step.
        connections: Most at the same time, further requests wait; None: no limit.
        base_url: What paths are below.
        transport: Replaces the network.
        tls: For addresses that begin with https; None: the authorities of the machine are trusted.
    """
    network = transport or PooledTransport(connections, tls=tls)
    return httpx.AsyncClient(transport=network, base_url=base_url, timeout=timeout_s, trust_env=False)


def _payload(body: bytes) -> bytes | io.BytesIO | None:
    # A large body is written piece by piece, so that other requests go on meanwhile.
    return io.BytesIO(body) if len(body) > _WRITTEN_AT_ONCE else body or None


@lru_cache(maxsize=64)
def _timeout(
    pool: float | None, connect: float | None, write: float | None, read: float | None
) -> aiohttp.ClientTimeout:
    """Translate httpx's limits. Their sum bounds the whole, because a body that the server does not read has no limit."""
    steps = [pool, connect, write, read]
    return aiohttp.ClientTimeout(
        total=None if None in steps else sum(step or 0.0 for step in steps),
        connect=None if pool is None or connect is None else pool + connect,
        sock_connect=connect,
        sock_read=read,
    )


def _translated(exc: Exception, request: httpx.Request) -> httpx.TransportError:
    match exc:
        case aiohttp.ConnectionTimeoutError():
            return httpx.ConnectTimeout(str(exc), request=request)
        case TimeoutError():
            return httpx.ReadTimeout(str(exc), request=request)
        case aiohttp.ClientConnectorError():
            return httpx.ConnectError(str(exc.os_error), request=request)
        case aiohttp.ServerDisconnectedError() | aiohttp.ClientPayloadError() | aiohttp.ClientResponseError():
            return httpx.RemoteProtocolError(str(exc), request=request)
        case aiohttp.InvalidURL():
            return httpx.UnsupportedProtocol(f"no URL: {exc}", request=request)
        case _:
            return httpx.ReadError(str(exc) or type(exc).__name__, request=request)
