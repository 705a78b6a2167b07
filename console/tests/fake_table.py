"""The table in memory, with writers whose transactions commit when they are told to."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta

from console.drops import Drop
from console.marks import Marks, generation_of
from console.ports import StoreUnavailableError
from console.row import Row
from console.tail.ports import Page
from console.tests.fakes import a_row

STORE: str = "0a1b2c3d"
BEGIN = datetime(2026, 11, 26, 12, tzinfo=UTC)


@dataclass
class FakeTable:
    """
    Rows and marks.

    Attributes:
        rows: In the order of their commits.
        marks: By generation.
        store_id: Of the database.
        away: Why it does not answer.
        page_rows: In one page.
        seq: The last number that was drawn.
        snapshots: So many were lent.
        whose: Tenants of rows, by their number; the default tenant's are not in it.
    """

    rows: list[Row] = field(default_factory=list)
    marks: dict[int, int] = field(default_factory=lambda: {0: 0})
    store_id: str = STORE
    away: str | None = None
    page_rows: int = 50
    seq: int = 0
    snapshots: int = 0
    whose: dict[int, str] = field(default_factory=dict)
    drops: list[Drop] = field(default_factory=list)

    def insert(self, count: int, generation: int = 1, **changes: object) -> "Flight":
        """Draw numbers for rows; they are seen when the transaction commits."""
        self.marks.setdefault(generation, self.seq)  # the claim, before all else
        rows = []
        for _ in range(count):
            self.seq += 1
            stored_at = BEGIN + timedelta(milliseconds=self.seq)
            given = {"stored_by": f"region-a/consumer-a/{generation}", "stored_at": stored_at} | changes
            rows.append(a_row(self.seq, BEGIN, **given))
        return Flight(self, generation, rows, self.seq)

    def store(self, count: int, generation: int = 1, **changes: object) -> list[Row]:
        """Insert rows and commit."""
        flight = self.insert(count, generation, **changes)
        flight.commit()
        return flight.rows

    @asynccontextmanager
    async def snapshot(self, tenant: str | None) -> AsyncIterator["FakeSnapshot"]:
        """See `Table`."""
        if self.away is not None:
            raise StoreUnavailableError(self.away)
        self.snapshots += 1
        dropped = max((drop.number for drop in self.drops), default=0)
        marks = Marks(self.store_id, dict(self.marks), dropped=dropped)
        yield FakeSnapshot(self, marks, self._seen_by(tenant), list(self.drops))

    def drop(self, day: date) -> None:
        """Let a day go, with all of its rows."""
        number = max((drop.number for drop in self.drops), default=0) + 1
        last: dict[int, int] = {}
        for row in self.rows:
            if row.event_time.date() == day:
                generation = generation_of(row.stored_by)
                of_it = -1 if generation is None else generation
                last[of_it] = max(last.get(of_it, 0), row.seq)
        self.drops += [Drop(number, day, generation, seq) for generation, seq in last.items()]
        self.rows = [row for row in self.rows if row.event_time.date() != day]

    def _seen_by(self, tenant: str | None) -> list[Row]:
        return [row for row in self.rows if self.whose.get(row.seq) == tenant]


@dataclass
class Flight:
    """A transaction."""

    table: FakeTable
    generation: int
    rows: list[Row]
    mark: int

    def commit(self) -> None:
        """Let its rows be seen, and its mark."""
        self.table.rows += self.rows
        self.table.marks[self.generation] = self.mark


@dataclass
class FakeSnapshot:
    """See `Snapshot`."""

    table: FakeTable
    of: Marks
    there: list[Row]
    gone: list[Drop]

    async def marks(self) -> Marks:
        """See there."""
        return self.of

    async def drops(self, number: int) -> list[Drop]:
        """See there."""
        return [drop for drop in self.gone if drop.number > number]

    async def rows(self, low: int, high: int) -> Page:
        """See there."""
        found = sorted((row for row in self.there if low < row.seq <= high), key=lambda row: row.seq)
        page = found[: self.table.page_rows]
        return Page(page, is_full=len(page) == self.table.page_rows)

    async def last_before(self, moment: datetime, high: int) -> int:
        """See there."""
        return max((row.seq for row in self.there if row.stored_at < moment and row.seq <= high), default=0)
