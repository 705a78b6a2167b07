"""
An event loop that a simulation drives, so that code runs in it which is plain asyncio everywhere else.

What is ready runs as in a real loop, first come first served, until all wait. What they wait for is the simulation's: a call of
a port (`io`) or a timer. It ends one of these at a time, in the order of a seed, and so decides every interleaving, and
replays it. Time stands still but for timers, which fire in their order.
"""

import asyncio
import contextvars

from collections import deque
from collections.abc import Callable, Coroutine
from heapq import heappop, heappush
from itertools import count
from random import Random
from typing import Any

_run_in = asyncio._set_running_loop


class SimulatedLoop(asyncio.AbstractEventLoop):
    """
    The loop of one process.

    Args:
        random: Decides what ends next.
    """

    def __init__(self, random: Random) -> None:
        self._random = random
        self._ready: deque[asyncio.Handle] = deque()
        self._calls: list[asyncio.Future[None]] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._numbers = count()
        self._tasks: list[asyncio.Task[Any]] = []
        self._now = 0.0
        self._is_dead = False
        self._fault: BaseException | None = None

    # -- for the simulation

    async def io(self, _at: str) -> None:
        """Wait until the simulation goes on here; never, once the process is dead."""
        if self._is_dead:
            raise asyncio.CancelledError
        call = self.create_future()
        self._calls.append(call)
        await call

    def step(self) -> None:
        """
        End one call or timer, and run until all wait again.

        Raises:
            BaseException: A callback did, whatever it was.
        """
        self._run_ready()
        while self._timers and self._timers[0][2].cancelled():
            heappop(self._timers)
        calls = self._calls
        while calls:
            chosen = int(self._random.random() * (len(calls) + bool(self._timers)))
            if chosen == len(calls):
                break
            call, calls[chosen] = calls[chosen], calls[-1]
            calls.pop()
            if not call.done():
                call.set_result(None)
                self._run_ready()
                return
        if self._timers:
            self._now, _, timer = heappop(self._timers)
            self._ready.append(timer)
            self._run_ready()

    def kill(self) -> None:
        """End the process where it is: no call takes effect any more."""
        self._is_dead = True
        for task in self._tasks:
            task.cancel()
        self._run_ready()
        left = [task for task in self._tasks if not task.done()]
        assert not left, f"killed tasks went on: {left}"

    def _run_ready(self) -> None:
        ready = self._ready
        _run_in(self)
        try:
            while ready:
                handle = ready.popleft()
                if not handle._cancelled:
                    handle._run()
        finally:
            _run_in(None)
        if self._fault is not None:
            raise self._fault

    # -- for asyncio

    def create_task(self, coro: Coroutine[Any, Any, Any], **names: Any) -> asyncio.Task[Any]:  # type: ignore[override]
        if len(self._tasks) > 32:
            self._tasks = [task for task in self._tasks if not task.done()]
        task = asyncio.Task(coro, loop=self, **names)
        self._tasks.append(task)
        return task

    def create_future(self) -> asyncio.Future[Any]:
        return asyncio.Future(loop=self)

    def call_soon(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self, context)
        self._ready.append(handle)
        return handle

    def call_later(  # type: ignore[override]
        self, delay: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        heappush(self._timers, (when, next(self._numbers), timer))
        return timer

    def time(self) -> float:
        return self._now

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def _timer_handle_cancelled(self, _handle: asyncio.TimerHandle) -> None:
        pass

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        if "handle" in context:  # else a task was thrown away with its process
            self._fault = context.get("exception")
