"""
How long a test may wait: the one place where a limit of time comes from.

A limit says how long something may take on a machine that does ten million additions a second in a Python loop. It is
multiplied by how many times slower this machine is, measured by a yardstick in the same run; and when it seems to be over,
the yardstick is laid on again, for a machine that others use is slower at one moment than at another. So a test fails for
what did not happen, and not because the machine was slow.

`TEST_SLOWNESS=5` makes the yardstick five times what it is: what depends on a limit, instead of an event, shows then.
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
    """Measure how many times slower than normal this machine is at this moment; never less than 1."""
    begin = time.perf_counter()
    total = 0
    for number in range(_ADDITIONS):
        total += number
    return max(1.0, (time.perf_counter() - begin) / _NORMAL_S) * _FEIGNED


def patience(seconds: float) -> float:
    """Return the limit, in seconds, that this machine needs where a normal one needs `seconds`; measured anew each time."""
    return seconds * slowest()


def slowest() -> float:
    """Lay the yardstick on, and return the worst that it has told in this process."""
    global _worst  # noqa: PLW0603 - one machine, one memory of it
    _worst = max(_worst, slowness())
    return _worst


class Deadline:
    """
    A moment after which nobody waits any longer.

    Args:
        seconds: How long a normal machine may take.
        clock: Tells the time; an event loop's own may be a simulated one.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._begun = clock()
        self._limit_s = seconds * _worst

    @property
    def passed(self) -> bool:
        """Whether even this machine, as slow as it is now, has had its time."""
        if self._clock() - self._begun <= self._limit_s:
            return False
        self._limit_s = patience(self._seconds)
        return self._clock() - self._begun > self._limit_s

    def __str__(self) -> str:
        waited_s = self._clock() - self._begun
        return f"within {waited_s:.1f} s ({self._seconds:g} s on a machine {self._limit_s / self._seconds:.1f} times as fast)"


async def eventually(look: Callable[[], Any], what: str, *, within_s: float = 20.0, every_s: float = 0.05) -> Any:
    """
    Look again and again until the answer, awaited if it must be, is true; return it.

    Args:
        look: Asks; an `OSError` or an `AssertionError` counts as a no.
        what: What is waited for, for the message.
        within_s: How long a normal machine may take; see `patience`.
        every_s: Pause between two looks, seconds.

    Raises:
        AssertionError: It was not true in time; tells what was waited for and the last answer or error.
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
