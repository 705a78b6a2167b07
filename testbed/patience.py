"""
How long a test may wait: the only source of time limits.

A limit is a duration on a machine that does ten million additions a second in a Python loop. It is multiplied by how many
times slower this machine is, which a benchmark measures in the same run. When a limit seems to be over, the benchmark runs
again, because the load on a shared machine varies. So a test fails only if an event did not happen, not on a slow machine.

`TEST_SLOWNESS=5` multiplies the measured slowness by five. A test that depends on a limit instead of an event then fails.
"""

import asyncio
import inspect
import os
import time

from collections.abc import Callable
from typing import Any, Final

_ADDITIONS: Final = 500_000
_NORMAL_S: Final = 0.05
_FEIGNED: Final = float(os.environ.get("TEST_SLOWNESS") or 1)
_worst = 1.0


def slowness() -> float:
    """Measure how many times slower than normal this machine is now, at least 1."""
    begin = time.perf_counter()
    total = 0
    for number in range(_ADDITIONS):
        total += number
    return max(1.0, (time.perf_counter() - begin) / _NORMAL_S) * _FEIGNED


def patience(seconds: float) -> float:
    """Return this machine's limit, in seconds, for what takes a normal one `seconds`. Each call measures again."""
    return seconds * slowest()


def slowest() -> float:
    """Measure the machine, and return the largest slowness measured in this process."""
    global _worst  # noqa: PLW0603 - one machine, one memory of it
    _worst = max(_worst, slowness())
    return _worst


class Deadline:
    """
    The end of a wait.

    Args:
        seconds: How long a normal machine may take.
        clock: Returns seconds. An event loop's clock may be simulated.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._begun = clock()
        self._limit_s = seconds * _worst

    @property
    def passed(self) -> bool:
        """Whether the time is over, also for this machine at its present speed."""
        if self._clock() - self._begun <= self._limit_s:
            return False
        self._limit_s = patience(self._seconds)
        return self._clock() - self._begun > self._limit_s

    def __str__(self) -> str:
        waited_s = self._clock() - self._begun
        return f"within {waited_s:.1f} s ({self._seconds:g} s on a machine {self._limit_s / self._seconds:.1f} times as fast)"


async def eventually(look: Callable[[], Any], what: str, *, within_s: float = 20.0, every_s: float = 0.05) -> Any:
    """
    Call `look` again and again until its result is true, and return that result.

    Args:
        look: A function or coroutine function. An `OSError` or an `AssertionError` counts as false.
        what: The awaited condition, for the message.
        within_s: How long a normal machine may take, in seconds (see `patience`).
        every_s: Pause between two calls, in seconds.

    Raises:
        AssertionError: No result was true in time. The message has the condition and the last result or error.
    """
    deadline = Deadline(within_s, asyncio.get_running_loop().time)
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
        if deadline.passed:
            raise AssertionError(f"{deadline}: {what}; last seen: {last!r}")
        await asyncio.sleep(every_s)
