"""
A poller for each tenant that had a tail: what one reads is its tenant's own.

One without tails costs nothing. Tenants are those of keys, so there are not many.
"""

import asyncio

from typing import Self

from console.tail.fanout import FanOut
from console.tail.ports import Table


class FanOuts:
    """
    All pollers of a process; to be entered inside a running event loop.

    Args:
        table: Where the rows are.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        self._of: dict[str | None, tuple[FanOut, asyncio.Task[None]]] = {}
        self._is_ending = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        tasks = [task for _, task in self._of.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    def of(self, tenant: str | None) -> FanOut:
        """Return a tenant's poller."""
        found = self._of.get(tenant)
        if found is None:
            fan_out = FanOut(self._table, tenant)
            fan_out.is_ending = self._is_ending
            found = self._of[tenant] = fan_out, asyncio.create_task(fan_out.run())
        return found[0]

    def end(self) -> None:
        """Let all tails say that they end."""
        self._is_ending = True
        for fan_out, _ in self._of.values():
            fan_out.end()
