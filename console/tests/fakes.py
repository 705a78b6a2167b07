"""The database in memory: the same port, for tests. The suite of `integration-tests/test_reading_store.py` holds both together."""

import asyncio
import json
import sys

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

from console.ports import Count, Found, Group, Slice, SliceTimedOutError, StoreUnavailableError
from console.query import By, Span
from console.row import MAX_SHOWN_MESSAGE, Row
from shared.event.times import epoch_us

STORE = bytes.fromhex("0011223344556677")


def a_row(seq: int, time: datetime | None = None, **changes: object) -> Row:
    """An event, in the order of writing."""
    time = time or datetime(2026, 11, 26, 12, tzinfo=UTC)
    row = Row(UUID(int=seq), time, seq, "checkout", "INFO", f"line {seq}", "trace-1", '{"k": "v"}', "region-a", time, time, "region-a/consumer-a/1", False)  # fmt: skip # noqa: FBT003
    return replace(row, **changes)  # type: ignore[arg-type]


@dataclass
class FakeStore:
    """
    Rows in memory.

    Attributes:
        rows: All of them.
        identity: Of the database.
        away: Why no session is lent.
        slow_above: Slices that are wider time out.
        looked_at: The slices that were asked for.
        sessions: So many are lent now.
        held: Statements wait until this is set.
        of_tenants: Rows of other tenants than the default one.
    """

    rows: list[Row] = field(default_factory=list, repr=False)
    identity: bytes = STORE
    away: str | None = None
    slow_above: int | None = None
    looked_at: list[Slice] = field(default_factory=list, repr=False)
    sessions: int = 0
    held: asyncio.Event | None = None
    of_tenants: dict[str, list[Row]] = field(default_factory=dict, repr=False)

    @asynccontextmanager
    async def session(self, tenant: str | None) -> AsyncIterator["FakeSession"]:
        if self.away is not None:
            raise StoreUnavailableError(self.away)
        self.sessions += 1
        try:
            yield FakeSession(self, self.rows if tenant is None else self.of_tenants.get(tenant, []))
        finally:
            self.sessions -= 1


class FakeSession:
    """A reader of these rows."""

    def __init__(self, of: FakeStore, rows: list[Row]) -> None:
        self._of = of
        self._rows = rows

    @property
    def store(self) -> bytes:
        return self._of.identity

    @property
    def is_alone(self) -> bool:
        return not self._of.of_tenants

    async def rows(self, wanted: Slice, timeout_s: float) -> Found:
        self._of.looked_at.append(wanted)
        if self._of.held is not None:
            await self._of.held.wait()
        if self._of.slow_above is not None and abs(wanted.at[0] - wanted.stop) > self._of.slow_above:
            raise SliceTimedOutError
        found = [row for row in self._rows if is_in(wanted, row) and wanted.filter.matches(row)]
        found.sort(
            key=(lambda row: row.place) if wanted.by is By.TIME else (lambda row: (row.seq, 0)), reverse=wanted.down
        )
        kept = found[: wanted.limit] if wanted.full else [shortened(row) for row in found[: wanted.limit]]
        return Found(kept, more=len(found) > wanted.limit)

    async def newest(self, timeout_s: float) -> int:
        return max((row.seq for row in self._rows), default=0)

    async def event(self, event_id: UUID, span: Span, timeout_s: float) -> Sequence[Row]:
        found = [row for row in self._rows if row.event_id == event_id and in_span(span, row)]
        return sorted(found, key=lambda row: row.event_time, reverse=True)

    async def counts(
        self, wanted: Slice, group: Group, interval_us: int, timeout_s: float, *, origin_us: int = 0
    ) -> Sequence[Count]:
        rows = (await self.rows(replace(wanted, limit=sys.maxsize), timeout_s)).rows
        if group is Group.LATE_REASON:
            rows = [row for row in rows if row.late]
        found = Counter(
            ((epoch_us(row.event_time) - origin_us) // interval_us * interval_us + origin_us, name_in(group, row))
            for row in rows
        )
        return [Count(at, name, number) for (at, name), number in found.items()]

    async def services(self, limit: int, timeout_s: float) -> Sequence[str]:
        return sorted({row.service_name for row in self._rows})[:limit]


def name_in(group: Group, row: Row) -> str:
    names = {
        Group.LEVEL: row.level,
        Group.SERVICE: row.service_name,
        Group.REGION: row.origin_region,
        Group.LATE_REASON: row.late_reason or "",
        Group.STREAM: json.dumps([row.service_name, row.level, row.origin_region, row.late], ensure_ascii=False),
        Group.NONE: "all",
    }
    return names[group]


def shortened(row: Row) -> Row:
    short = row.message[:MAX_SHOWN_MESSAGE]
    return row if short == row.message else replace(row, message=short, cut=True)


def in_span(span: Span, row: Row) -> bool:
    return span.begin <= epoch_us(row.event_time) < span.end


def is_in(wanted: Slice, row: Row) -> bool:
    """Whether a row lies where the slice looks."""
    if wanted.by is By.STORED:
        low, high = (wanted.stop, wanted.at[0]) if wanted.down else (wanted.at[0], wanted.stop)
        return low <= row.seq < high and in_span(wanted.span, row)
    time, seq = row.place
    if wanted.down:
        return wanted.stop <= time and ((time, seq) < wanted.at if wanted.at[1] else time < wanted.at[0])
    return time < wanted.stop and ((time, seq) > wanted.at if wanted.at[1] else time >= wanted.at[0])
