"""
Long work in short turns, so that other requests go on meanwhile.

Work is a generator that yields wherever it may be interrupted, and is pure otherwise. One piece of work has its turn at a
time, however many there are, and between two turns the event loop comes round once. So what a single post waits for is one
turn, not one of each large batch.
"""

import asyncio

from collections.abc import Generator
from time import perf_counter
from typing import Final, TypeVar

TURN_S: Final = 0.002

T = TypeVar("T")


class Turns:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self._taken = asyncio.Lock()

    async def run(self, work: Generator[None, None, T]) -> T:
        """Do the work, and return what it returns; work that is done within one turn waits only for the turns of others."""
        while True:
            async with self._taken:  # in the order in which they came
                until = perf_counter() + TURN_S
                try:
                    next(work)
                    while perf_counter() < until:
                        next(work)
                except StopIteration as done:
                    return done.value  # type: ignore[no-any-return]
                await asyncio.sleep(0)


def at_once(work: Generator[None, None, T]) -> T:
    """Do the work without interruption, and return what it returns."""
    while True:
        try:
            next(work)
        except StopIteration as done:
            return done.value  # type: ignore[no-any-return]
