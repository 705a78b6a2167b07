"""
Long work in short turns, so that other requests go on meanwhile.

Work is a generator that yields wherever it may be interrupted, and is pure otherwise. One piece of work has its turn at a
time, however many there are, and between two turns the event loop comes round once. So what a single post waits for is one
turn, not one of each large batch. Callers have their turns one after the other: who sends ten large batches has as much of
the time as who sends one.

What a library does in one go, and with Python's lock released, is done in a thread: work yields it as a function, and is
sent what that returns.
"""

import asyncio

from collections import deque
from collections.abc import Callable, Generator
from time import perf_counter
from typing import Any, Final, TypeVar

from shared.ingest.caller import CALLER

TURN_S: Final = 0.002

T = TypeVar("T")

Step = Callable[[], Any] | None
"""What work yields: None, or a function to be called in a thread."""

Work = Generator[Step, Any, T]


class Turns:
    """The turns of one event loop."""

    def __init__(self) -> None:
        self._taken = False
        # Of each caller whose work waits, the callers in the order of their next turns.
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    async def run(self, work: Work[T]) -> T:
        """Do the work, and return what it returns; work that is done within one turn waits only for the turns of others."""
        caller = CALLER.get()
        go: Callable[[Any], Step] = work.send
        value: Any = None
        await self._enter(caller)
        while True:
            try:
                step = _turn(work, go, value)
                if step is None:
                    await asyncio.sleep(0)
            except StopIteration as done:
                self._pass_on()
                return done.value  # type: ignore[no-any-return]
            except BaseException:
                self._pass_on()
                raise
            go, value = work.send, None
            if step is not None:
                self._pass_on()  # others have their turns meanwhile
                try:
                    value = await asyncio.to_thread(step)
                except Exception as exc:  # noqa: BLE001 - the work handles it, or fails of it
                    go, value = work.throw, exc
                step = None  # it may hold on to much
                await self._enter(caller)
            elif self._waiting:
                await self._wait(caller, passes_on=True)

    async def _enter(self, caller: str) -> None:
        if self._taken:
            await self._wait(caller)
        self._taken = True

    async def _wait(self, caller: str, *, passes_on: bool = False) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(caller, deque()).append(turn)
        if passes_on:  # after it has a place again, so that the others have one turn in between
            self._pass_on()
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        """Let the next caller have its turn, with the work that it has waited for the longest."""
        while self._waiting:
            caller = next(iter(self._waiting))
            line = self._waiting.pop(caller)
            turn = line.popleft()
            if line:
                self._waiting[caller] = line
            if not turn.done():  # else it was given up
                turn.set_result(None)
                return
        self._taken = False


def _turn(work: Work[Any], go: Callable[[Any], Step], value: Any) -> Step:
    """Go on with the work until its turn is over, or until it yields a function; StopIteration has what it returns."""
    until = perf_counter() + TURN_S
    step = go(value)
    while step is None and perf_counter() < until:
        step = next(work)
    return step


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
