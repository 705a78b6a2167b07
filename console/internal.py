"""Questions to the regions' consumers: the console's only requests to other services."""

import asyncio
import ssl

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from http import HTTPStatus
from types import TracebackType
from typing import Final, Self

import httpx

from shared.process.http_client import PooledTransport
from shared.wire import finding, internal
from shared.wire.finding import Found, Question
from shared.wire.regions import Region

Transport = httpx.AsyncBaseTransport

_DETAIL_CHARS: Final = 200


class UnseenError(Exception):
    """A region's consumer said nothing; why not."""


class Consumers:
    """
    All regions' consumers. To be entered inside a running event loop.

    Args:
        addresses: Of each region; any of them knows the region's Kafka.
        transport: Replaces the network if given.
        tls: For addresses that begin with https.
    """

    def __init__(
        self,
        addresses: Mapping[Region, Sequence[str]],
        transport: Transport | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._addresses = addresses
        self._tls = tls
        self._given = transport
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        """Open the connections' pool."""
        self._transport = await self._stack.enter_async_context(self._given or PooledTransport(tls=self._tls))
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close all connections."""
        await self._stack.aclose()

    @property
    def regions(self) -> Sequence[Region]:
        """All regions."""
        return list(self._addresses)

    async def find(self, region: Region, question: Question, within_s: float) -> Found:
        """
        Ask what a region's Kafka has of an event.

        Raises:
            UnseenError: None of its consumers says.
        """
        now = asyncio.get_running_loop().time
        until = now() + within_s
        addresses = self._addresses[region]
        error = UnseenError("it has no consumer")
        for number, address in enumerate(addresses):
            # One that is silent leaves the others their part of the time.
            part_s = (until - now()) / (len(addresses) - number)
            try:
                async with asyncio.timeout(part_s):
                    return await self._ask(region, address, question, part_s)
            except TimeoutError:
                error = UnseenError("its consumer does not answer in time")
            except httpx.HTTPError as exc:
                error = UnseenError(f"its consumer cannot be reached: {exc}")
            except UnseenError as exc:
                error = exc
        raise error

    async def _ask(self, region: Region, address: str, question: Question, within_s: float) -> Found:
        answer = await self._post(httpx.URL(address), question, within_s)
        told = answer.headers.get(internal.PORT_HEADER)
        if told is not None and (port := internal.port_of(told)) is not None:
            # That was the public listener, which says where the internal one is.
            answer = await self._post(httpx.URL(address).copy_with(port=port), question, within_s)
        if answer.status_code != HTTPStatus.OK:
            raise UnseenError(f"its consumer cannot say: {_said(answer)}")
        try:
            found = Found.decode(answer.content)
        except finding.FindingError as exc:
            raise UnseenError(f"its consumer's answer cannot be read: {exc}") from exc
        if found.region != region:
            raise UnseenError(f"the consumer that was asked is one of {found.region}")
        return found

    async def _post(self, address: httpx.URL, question: Question, within_s: float) -> httpx.Response:
        url = address.copy_with(raw_path=address.raw_path.rstrip(b"/") + finding.PATH.encode())
        extensions = {"timeout": httpx.Timeout(within_s).as_dict()}
        request = httpx.Request("POST", url, content=question.encode(), extensions=extensions)
        response = await self._transport.handle_async_request(request)
        try:
            await response.aread()
        finally:
            await response.aclose()
        return response


def _said(answer: httpx.Response) -> str:
    try:
        document = answer.json()
    except ValueError:
        document = None
    detail = document.get("detail") if isinstance(document, dict) else None
    if answer.status_code == HTTPStatus.NOT_FOUND:
        return "it is of an earlier release"
    return str(detail or f"status {answer.status_code}")[:_DETAIL_CHARS]
