"""
What is wrong outside at the moment: for `/ready`, for one log line a change instead of one a retry, and how it is overcome.

A port is in trouble from a failed call to the next that succeeds. Whatever can be mended by waiting ends without anybody
doing anything: a call that matters is made until it succeeds (`insist`), one that can be done without is made again now and
then (`try_again`), although nothing comes that would need it.
"""

import asyncio
import time

from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final, TypeVar

import structlog

from consumer.ports import DeadLettersUnavailableError, PortError, StoreUnavailableError

log: Final = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 5.0


class Troubles:
    """
    The ports that do not work, each with its last error.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._current: dict[str, str] = {}
        self._again: dict[str, Callable[[], Awaitable[object]]] = {}
        self._called_at: dict[str, float] = {}

    def __getitem__(self, port: str) -> str | None:
        return self._current.get(port)

    def begin(self, port: str, error: Exception, again: Callable[[], Awaitable[object]] | None = None) -> None:
        """
        Note that a call to `port` failed.

        Args:
            port: What was called.
            error: What it said.
            again: A call that finds out whether the port works again; for those that nobody insists on.
        """
        if port not in self._current:
            log.warning("trouble began", port=port, error=str(error))
        self._current[port] = str(error)
        if again is not None:
            self._again[port] = again

    def end(self, port: str) -> None:
        """Note that a call to `port` succeeded."""
        self._again.pop(port, None)
        if self._current.pop(port, None) is not None:
            log.info("trouble ended", port=port)

    def among(self, ports: Sequence[str]) -> list[str]:
        """Return the troubles of these ports, each as a sentence."""
        return [f"{port}: {self._current[port]}" for port in ports if port in self._current]

    @contextmanager
    def calling(self, port: str) -> Iterator[None]:
        """Note that a call to `port` is under way, for `notice_silence`."""
        self._called_at[port] = self._clock()
        try:
            yield
        finally:
            self._called_at.pop(port, None)  # a hand-over may have called meanwhile

    def notice_silence(self, limit_s: float) -> None:
        """Note as troubles the calls under way for longer than `limit_s`; whoever waits for an answer cannot say so."""
        for port, called_at in self._called_at.items():
            silence_s = self._clock() - called_at
            if silence_s > limit_s:
                self.begin(port, TimeoutError(f"no answer for {silence_s:.0f} s"))

    async def insist(
        self,
        port: str,
        call: Callable[[], Awaitable[T]],
        *,
        on_failure: Callable[[], None] = lambda: None,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> T:
        """
        Call until it succeeds; only what waiting can mend is tried again.

        Args:
            port: What is called, for `/ready` and the log.
            call: Makes one attempt.
            on_failure: Called after each attempt that failed.
            pause: Sleeps.
        """
        pause_s = FIRST_PAUSE_S
        while True:
            try:
                with self.calling(port):
                    result = await call()
            except (StoreUnavailableError, DeadLettersUnavailableError) as exc:
                self.begin(port, exc)
                on_failure()
            else:
                self.end(port)
                return result
            await pause(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def forget_how_to_try_again(self) -> None:
        """Forget the calls of `try_again`; the troubles remain until a call succeeds."""
        self._again.clear()

    async def try_again(self) -> None:
        """Find out whether the ports work again that nobody insists on."""
        for port, again in list(self._again.items()):
            try:
                await again()
            except PortError as exc:
                self.begin(port, exc)
            else:
                self.end(port)
