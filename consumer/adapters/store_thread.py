"""
`EventStore` on a thread of its own, so that PostgreSQL does not wait for the event loop that decodes meanwhile.

A transaction is half a dozen round trips, and PostgreSQL waits until each answer was read. On the loop that also decodes, an
answer would lie until what is being decoded is done. A thread of its own needs the interpreter's lock alone, which changes
hands after `SWITCH_S` of `consumer/tuning.py` at the latest.
"""

import asyncio
import threading

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Protocol, TypeVar

import uvloop

from consumer.envelope import Partition, Row
from consumer.ports import Claim, EventStore, Progress

T = TypeVar("T")


class ClosableStore(EventStore, Protocol):
    """An `EventStore` with a connection."""

    async def close(self) -> None:
        """Close it."""
        ...


class StoreThread:
    """
    Passes calls on to a thread that does nothing else; begun by the first one, ended by `close`.

    A call that is cancelled is cancelled there, too, and a later one begins when it has ended.

    Args:
        store: Does the work; used by that thread alone, but for `encode`, which needs no connection.
    """

    def __init__(self, store: ClosableStore) -> None:
        self._store = store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._turn = asyncio.Lock()

    async def close(self) -> None:
        """Close the store, and end the thread."""
        loop, thread, self._loop, self._thread = self._loop, self._thread, None, None
        if loop is None or thread is None:
            return
        try:
            await self._run(self._store.close, loop)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            await asyncio.to_thread(thread.join)
            loop.close()

    async def claim(self, partitions: Collection[Partition]) -> Claim:
        """See `EventStore`."""
        return await self._there(lambda: self._store.claim(partitions))

    def encode(self, rows: Sequence[Row], generation: int) -> bytes | None:
        """See `EventStore`."""
        return self._store.encode(rows, generation)

    async def known(self, rows: Sequence[Row]) -> Collection[int]:
        """See `EventStore`."""
        return await self._there(lambda: self._store.known(rows))

    async def store(
        self,
        rows: Sequence[Row],
        progress: Mapping[Partition, Progress],
        generation: int,
        encoded: bytes | None = None,
    ) -> Collection[int]:
        """See `EventStore`."""
        return await self._there(lambda: self._store.store(rows, progress, generation, encoded))

    async def _there(self, call: Callable[[], Awaitable[T]]) -> T:
        if self._loop is None:
            self._loop, self._turn = uvloop.new_event_loop(), asyncio.Lock()
            self._thread = threading.Thread(target=self._loop.run_forever, name="store", daemon=True)
            self._thread.start()
        return await self._run(call, self._loop)

    async def _run(self, call: Callable[[], Awaitable[T]], loop: asyncio.AbstractEventLoop) -> T:
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._alone(call), loop))

    async def _alone(self, call: Callable[[], Awaitable[T]]) -> T:
        async with self._turn:
            return await call()
