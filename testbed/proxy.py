"""
A proxy that does to a client what networks and overloaded servers do.

It stands between a client and a server, and decides for each request with a body what becomes of it (`Act`). Requests
without a body, such as the handshake of a client for Elasticsearch, pass. It keeps a digest of each body, so a test sees
which requests came again with the same bytes. To a secured fleet it speaks TLS, and adds the key.
"""

import asyncio
import hashlib
import socket
import ssl
import struct

from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Final

import aiohttp

from aiohttp import web
from multidict import CIMultiDict

from testbed.access import key_headers, tls

# Headers of one connection, which say nothing of the request. The proxy's client and server write their own.
_OF_A_CONNECTION: Final = frozenset(
    ("connection", "content-length", "expect", "host", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")
)
# For a close that the other side sees as a reset.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


class Act(Enum):
    """What becomes of a request."""

    PASS = "passes"
    DELAY = "passes, and its answer comes late"
    SWALLOW = "is answered by the server, and the client sees a reset instead"
    HANG_UP = "is answered by the server, and the client sees the end of the connection instead"
    RESET = "does not reach the server, and the client sees a reset"
    REFUSE = "does not reach the server, and is answered with 503 and Retry-After: 1"


# Decides what becomes of a request with a body, by its number, which counts from 0.
Plan = Callable[[int], Act]


def always(act: Act) -> Plan:
    """Do the same with every request."""
    return lambda _: act


def first(count: int, act: Act, then: Act = Act.PASS) -> Plan:
    """Do one thing with the first requests, and another with all others."""
    return lambda number: act if number < count else then


def every(step: int, *acts: Act) -> Plan:
    """Do one of the acts in turn with each `step`th request, and let the others pass."""
    return lambda number: acts[number // step % len(acts)] if number % step == 0 else Act.PASS


@dataclass(frozen=True)
class Seen:
    """
    A request with a body that came to the proxy.

    Attributes:
        path: Its path and query.
        digest: Of its body as sent, without the framing of chunks.
        act: What became of it.
        status: The server's answer; None if it did not reach the server.
    """

    path: str
    digest: str
    act: Act
    status: int | None


@dataclass
class Proxy:
    """
    A proxy, inside `running`.

    Attributes:
        upstream: Address of the server, without a path.
        plan: Decides what becomes of each request with a body.
        delay_s: How late an answer comes, for `Act.DELAY`, in seconds.
        seen: The requests with a body, in the order in which they were dealt with.
        url: Its own address.
    """

    upstream: str
    plan: Plan = lambda _: Act.PASS
    delay_s: float = 1.0
    seen: list[Seen] = field(default_factory=list)
    url: str = ""
    _count: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Proxy"]:
        """Serve inside the block."""
        async with aiohttp.ClientSession(
            # A connection of its own for each request: one that was kept may have been closed meanwhile.
            connector=aiohttp.TCPConnector(force_close=True, limit=0, ssl=self._tls()),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None),
        ) as session:
            server = web.Server(partial(self._handle, session), auto_decompress=False, access_log=None)
            runner = web.ServerRunner(server, shutdown_timeout=0)
            await runner.setup()
            try:
                site = web.TCPSite(runner, "127.0.0.1", 0)
                await site.start()
                host, port = runner.addresses[0][:2]
                self.url = f"http://{host}:{port}"
                yield self
            finally:
                await runner.cleanup()

    def _tls(self) -> ssl.SSLContext | bool:
        return (tls() if self.upstream.startswith("https:") else None) or True

    def came(self, *acts: Act) -> int:
        """Count the requests with which one of these was done."""
        return sum(request.act in acts for request in self.seen)

    def again(self) -> int:
        """Count the requests whose bytes had come before."""
        return sum(count - 1 for count in Counter(request.digest for request in self.seen).values())

    def never_stored(self, stored: Collection[int] = (200, 201, 202, 204)) -> int:
        """Count the bodies that no request has brought to the server with success."""
        reached = {request.digest for request in self.seen if request.status in stored}
        return len({request.digest for request in self.seen} - reached)

    async def _handle(self, session: aiohttp.ClientSession, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.content.read()
        if not body:
            return await self._forward(session, request, body) or _reset(request)
        act = self.plan(self._count)
        self._count += 1
        reaches = act not in (Act.RESET, Act.REFUSE)
        answer = await self._forward(session, request, body) if reaches else None
        status = None if answer is None else answer.status
        self.seen.append(Seen(request.path_qs, hashlib.sha256(body).hexdigest(), act, status))
        if act is Act.REFUSE:
            return web.Response(status=503, headers={"Retry-After": "1"}, text="try again")
        if act is Act.DELAY:
            await asyncio.sleep(self.delay_s)
        if act is Act.HANG_UP:
            return _end(request)
        return _reset(request) if answer is None or act is Act.SWALLOW else answer

    async def _forward(
        self, session: aiohttp.ClientSession, request: web.BaseRequest, body: bytes
    ) -> web.Response | None:
        """Return the server's answer, or None if it breaks the connection or cannot be reached."""
        headers = _kept(request.headers)
        headers.update(key_headers(request.method, self.upstream + request.path))
        try:
            async with session.request(
                request.method,
                self.upstream + request.raw_path,
                headers=headers,
                data=body or None,
                allow_redirects=False,
                skip_auto_headers=_ADDED,
            ) as answer:
                forwarded = web.Response(status=answer.status, reason=answer.reason, body=await answer.read())
        except aiohttp.ClientError:
            return None
        forwarded.headers.clear()
        forwarded.headers.extend(_kept(answer.headers))
        return forwarded


# Headers that aiohttp's client would add.
_ADDED: Final = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


def _kept(headers: Mapping[str, str]) -> CIMultiDict[str]:
    return CIMultiDict((name, value) for name, value in headers.items() if name.lower() not in _OF_A_CONNECTION)


def _end(request: web.BaseRequest) -> web.Response:
    """Close the client's connection without an answer. What is returned goes nowhere."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=500)


def _reset(request: web.BaseRequest) -> web.Response:
    """Close the client's connection so that it sees a reset. What is returned goes nowhere."""
    if request.transport is not None:
        connection = request.transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
    return _end(request)
