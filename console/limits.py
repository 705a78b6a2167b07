"""How much one caller, and all of them, may have under way at once; and how much work of PostgreSQL's a caller may have in a minute."""

import asyncio
import time

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from math import ceil
from typing import Final

from console.ports import BusyError

_MINUTE_S: Final = 60.0
_FORGET_AT: Final = 1000


class CallerBusyError(BusyError):
    """One caller has as many requests under way as it may."""


class SpentError(BusyError):
    """A caller's searches took as long as they may."""


@dataclass(slots=True)
class _Caller:
    under_way: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)


class Places:
    """
    Places for requests of one kind.

    Args:
        name: Of what takes one, as in "searches".
        each: For each caller.
        total: For all of them; None: no limit of its own.
        wait_s: How long a request waits for its caller's others.
    """

    def __init__(self, name: str, each: int, total: int | None = None, wait_s: float = 0.0) -> None:
        self._name = name
        self._each = each
        self._total = total
        self._wait_s = wait_s
        self._callers: dict[str, _Caller] = {}
        self.under_way = 0

    @asynccontextmanager
    async def place(self, caller: str) -> AsyncIterator[None]:
        """
        Have a place meanwhile.

        Raises:
            BusyError: There is none, and none became free in time.
        """
        if self._total is not None and self.under_way >= self._total:
            raise BusyError(f"as many {self._name} are under way as may be ({self._total}); retry after a pause")
        mine = self._callers.setdefault(caller, _Caller())
        self.under_way += 1
        try:
            await self._enter(mine)
            try:
                yield
            finally:
                self._leave(mine)
        finally:
            self.under_way -= 1
            if not mine.under_way and not mine.waiting:
                self._callers.pop(caller, None)

    async def _enter(self, mine: _Caller) -> None:
        if mine.under_way < self._each:
            mine.under_way += 1
            return
        refusal = f"your other {self._name} are under way, {self._each} may be at once; retry after a pause"
        if not self._wait_s:
            raise CallerBusyError(refusal)
        turn = asyncio.get_running_loop().create_future()
        mine.waiting.append(turn)
        try:
            async with asyncio.timeout(self._wait_s):
                await turn
        except BaseException as exc:
            if turn in mine.waiting:
                mine.waiting.remove(turn)
            elif turn.done() and not turn.cancelled():
                self._leave(mine)  # it came in the same moment
            if isinstance(exc, TimeoutError):
                raise CallerBusyError(refusal) from exc
            raise

    @staticmethod
    def _leave(mine: _Caller) -> None:
        while mine.waiting:
            turn = mine.waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place is handed over
                return
        mine.under_way -= 1


class Budget:
    """
    Seconds of work that each caller may have in a minute.

    Args:
        seconds_a_minute: How many; 0: as many as it likes.
        clock: Monotonic seconds.
    """

    def __init__(self, seconds_a_minute: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._scale = _MINUTE_S / seconds_a_minute if seconds_a_minute else 0.0
        self._clock = clock
        # When all that a caller has had will be paid back.
        self._even_at: dict[str, float] = {}

    def ask(self, caller: str) -> None:
        """
        Look whether a caller may search.

        Raises:
            SpentError: It has spent all it had.
        """
        now = self._clock()
        owed = self._even_at.get(caller, now) - now
        if self._scale and owed >= _MINUTE_S:
            wait_s = max(1, ceil(owed - _MINUTE_S))
            raise SpentError(
                f"your searches took {_MINUTE_S / self._scale:g} s of the last minute, which is all there is; "
                f"retry in {wait_s} s, or narrow the range",
                retry_after_s=wait_s,
            )

    @contextmanager
    def spending(self, caller: str) -> Iterator[None]:
        """Let the time until the end count."""
        started = self._clock()
        try:
            yield
        finally:
            self._spend(caller, started)

    def _spend(self, caller: str, started: float) -> None:
        if not self._scale:
            return
        now = self._clock()
        self._even_at[caller] = max(self._even_at.get(caller, started), started) + (now - started) * self._scale
        if len(self._even_at) > _FORGET_AT:
            self._even_at = {one: at for one, at in self._even_at.items() if at > now}
