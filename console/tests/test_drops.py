"""Days that are dropped, against writers that commit in any order: a row comes once, or a tail is told that it does not come."""

import asyncio

from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Final

from hypothesis import example, given, settings
from hypothesis import strategies as st

from console.drops import Drop, Missed, missed
from console.marks import Marks, Position, newest
from console.row import Row
from console.tail.step import Step, take_step
from console.tests.fake_table import BEGIN, FakeTable, Flight
from console.tests.test_tail import has, polling, reading
from testbed.patience import eventually

STORE: Final = "0a1b2c3d"
DAYS: Final = tuple((BEGIN - timedelta(days=n)).date() for n in range(3))
Told = list[tuple[Missed, frozenset[int]]]


@dataclass
class Tail:
    """A reader; what it was told, each time with what it had not read of the days that are gone."""

    position: Position
    there: frozenset[int]
    seen: list[int] = field(default_factory=list)
    told: Told = field(default_factory=list)


class Play:
    """Three writers, three days, and tails."""

    def __init__(self) -> None:
        self.table = FakeTable(page_rows=3)
        self.tails: list[Tail] = []
        self._stored: dict[int, Row] = {}
        self._gone: set[date] = set()
        self._open: dict[int, Flight] = {}

    async def do(self, what: str, who: int, count: int) -> None:
        if what == "store" and who not in self._open:
            self._open[who] = self.table.insert(count, who, event_time=BEGIN - timedelta(days=count % len(DAYS)))
        elif what == "commit" and who in self._open:
            self._commit(who)
        elif what == "drop":
            day = DAYS[who - 1]
            # It waits for those that write to the day.
            if not any(row.event_time.date() == day for flight in self._open.values() for row in flight.rows):
                self.table.drop(day)
                self._gone.add(day)
        elif what == "tail":
            async with self.table.snapshot(None) as now:
                position = newest(await now.marks())
            self.tails.append(Tail(position, frozenset(self._stored)))
        elif what == "step":
            for tail in self.tails:
                await self._step(tail)

    def _commit(self, who: int) -> None:
        flight = self._open.pop(who)
        flight.commit()
        self._stored |= {row.seq: row for row in flight.rows}

    async def _step(self, tail: Tail) -> Step:
        async with self.table.snapshot(None) as now:
            step = await take_step(now, tail.position)
        if step.reset is not None:
            assert step.reset.missed is not None, step.reset
            there = {row.seq for row in self.table.rows}
            unread = self._stored.keys() - set(tail.seen) - tail.there - there
            days = frozenset(self._stored[seq].event_time.toordinal() for seq in unread)
            tail.told.append((step.reset.missed, days))
        tail.seen += [event.row.seq for event in step.events]
        tail.position = step.end
        return step

    async def check(self) -> None:
        for who in list(self._open):
            self._commit(who)
        left = {row.seq for row in self.table.rows}
        for tail in self.tails:
            while (step := await self._step(tail)).is_full or step.reset:
                pass
            wanted = self._stored.keys() - tail.there
            assert len(set(tail.seen)) == len(tail.seen), "each once"
            assert set(tail.seen) <= wanted, "nothing of before the beginning"
            assert wanted & left <= set(tail.seen), "all that is there"
            for seq in wanted - set(tail.seen):
                day = self._stored[seq].event_time.date()
                assert any(found.first <= day <= found.last for found, _ in tail.told), "told of what did not come"
            for found, unread in tail.told:
                assert {found.first.toordinal(), found.last.toordinal()} <= unread, "and of nothing else"


STEPS: Final[st.SearchStrategy[list[tuple[str, int, int]]]] = st.lists(
    st.tuples(
        st.sampled_from(("store",) * 4 + ("commit",) * 4 + ("step",) * 3 + ("drop", "drop", "tail")),
        st.integers(1, 3),
        st.integers(0, 5),
    ),
    max_size=40,
)


@settings(max_examples=400, deadline=None)
@given(steps=STEPS)
@example(steps=[("store", 1, 1), ("store", 2, 3), ("commit", 2, 0), ("step", 1, 0), ("commit", 1, 0), ("drop", 2, 0)])
@example(steps=[("store", 1, 1), ("commit", 1, 0), ("step", 1, 0), ("drop", 2, 0), ("store", 1, 1), ("commit", 1, 0)])
def test_each_row_comes_once_or_its_day_is_told_exactly(steps: list[tuple[str, int, int]]) -> None:
    async def run() -> None:
        play = Play()
        for step in [("tail", 1, 0), *steps]:
            await play.do(*step)
        await play.check()

    asyncio.run(run())


def test_each_generation_is_compared_with_its_own_place() -> None:
    position = Position(STORE, 100, {7: 40}, dropped=2)
    day, other = DAYS[:2]
    assert missed(position, [Drop(3, day, 7, 40), Drop(3, day, 8, 100), Drop(3, day, -1, 100)]) is None
    assert missed(position, [Drop(3, day, 7, 41)]) == Missed(day, day)
    assert missed(position, [Drop(3, day, -1, 101), Drop(4, other, 8, 101)]) == Missed(other, day)
    assert missed(position, [Drop(2, day, 8, 500)]) is None, "it has been told"


def test_a_position_at_the_newest_has_missed_nothing() -> None:
    position = newest(Marks(STORE, {0: 0, 5: 100}, dropped=9))
    assert position.dropped == 9
    assert position.not_above(3).dropped == 9


async def test_who_is_behind_is_told_and_who_is_not_goes_on() -> None:
    table = FakeTable(page_rows=4)
    old = BEGIN - timedelta(days=9)
    async with table.snapshot(None) as now:
        begin = newest(await now.marks())
    async with polling(table) as fan_out, reading(fan_out, table) as near:
        lost = table.store(10, event_time=old)
        kept = table.store(10)
        await has(near, [row.seq for row in [*lost, *kept]])
        table.drop(old.date())
        async with reading(fan_out, table, begin) as far:
            await has(far, [row.seq for row in kept])
            more = table.store(3)
            await has(far, [row.seq for row in [*kept, *more]])
        await has(near, [row.seq for row in [*lost, *kept, *more]])
    resets = [data for event, data in far.others if event == "reset"]
    assert [(data["from"], data["to"]) for data in resets] == [("2026-11-17T00:00:00Z", "2026-11-18T00:00:00Z")]
    assert "2026-11-17" in resets[0]["why"]
    assert "reset" not in [event for event, _ in near.others]


async def test_a_tail_that_joins_while_a_day_goes_is_told() -> None:
    """What it was to read lies between the marks that the poller has and the moment at which it looks itself."""
    table = FakeTable()
    old = BEGIN - timedelta(days=9)
    async with table.snapshot(None) as now:
        begin = newest(await now.marks())
    table.store(3, event_time=old)
    dropped = False

    async with polling(table) as fan_out:
        take = fan_out._advance

        async def advance() -> bool:
            nonlocal dropped
            more = await take()
            if not dropped:
                table.drop(old.date())
                dropped = True
            return more

        fan_out._advance = advance  # type: ignore[method-assign]
        async with reading(fan_out, table, begin) as client:
            await eventually(lambda: "reset" in [event for event, _ in client.others], "a reset")
            more = table.store(2)
            await has(client, [row.seq for row in more])
    assert [event for event, _ in client.others].count("reset") == 1
