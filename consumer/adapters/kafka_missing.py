"""Partitions that were assigned and could not be begun, because they have no leader or it is away: looked for until one can be."""

import asyncio
import contextlib

from collections.abc import Collection
from typing import Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import KafkaError

from consumer.adapters.kafka_logs import KafkaLogs
from consumer.envelope import Partition

_EVERY_S: Final = 1.0
_ANSWER_S: Final = 2.0


class Missing:
    """
    Looks for them.

    Args:
        logs: Looks at partitions.
        client: Knows which brokers lead them.

    Attributes:
        partitions: All that are looked for.
    """

    def __init__(self, logs: KafkaLogs, client: AIOKafkaClient) -> None:
        self._logs = logs
        self._client = client
        self._looking: asyncio.Task[Collection[Partition]] | None = None
        self.partitions: frozenset[Partition] = frozenset()

    def look_for(self, partitions: Collection[Partition]) -> None:
        """Look for these from now on, and for no others."""
        if self._looking is not None:
            self._looking.cancel()
        self.partitions = frozenset(partitions)
        self._looking = asyncio.create_task(self._look()) if partitions else None

    async def stop(self) -> None:
        """Look for nothing any more."""
        looking = self._looking
        self.look_for(())
        if looking is not None:
            await asyncio.gather(looking, return_exceptions=True)

    @property
    def found(self) -> bool:
        """Whether one of them can be begun by now."""
        if self._looking is None or not self._looking.done() or self._looking.cancelled():
            return False
        return bool(self._looking.result())  # a fault of ours: to go on would be to leave them unread in silence

    async def _look(self) -> Collection[Partition]:
        while True:
            await asyncio.sleep(_EVERY_S)
            with contextlib.suppress(TimeoutError, KafkaError):
                async with asyncio.timeout(_ANSWER_S):
                    await self._client.force_metadata_update()
                if found := await self._logs.look_once(self.partitions):
                    return found
