"""
Long work in short turns, so that other requests go on meanwhile.

Work is a generator that yields wherever it may be interrupted, and is pure otherwise. One piece of work has its turn at a
time, however many there are, and between two turns the event loop comes round once. So what a single post waits for is one
turn, not one of each large batch.

What a library does in one go, and with Python's lock released, is done in a thread: work yields it as a function, and is
sent what that returns.
"""

import asyncio

from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any, Final, TypeVar

TURN_S: Final = 0.002

T = TypeVar("T")

Step = Callable[[], Any] | None
"""What work yields: None, or a function to be called in a thread."""

Work = Generator[Step, Any, T]


class Turns:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self._taken = asyncio.Lock()

    async def run(self, work: Work[T]) -> T:
        """Do the work, and return what it returns; work that is done within one turn waits only for the turns of others."""
        go: Callable[[Any], Step] = work.send
        value: Any = None
        while True:
            async with self._taken:  # in the order in which they came
                until = perf_counter() + TURN_S
                try:
                    step = go(value)
                    while step is None and perf_counter() < until:
                        step = next(work)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]
                if step is None:
                    await asyncio.sleep(0)
            go, value = work.send, None
            if step is not None:
                try:
                    value = await asyncio.to_thread(step)
                except Exception as exc:  # noqa: BLE001 - the work handles it, or fails of it
                    go, value = work.throw, exc
                step = None  # it may hold on to much


def at_once(work: Work[T]) -> T:
    """Do the work without interruption, and return what it returns."""
    go: Callable[[Any], Step] = work.send
    value: Any = None
    while True:
        try:
            step = go(value)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
        go, value = work.send, None
        if step is not None:
            try:
                value = step()
            except Exception as exc:  # noqa: BLE001 - as above
                go, value = work.throw, exc
