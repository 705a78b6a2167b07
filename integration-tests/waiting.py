"""Waiting for what must become true: with a deadline, and with a sentence about what did not."""

import asyncio
import inspect
import time

from collections.abc import Callable
from typing import Any


async def eventually(look: Callable[[], Any], what: str, *, within_s: float = 20.0, every_s: float = 0.05) -> Any:
    """
    Look again and again until the answer, awaited if it must be, is true; return it.

    Raises:
        AssertionError: It was not true in time; tells the last answer or error.
    """
    deadline = time.monotonic() + within_s
    last: object = None
    while True:
        try:
            answer = look()
            answer = await answer if inspect.isawaitable(answer) else answer
        except (OSError, AssertionError) as exc:
            last = exc
        else:
            if answer:
                return answer
            last = answer
        if time.monotonic() > deadline:
            raise AssertionError(f"within {within_s} s: {what}; last seen: {last!r}")
        await asyncio.sleep(every_s)
