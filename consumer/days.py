"""
Sees to it that days have their partitions and that old days go, beside the work: what goes wrong with it holds up no event.

A day that cannot be made or dropped is a trouble of its own in `/ready`, among what is degraded. Rows of one that cannot be
made are stored all the same, in the default partition.
"""

import asyncio

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Final, Protocol

from prometheus_client import Gauge

from consumer.outages import Outages
from consumer.ports import StoreUnavailableError

PARTITIONS: Final = "partitions"
RETENTION: Final = "retention"
EVERY_S: Final = 5.0


class DaysPort(Protocol):
    """Where days are made, or dropped."""

    async def look_after(self) -> Mapping[date, str]:
        """Do what is to be done; return the days that it could not be done with, each with why."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class Days:
    """
    Looks after the days.

    Args:
        port: Makes or drops them.
        outages: Shared with `/ready`.
        failed: Shows with how many it could not be done.
        task: What it is called in `/ready`.
        said: Begins the sentence that names those days.
        pause: Sleeps between two looks.
    """

    def __init__(
        self,
        port: DaysPort,
        outages: Outages,
        failed: Gauge,
        *,
        task: str = PARTITIONS,
        said: str = "no partition for",
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._port = port
        self._outages = outages
        self._failed = failed
        self._task = task
        self._said = said
        self._pause = pause

    async def look_after(self) -> None:
        """Do so until cancelled."""
        try:
            while True:
                await self._look()
                await self._pause(EVERY_S)
        finally:
            await self._port.close()

    async def _look(self) -> None:
        try:
            failed = await self._port.look_after()
        except StoreUnavailableError:
            return  # which the store tells of; of days nothing new is known
        self._failed.set(len(failed))
        if failed:
            days = "; ".join(f"{day}: {why}" for day, why in failed.items())
            self._outages.begin(self._task, StoreUnavailableError(f"{self._said} {days}"))
        else:
            self._outages.end(self._task)
