"""The tail in front of a table in memory: nothing lost, nothing twice, whatever is cut, slow, away or set back."""

import asyncio

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import looptime
import pytest

from hypothesis import given, settings
from hypothesis import strategies as st

from console.filter import Filter
from console.marks import Position, newest
from console.tail import cursor
from console.tail.fanout import MAX_EVENTS, FanOut
from console.tail.stream import TailStream
from console.tests.fake_table import FakeTable
from console.tests.sse import Parser
from testbed.patience import eventually


class Client:
    """
    Who reads one connection of a tail.

    Attributes:
        seen: `seq` of the rows.
        others: The other events.
        parser: Knows the last id.
    """

    def __init__(self, fan_out: FanOut, position: Position, wanted: Filter) -> None:
        self.seen: list[int] = []
        self.others: list[tuple[str, Any]] = []
        self.parser = Parser()
        self.taking = asyncio.Event()
        self.taking.set()
        self.closed = False
        self._raw = b""
        self._cut_at: int | None = None
        self._cut = asyncio.Event()
        self._stream = TailStream(fan_out, wanted, position, full=False, on_events=lambda _: None, close=self._close)

    async def _close(self) -> None:
        self.closed = True

    async def run(self, cut_at: int | None = None) -> None:
        """Read until the stream ends, or so many bytes were read."""
        self._cut_at = cut_at
        await self._stream({"type": "http", "state": {}}, self._receive, self._send)

    async def _receive(self) -> dict[str, str]:
        await self._cut.wait()
        return {"type": "http.disconnect"}

    async def _send(self, message: Any) -> None:
        await self.taking.wait()
        if message["type"] != "http.response.body":
            return
        before = len(self._raw)
        self._raw += message["body"]
        piece = self._raw[before : self._cut_at]
        if self._cut_at is not None and len(self._raw) >= self._cut_at:
            self._cut.set()
        for event, data in self.parser.feed(piece):
            if event == "log":
                self.seen.append(data["seq"])
            else:
                self.others.append((event, data))


@asynccontextmanager
async def polling(table: FakeTable) -> AsyncIterator[FanOut]:
    fan_out = FanOut(table)
    task = asyncio.create_task(fan_out.run())
    try:
        yield fan_out
    finally:
        task.cancel()
        await asyncio.wait([task])


@asynccontextmanager
async def reading(
    fan_out: FanOut, table: FakeTable, position: Position | None = None, wanted: Filter | None = None
) -> AsyncIterator[Client]:
    async with table.snapshot(None) as now:
        begin = newest(await now.marks()) if position is None else position
    client = Client(fan_out, begin, wanted or Filter())
    task = asyncio.create_task(client.run())
    try:
        yield client
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert client.closed


async def has(client: Client, seqs: Sequence[int]) -> None:
    await eventually(lambda: len(client.seen) >= len(seqs), f"{len(seqs)} rows")
    assert sorted(client.seen) == sorted(seqs)


async def test_rows_come_once_those_of_a_slow_transaction_too() -> None:
    table = FakeTable()
    table.store(3)
    async with polling(table) as fan_out, reading(fan_out, table) as client:
        first = table.insert(10, 1)
        second = table.store(10, 2)
        await has(client, [row.seq for row in second])
        first.commit()
        await has(client, [row.seq for row in [*first.rows, *second]])
    assert client.others[0][0] == "at"


async def test_tails_share_what_is_read() -> None:
    table = FakeTable()
    async with polling(table) as fan_out:
        async with reading(fan_out, table) as one, reading(fan_out, table) as other:
            table.store(3)
            await has(one, [1, 2, 3])
            await has(other, [1, 2, 3])
            count = table.snapshots
            await asyncio.sleep(1)
            assert table.snapshots - count <= 10, "one look for both, a few times a second"
        count = table.snapshots
        await asyncio.sleep(5)
        assert table.snapshots - count <= 1, "without a tail there is nothing to look at"


async def test_each_gets_what_it_wants() -> None:
    table = FakeTable()
    async with polling(table) as fan_out, reading(fan_out, table, wanted=Filter(services=("b",))) as client:
        table.store(2, service_name="a")
        table.store(2, service_name="b")
        await has(client, [3, 4])
        await eventually(lambda: any(data["passed"] == 4 for event, data in client.others if event == "at"), "an at")


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, 3000), max_size=6), seed=st.randoms(use_true_random=False))
def test_who_is_cut_off_at_any_byte_and_comes_back_has_each_row_once(cuts: list[int], seed: Any) -> None:
    async def run() -> None:
        table = FakeTable(page_rows=4)
        async with table.snapshot(None) as now:
            position = newest(await now.marks())
        seen: list[int] = []
        flights = []
        async with polling(table) as fan_out:
            for cut in [*cuts, None]:
                flights += [table.insert(seed.randint(0, 5), seed.randint(1, 3)) for _ in range(3)]
                # Of one generation in their order, of several in any.
                for generation in seed.sample((1, 2, 3), 3):
                    of_it = [flight for flight in flights if flight.generation == generation]
                    for flight in of_it[: seed.randint(0, 2)] if cut is not None else of_it:
                        flight.commit()
                        flights.remove(flight)
                client = Client(fan_out, position, Filter())
                task = asyncio.create_task(client.run(cut))
                # Whether it gets so far or not, it goes away; the last one stays until it has all.
                await asyncio.wait([task], timeout=10 if cut is None else seed.random() * 3)
                task.cancel()
                await asyncio.wait([task])
                seen += client.seen
                if client.parser.last_id:
                    position = cursor.read(client.parser.last_id)
        assert sorted(seen) == sorted(row.seq for row in table.rows)

    with asyncio.Runner(loop_factory=partial(looptime.new_event_loop, _enabled=True)) as runner:
        runner.run(run())


async def test_a_slow_reader_falls_behind_and_has_all_of_it_in_the_end() -> None:
    table = FakeTable(page_rows=200)
    async with polling(table) as fan_out, reading(fan_out, table) as slow, reading(fan_out, table) as fast:
        table.store(1)
        await has(slow, [1])
        slow.taking.clear()
        for _ in range(30):
            table.store(MAX_EVENTS // 4)
            await eventually(lambda: len(fast.seen) == len(table.rows), "the other one is not held up")
        waiting = slow._stream._subscription._events
        assert waiting <= MAX_EVENTS, "it is not kept in memory"
        slow.taking.set()
        await has(slow, [row.seq for row in table.rows])
        behind = [data for event, data in slow.others if event == "behind"]
        assert behind == [] or behind[0]["rows"] > 0
        more = table.store(5)
        await has(slow, [row.seq for row in table.rows])
        assert slow.seen[-5:] == [row.seq for row in more]


async def test_a_tail_from_before_reads_what_was_stored_since() -> None:
    table = FakeTable(page_rows=3)
    table.store(10)
    open_one = table.insert(2, 2)
    table.store(10)
    async with table.snapshot(None) as now:
        marks = await now.marks()
        position = newest(marks).not_above(await now.last_before(table.rows[15].stored_at, marks.high))
    open_one.commit()
    async with polling(table) as fan_out, reading(fan_out, table, position) as client:
        # Those of the transaction that was open were not there, wherever their numbers lie.
        await has(client, [11, 12, *range(18, 23)])


async def test_when_the_database_is_set_back_the_tail_says_so_and_goes_on() -> None:
    table = FakeTable()
    table.store(5)
    async with polling(table) as fan_out, reading(fan_out, table) as client:
        table.store(5)
        await has(client, range(6, 11))
        table.store_id, table.rows, table.marks, table.seq = "ffffffff", table.rows[:3], {0: 0, 1: 3}, 3
        await eventually(lambda: "reset" in [event for event, _ in client.others], "a reset")
        client.seen.clear()
        table.store(2, 7)
        await has(client, [4, 5])


async def test_who_comes_back_to_another_database_is_told() -> None:
    table = FakeTable()
    table.store(5)
    async with polling(table) as fan_out, reading(fan_out, table, Position("ffffffff", 3)) as client:
        await eventually(lambda: "reset" in [event for event, _ in client.others], "a reset")
        table.store(2)
        await has(client, [6, 7])


async def test_while_the_database_is_away_it_says_so_and_goes_on_afterwards() -> None:
    table = FakeTable()
    async with polling(table) as fan_out, reading(fan_out, table) as client:
        table.store(1)
        await has(client, [1])
        table.away = "PostgreSQL does not answer"
        await eventually(lambda: "behind" in [event for event, _ in client.others], "a behind")
        assert client.others[-1][1]["behindMs"] > 0 or client.others[-2][1]["ms"] > 0
        async with reading_while_away(fan_out) as late:
            await eventually(lambda: "behind" in [event for event, _ in late.others], "a behind")
            table.away = None
            table.store(2)
            await has(client, [1, 2, 3])
            await has(late, [1, 2, 3])


@asynccontextmanager
async def reading_while_away(fan_out: FanOut) -> AsyncIterator[Client]:
    client = Client(fan_out, Position(FakeTable().store_id, 0), Filter())
    task = asyncio.create_task(client.run())
    yield client
    task.cancel()
    await asyncio.wait([task])


async def test_a_console_that_ends_says_where_to_go_on() -> None:
    table = FakeTable()
    async with polling(table) as fan_out:
        async with table.snapshot(None) as now:
            client = Client(fan_out, newest(await now.marks()), Filter())
        task = asyncio.create_task(client.run())
        table.store(2)
        await has(client, [1, 2])
        fan_out.end()
        await task
    assert client.others[-1] == ("bye", {"why": "restart"})
    table.store(1)
    async with polling(table) as fan_out, reading(fan_out, table, cursor.read(client.parser.last_id)) as again:
        await has(again, [3])


@pytest.mark.parametrize("size", [1, 200_000])
async def test_a_row_of_any_size_is_one_event(size: int) -> None:
    table = FakeTable()
    async with polling(table) as fan_out, reading(fan_out, table) as client:
        table.store(2, message="x" * size + "\nbehind a new line")
        await has(client, [1, 2])
