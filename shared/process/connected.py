"""Work for a client ends when the client goes away: PostgreSQL must not go on for an answer that has no reader."""

import asyncio

from collections.abc import Coroutine
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive

T = TypeVar("T")


async def while_connected(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """
    Do the work, and cancel it if the client goes away.

    Raises:
        ClientDisconnect: It went away.
    """
    return await until_gone(request.receive, work)


async def until_gone(receive: Receive, work: Coroutine[Any, Any, T]) -> T:
    """
    Do the work, and cancel it if the client goes away, whose request has no body.

    Raises:
        ClientDisconnect: It went away.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ClientDisconnect
    finally:
        for task in (working, leaving):
            task.cancel()
        await asyncio.wait({working, leaving})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
