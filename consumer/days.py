"""
Gives days their partitions, beside the work: what goes wrong with it holds up no event.

A day that cannot be made is named in `/ready` among what is degraded; its rows are stored in the default partition.
"""

import asyncio

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Final, Protocol

from prometheus_client import Gauge

from consumer.outages import Outages
from consumer.ports import StoreUnavailableError

PARTITIONS: Final = "partitions"
EVERY_S: Final = 5.0


class DaysPort(Protocol):
    """Where days get their partitions."""

    async def look_after(self) -> Mapping[date, str]:
        """Make what is missing; return the days that could not be made, each with why."""
        ...

    async def close(self) -> None:
        """Close what it has open."""
        ...


class Days:
    """
    Looks after the days.

    Args:
        port: Makes them.
        outages: Shared with `/ready`.
        missing: Shows how many could not be made.
        pause: Sleeps between two looks.
    """

    def __init__(
        self,
        port: DaysPort,
        outages: Outages,
        missing: Gauge,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._port = port
        self._outages = outages
        self._missing = missing
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
            return  # the store's own calls say so in `/ready`; of days nothing new is known
        self._missing.set(len(failed))
        if failed:
            said = "; ".join(f"{day}: {why}" for day, why in failed.items())
            self._outages.begin(PARTITIONS, StoreUnavailableError(f"no partition for {said}"))
        else:
            self._outages.end(PARTITIONS)
