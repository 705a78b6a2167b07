"""
One poller for all tails of a process: what it reads once, each tail gets that wants it.

A tail that does not take what it gets leaves, and goes on from the table at its own pace; nothing is dropped. When it has caught up
it joins again, at the very position of the poller.
"""

import asyncio

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import structlog

from console.filter import Filter
from console.marks import Marks, Position
from console.ports import BusyError, StoreUnavailableError
from console.tail.ports import Table
from console.tail.step import Event, Reset, Step, take_step

log: Final = structlog.stdlib.get_logger(__name__)
POLL_S: Final = 0.2
"""Between two looks at the table, where there was nothing more to read."""
MAX_EVENTS: Final = 1000
MAX_BYTES: Final = 1024 * 1024
"""A tail that has more waiting leaves."""
AT_ONCE: Final = 2
"""So many of those that have left read at the same time."""
_TROUBLES: Final = (StoreUnavailableError, BusyError)


@dataclass(slots=True)
class Delivery:
    """What one step has for a tail."""

    events: Sequence[Event]
    end: Position
    looked_at: int
    reset: Reset | None = None


class Subscription:
    """
    A tail, as the poller knows it.

    Args:
        wanted: What it wants.

    Attributes:
        wake: Set when there is something for it.
        has_left: Whether it gets no more.
        passed: Rows that the poller has looked at for it.
    """

    def __init__(self, wanted: Filter) -> None:
        self.wanted = wanted
        self.wake = asyncio.Event()
        self.has_left = False
        self.passed = 0
        self._waiting: deque[Delivery] = deque()
        self._events = 0
        self._bytes = 0

    def offer(self, delivery: Delivery) -> bool:
        """Put something into its queue; return False if it has left because there was too much already."""
        size = sum(event.size for event in delivery.events)
        if self._waiting and (self._events + len(delivery.events) > MAX_EVENTS or self._bytes + size > MAX_BYTES):
            self.has_left = True
            self.wake.set()
            return False
        last = self._waiting[-1] if self._waiting else None
        if last is not None and not delivery.events and delivery.reset is None:
            last.end = delivery.end
            last.looked_at += delivery.looked_at
            return True
        self._waiting.append(delivery)
        self._events += len(delivery.events)
        self._bytes += size
        if delivery.events or delivery.reset is not None:
            self.wake.set()
        return True

    def take(self) -> Delivery | None:
        """Return what comes next, if there is something."""
        if not self._waiting:
            return None
        delivery = self._waiting.popleft()
        self._events -= len(delivery.events)
        self._bytes -= sum(event.size for event in delivery.events)
        self.passed += delivery.looked_at
        return delivery


class FanOut:
    """
    Reads the table for all tails.

    Args:
        table: Where the rows are.
        tenant: Whose rows its tails get; None: the default tenant's.

    Attributes:
        is_ending: Whether the process ends.
        trouble: Why the table cannot be read now.
    """

    def __init__(self, table: Table, tenant: str | None = None) -> None:
        self.is_ending = False
        self.trouble: str | None = None
        self._table = table
        self._tenant = tenant
        self._groups: dict[Filter, set[Subscription]] = {}
        self._position: Position | None = None
        self._marks: Marks | None = None
        self._whole_at: float | None = None
        self._turn = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._reading = asyncio.Semaphore(AT_ONCE)

    @property
    def behind_s(self) -> float:
        """How long ago the poller had all that there was; 0 until it has looked."""
        return 0.0 if self._whole_at is None else asyncio.get_running_loop().time() - self._whole_at

    async def run(self) -> None:
        """Poll while there are tails, until cancelled."""
        while True:
            if not self._groups:
                self._whole_at = None
                self._wanted.clear()
                await self._wanted.wait()
            more = False
            try:
                async with self._turn:
                    more = await self._advance()
            except _TROUBLES as exc:
                if self.trouble is None:
                    log.warning("tails cannot read on", error=exc.detail)
                self.trouble = exc.detail
            await asyncio.sleep(0 if more else POLL_S)

    def end(self) -> None:
        """Let all tails say that they end."""
        self.is_ending = True
        for group in self._groups.values():
            for subscription in group:
                subscription.wake.set()

    async def read(self, position: Position | None, subscription: Subscription | None = None) -> tuple[Step, bool]:
        """
        Read on from a tail's own position.

        Args:
            position: Where it is; None: behind all that there is.
            subscription: Shall join if there is nothing more to read.

        Returns:
            What it found, and whether it has joined: what follows that comes by its subscription.

        Raises:
            StoreUnavailableError: PostgreSQL does not answer.
        """
        async with self._reading:
            if subscription is None:
                async with self._table.snapshot(self._tenant) as now:
                    return await take_step(now, position), False
            async with self._turn:
                return await self._read_and_join(position, subscription)

    async def _read_and_join(self, position: Position | None, subscription: Subscription) -> tuple[Step, bool]:
        if not self._groups:
            self._position = None  # no tail was there to be told of what came meanwhile
        if await self._advance():
            async with self._table.snapshot(self._tenant) as now:
                return await take_step(now, position), False
        async with self._table.snapshot(self._tenant) as now:
            step = await take_step(now, position, self._marks)
        # It is not where rows of an earlier release's consumer are held back for the two at different places.
        has_joined = step.end == self._position and not step.is_full
        if has_joined:
            subscription.has_left = False
            self._groups.setdefault(subscription.wanted, set()).add(subscription)
            self._wanted.set()
        return step, has_joined

    def leave(self, subscription: Subscription) -> None:
        """Give it nothing more."""
        group = self._groups.get(subscription.wanted, set())
        group.discard(subscription)
        if not group:
            self._groups.pop(subscription.wanted, None)

    async def _advance(self) -> bool:
        """Take the poller's next step; return whether more may follow at once."""
        began = asyncio.get_running_loop().time()
        async with self._table.snapshot(self._tenant) as now:
            step = await take_step(now, self._position)
        self._position, self._marks = step.end, step.marks
        if self.trouble is not None:
            log.info("tails read on")
            self.trouble = None
        if not step.is_full:
            self._whole_at = began
        await self._publish(step)
        return step.is_full

    async def _publish(self, step: Step) -> None:
        for wanted, group in list(self._groups.items()):
            events = [event for event in step.events if wanted.matches(event.row)]
            for subscription in list(group):
                if not subscription.offer(Delivery(events, step.end, step.looked_at, step.reset)):
                    self.leave(subscription)
            if step.events:
                # Other requests have their turn between two filters.
                await asyncio.sleep(0)
