"""What the tail needs of the table. Errors are those of `console.ports`."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from console.drops import Drop
from console.marks import Marks
from console.row import Row


@dataclass(frozen=True, slots=True)
class Page:
    """
    Rows in the order of `seq`.

    Attributes:
        rows: All that there are, or the first of them.
        is_full: Whether more may follow.
        end: How far was looked, if further than the last row.
    """

    rows: Sequence[Row]
    is_full: bool
    end: int = 0

    @property
    def reached(self) -> int:
        """The `seq` up to which it has all rows."""
        return max(self.end, self.rows[-1].seq if self.rows else 0)


class Snapshot(Protocol):
    """What the database has at one moment."""

    async def marks(self) -> Marks:
        """Return how far each writer is, and the number of the last drop of a day."""
        ...

    async def drops(self, number: int) -> Sequence[Drop]:
        """Return what went with days that were dropped since the drop of a number."""
        ...

    async def rows(self, low: int, high: int) -> Page:
        """Return rows with `low < seq <= high`."""
        ...

    async def last_before(self, moment: datetime, high: int) -> int:
        """Return a `seq` up to which all rows were stored before a moment, and behind which none was; not above `high`."""
        ...


class Table(Protocol):
    """The table, for readers that follow it."""

    def snapshot(self, tenant: str | None) -> AbstractAsyncContextManager[Snapshot]:
        """
        Lend a snapshot for a moment.

        Args:
            tenant: Whose rows it has; None: the default tenant's. The marks are those of all.

        Raises:
            BusyError: All connections are lent.
            StoreUnavailableError: PostgreSQL does not answer; also while the snapshot is used.
        """
        ...
