"""
Gates: rows that must wait because the partition that they belong to is being made.

A gate is a trigger, which refuses such rows with an error that all releases answer by trying again, and a constraint of the
same name, by which PostgreSQL knows that there are none (`0002_days.sql`). The name has the first day and the day beyond.
"""

import re

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

import asyncpg

# The first form is that of a release before, and of one day.
_NAME: Final = re.compile(r"logs_default_without_(\d{8})(?:_(\d{8}))?")
_GATES: Final = """
    SELECT conname FROM pg_constraint
    WHERE conname ~ '^logs_default_without_[0-9]{8}(_[0-9]{8})?$'
      AND conrelid IN (SELECT relid FROM pg_partition_tree(to_regclass('logs_default')))
"""


@dataclass(frozen=True, slots=True)
class Gate:
    """
    Days whose rows must wait.

    Attributes:
        first: The first one.
        beyond: The first one after it whose rows need not; the last day of all stands for no end.
    """

    first: date
    beyond: date

    @property
    def is_of_a_day(self) -> bool:
        """Whether it is for a day's own partition."""
        return self.beyond - self.first == timedelta(days=1)

    def stops(self, day: date) -> bool:
        """Tell whether rows of a day must wait."""
        return self.first <= day and (day < self.beyond or self.beyond == date.max)


def gate_of(exc: asyncpg.PostgresError) -> Gate | None:
    """Return the gate that refused a row, if one did; the row can be stored soon."""
    return _named(getattr(exc, "constraint_name", None) or "")


async def open_gates(connection: asyncpg.Connection) -> Sequence[Gate]:
    """Return the gates that some maker has put up and not taken away."""
    gates = [_named(row["conname"]) for row in await connection.fetch(_GATES)]
    return [gate for gate in gates if gate is not None]


def _named(name: str) -> Gate | None:
    found = _NAME.fullmatch(name)
    if found is None:
        return None
    first = _day(found[1])
    return Gate(first, _day(found[2]) if found[2] else first + timedelta(days=1))


def _day(written: str) -> date:
    return datetime.strptime(written, "%Y%m%d").replace(tzinfo=UTC).date()
