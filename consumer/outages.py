"""
Which ports do not work at the moment: for `/ready`, for one log line a change instead of one a retry, and how each is overcome.

An outage of a port lasts from a failed call to the next one that succeeds. One that waiting can mend ends without help: a call
that is needed is made until it succeeds (`retry_until_done`). One that the consumer can do without is made again now and then
(`probe`), although no event comes that would need it.
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


class Outages:
    """
    The ports that do not work, each with its last error.

    Args:
        clock: Seconds, monotonic.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._errors: dict[str, str] = {}
        self._probes: dict[str, Callable[[], Awaitable[object]]] = {}
        self._called_at: dict[str, float] = {}

    def __getitem__(self, port: str) -> str | None:
        return self._errors.get(port)

    def begin(self, port: str, error: Exception, probe: Callable[[], Awaitable[object]] | None = None) -> None:
        """
        Note that a call to `port` failed.

        Args:
            port: What was called.
            error: What it said.
            probe: A call that finds out whether the port works again; for a port that the consumer can do without.
        """
        if port not in self._errors:
            log.warning("trouble began", port=port, error=str(error))
        self._errors[port] = str(error)
        if probe is not None:
            self._probes[port] = probe

    def end(self, port: str) -> None:
        """Note that a call to `port` succeeded."""
        self._probes.pop(port, None)
        if self._errors.pop(port, None) is not None:
            log.info("trouble ended", port=port)

    def among(self, ports: Sequence[str]) -> list[str]:
        """Return the outages of these ports, each as a sentence."""
        return [f"{port}: {self._errors[port]}" for port in ports if port in self._errors]

    @contextmanager
    def calling(self, port: str) -> Iterator[None]:
        """Note that a call to `port` is in flight, for `notice_silence`."""
        self._called_at[port] = self._clock()
        try:
            yield
        finally:
            self._called_at.pop(port, None)  # a release may have called meanwhile

    def notice_silence(self, limit_s: float) -> None:
        """Note as outages the calls in flight for longer than `limit_s`; the task that waits for an answer cannot."""
        for port, called_at in self._called_at.items():
            silence_s = self._clock() - called_at
            if silence_s > limit_s:
                self.begin(port, TimeoutError(f"no answer for {silence_s:.0f} s"))

    async def retry_until_done(
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
                if port in self._errors:
                    self.end(port)
                return result
            await pause(pause_s)
            pause_s = min(pause_s * 2, LONGEST_PAUSE_S)

    def forget_probes(self) -> None:
        """Forget the calls of `probe`; the outages remain until a call succeeds."""
        self._probes.clear()

    async def probe(self) -> None:
        """Find out whether the ports work again that the consumer can do without."""
        for port, probe in list(self._probes.items()):
            try:
                await probe()
            except PortError as exc:
                self.begin(port, exc)
            else:
                self.end(port)
