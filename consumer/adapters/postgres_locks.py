"""
Which days have a partition, and which cannot be written to now because another session has locked them.

A day that is locked costs a batch one timeout. Then its rows wait apart (`consumer/waiting.py`), and others are stored.
"""

import math

from collections import defaultdict
from collections.abc import Callable, Sequence
from datetime import date
from typing import Final

import asyncpg

from consumer.adapters.postgres_days import days_with_partition, tables_of
from consumer.adapters.row_days import days_of, rows_of
from consumer.envelope import Row
from consumer.ports import RowsMustWaitError

# How old the knowledge may be that a day has no partition.
_LEARN_EVERY_S: Final = 5.0


class DayLocks:
    """
    What is known of days.

    Args:
        clock: Seconds, monotonic.

    Attributes:
        known: Days that have a partition.
        locked: Days that could not be written to when a batch last ran into that.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._learned_at = -math.inf
        self.known: set[date] = set()
        self.locked: set[date] = set()

    async def learn(self, connection: asyncpg.Connection) -> None:
        """Learn which days have a partition."""
        self.known = await days_with_partition(connection)
        self._learned_at = self._clock()

    async def learn_when_due(self, connection: asyncpg.Connection, days: set[date]) -> None:
        """Learn it if one of these days is unknown, unless that was done a moment ago."""
        if not days <= self.known and self._clock() - self._learned_at > _LEARN_EVERY_S:
            await self.learn(connection)

    async def blame(self, connection: asyncpg.Connection, rows: Sequence[Row]) -> None:
        """
        Find out which days have kept a batch waiting.

        Raises:
            RowsMustWaitError: Some can be written to, and others cannot.
        """
        if rows and await _can_be_written_to(connection, "logs"):
            tables: dict[str, set[date]] = defaultdict(set)
            for day, names in (await tables_of(connection, days_of(rows))).items():
                for name in names:
                    tables[name].add(day)
            locked = {name: days for name, days in tables.items() if not await _can_be_written_to(connection, name)}
            self.locked = set().union(*locked.values())
            if locked:
                which = " and ".join(sorted(locked))
                raise RowsMustWaitError(rows_of(self.locked, rows), f"another session has locked {which}")


async def _can_be_written_to(connection: asyncpg.Connection, table: str) -> bool:
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE ONLY {table} IN ROW EXCLUSIVE MODE NOWAIT")
    except asyncpg.LockNotAvailableError:
        return False
    return True
