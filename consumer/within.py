"""A limit for work that a client library does, which holds whatever becomes of the work."""

import asyncio

from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(work: Coroutine[Any, Any, T], limit_s: float) -> T:
    """
    Do it in a task of its own, so that this one continues whatever becomes of it.

    The client library ends tasks of its own when a broker vanishes. At times that reaches the caller, as if the caller had
    been cancelled; at times a cancellation is lost.

    Raises:
        TimeoutError: It takes longer.
        ConnectionAbortedError: The client library gave it up.
    """
    task = asyncio.create_task(work)
    try:
        done, _ = await asyncio.wait({task}, timeout=limit_s)
    finally:
        task.cancel()
    if not done:
        raise TimeoutError(f"no answer within {limit_s:g} s")
    if task.cancelled():
        raise ConnectionAbortedError("the client gave up")
    return task.result()
