"""T1: a tail by writers' marks delivers what was committed, each row once; a tail by `seq` alone does not."""

import asyncio

from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import asyncpg
import pytest

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from surroundings import as_consumer, as_role, make_tables
from test_ports import an_envelope, query, rows_of

from console.marks import BEGINNING, Position, Reading, generation_of, newest, was_set_back
from console.tail.table import PostgresSnapshot
from console.whose import as_tenant
from consumer.adapters.postgres_progress import ProgressLines
from consumer.adapters.postgres_rows import STAGE, insert
from consumer.copy_format import copy_rows
from consumer.envelope import Partition
from consumer.ports import FencedError, Progress

pytestmark = pytest.mark.services

PAGE: Final = 7
PARTITIONS: Final = (Partition("logs", 0), Partition("logs", 1))


class Writer:
    """A consumer whose transactions can be stopped between their rows and their commit."""

    def __init__(self, region: str, connection: asyncpg.Connection) -> None:
        self._region = region
        self._connection = connection
        self._lines = ProgressLines(region, "g")
        self._transaction: asyncpg.transaction.Transaction | None = None
        self._generation = 0
        self._next = 0

    async def claim(self) -> None:
        """Take the partitions anew; what is in flight is lost."""
        await self.abort()
        async with self._connection.transaction():
            claim = await self._lines.claim(self._connection, PARTITIONS)
        self._lines.claimed(claim)
        self._generation = claim.generation

    async def begin(self, rows: int) -> None:
        """Insert rows, and write the progress that belongs to them."""
        if self._transaction is not None:
            return
        if not self._generation:
            await self.claim()
        self._transaction = self._connection.transaction()
        await self._transaction.start()
        batch = rows_of(*[an_envelope(n) for n in range(rows)])
        if batch:
            await insert(self._connection, batch, copy_rows(batch, f"{self._region}/one/{self._generation}"))
        self._next += rows
        await self._write_progress()

    async def _write_progress(self) -> None:
        await self._lines.write(self._connection, {PARTITIONS[0]: Progress(self._next, None)}, self._generation)

    async def commit(self) -> None:
        """Commit what is in flight."""
        if self._transaction is not None:
            await self._transaction.commit()
            self._lines.written([PARTITIONS[0]])
            self._transaction = None

    async def abort(self) -> None:
        """Take back what is in flight; its numbers are burnt."""
        if self._transaction is not None:
            await self._transaction.rollback()
            self._transaction = None


class WriterOfBefore(Writer):
    """A consumer of a release that wrote no marks."""

    async def claim(self) -> None:
        """Take the partitions anew, as that release did."""
        await self.abort()
        self._generation = await self._connection.fetchval("SELECT nextval('consumer_generation')")
        await self._connection.execute(
            "INSERT INTO consumer_offsets (consumer_group, region, topic, partition, generation, stamp) "
            "SELECT 'g', $1, 'logs', n, $2, gen_random_uuid() FROM generate_series(0, 1) AS n "
            "ON CONFLICT (consumer_group, region, topic, partition) DO UPDATE SET generation = EXCLUDED.generation",
            self._region,
            self._generation,
        )

    async def _write_progress(self) -> None:
        done = await self._connection.execute(
            "UPDATE consumer_offsets SET next_offset = 1 WHERE region = $1 AND partition = 0 AND generation = $2",
            self._region,
            self._generation,
        )
        if done != "UPDATE 1":
            raise FencedError("generation is over")


@asynccontextmanager
async def snapshot(connection: asyncpg.Connection) -> AsyncIterator[PostgresSnapshot]:
    """Let a test's own connection be what a tail reads from."""
    async with connection.transaction(isolation="repeatable_read", readonly=True):
        await connection.execute(as_tenant(0))
        yield PostgresSnapshot(connection, PAGE, 0)


@dataclass
class Tail:
    """A tail by marks, which keeps nothing but its position between two steps."""

    connection: asyncpg.Connection
    position: Position
    seen: list[Any] = field(default_factory=list)

    async def step(self) -> bool:
        """Read a page; return whether more may be there at once."""
        async with snapshot(self.connection) as now:
            marks = await now.marks()
            assert not was_set_back(self.position, marks)
            reading = Reading(self.position, marks)
            page = await now.rows(reading.low, reading.high)
        self.seen += [
            {"event_id": row.event_id, "seq": row.seq, "stored_by": row.stored_by}
            for row in page.rows
            if reading.delivers(generation_of(row.stored_by), row.seq)
        ]
        self.position = reading.at(page.reached if page.is_full else reading.high)
        return page.is_full

    async def read_all(self) -> None:
        """Go on until nothing more is there."""
        while await self.step():
            pass


@dataclass
class TailBySeq:
    """What does not work: to go on behind the highest `seq` that was seen."""

    connection: asyncpg.Connection
    last: int = 0
    seen: list[Any] = field(default_factory=list)

    async def step(self) -> bool:
        async with self.connection.transaction(readonly=True):
            await self.connection.execute(as_tenant(0))
            statement = "SELECT * FROM tenant_logs WHERE seq > $1 ORDER BY seq LIMIT $2"
            rows = await self.connection.fetch(statement, self.last, PAGE)
        self.seen += rows
        self.last = max([self.last, *(row["seq"] for row in rows)])
        return len(rows) == PAGE

    async def read_all(self) -> None:
        while await self.step():
            pass


@dataclass
class World:
    """Writers of two regions on one database, and who reads it."""

    dsn: str
    writers: Sequence[Writer]
    reader: asyncpg.Connection

    async def close(self) -> None:
        for writer in self.writers:
            await writer._connection.close()
        await self.reader.close()

    async def a_tail(self) -> Tail:
        """Begin one behind all that is committed."""
        async with snapshot(self.reader) as now:
            return Tail(self.reader, newest(await now.marks()))

    async def stored(self) -> list[asyncpg.Record]:
        return await query(self.dsn, "SELECT event_id, seq FROM logs")


async def a_world(dsn: str, kinds: Sequence[type[Writer]] = (Writer, Writer)) -> World:
    await query(dsn, "TRUNCATE logs, consumer_offsets")
    await query(dsn, "DELETE FROM writers WHERE generation > 0")
    writers = []
    for region, kind in zip(("region-a", "region-b"), kinds, strict=True):
        connection = await asyncpg.connect(as_consumer(dsn))
        await connection.execute(STAGE)
        writers.append(kind(region, connection))
    return World(dsn, writers, await asyncpg.connect(as_role("logs_api", dsn)))


@pytest.fixture
async def tables(postgres: str) -> str:
    await make_tables(postgres)
    return postgres


def each_once(seen: Sequence[Any], stored: Sequence[Any]) -> None:
    assert Counter(row["event_id"] for row in seen) == Counter(row["event_id"] for row in stored)


async def interleaved(world: World, tail: Tail | TailBySeq) -> None:
    """Let the second writer draw its numbers after the first one, and commit before it, as happens all the time."""
    first, second = world.writers
    await first.begin(10)
    await second.begin(10)
    await second.commit()
    await tail.read_all()
    await first.commit()
    await tail.read_all()


async def test_a_tail_by_seq_alone_loses_rows(tables: str) -> None:
    world = await a_world(tables)
    tail = TailBySeq(world.reader)
    await interleaved(world, tail)
    stored = await world.stored()
    await world.close()

    assert len(stored) == 20
    assert len(tail.seen) == 10, "if it lost none, no marks would be needed"


async def test_a_tail_by_marks_loses_none(tables: str) -> None:
    world = await a_world(tables)
    tail = await world.a_tail()
    await interleaved(world, tail)
    stored = await world.stored()
    await world.close()

    each_once(tail.seen, stored)


STEPS: Final = st.one_of(
    st.tuples(st.just("begin"), st.integers(0, 1), st.integers(0, 12)),
    st.tuples(st.sampled_from(["commit", "abort", "claim"]), st.integers(0, 1), st.just(0)),
    st.tuples(st.sampled_from(["read", "page", "tail"]), st.just(0), st.just(0)),
)


class Play:
    """Writers and tails at the same time; each tail has in the end what was committed after its beginning, once."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._tails: list[tuple[Tail, set[object]]] = []

    async def do(self, what: str, who: int, rows: int) -> None:
        """Let a writer or the tails take a step."""
        if what == "begin":
            await self._world.writers[who].begin(rows)
        elif what == "tail":
            there = {row["event_id"] for row in await self._world.stored()}
            self._tails.append((await self._world.a_tail(), there))
        elif what in {"page", "read"}:
            for tail, _ in self._tails:
                await (tail.step() if what == "page" else tail.read_all())
        else:
            await getattr(self._world.writers[who], what)()

    async def check(self) -> None:
        """Let all writers end, a present consumer take over, and compare."""
        for writer in self._world.writers:
            await writer.commit()
            await Writer.claim(writer)
        stored = await self._world.stored()
        for tail, there in self._tails:
            await tail.read_all()
            seen = [row for row in tail.seen if row["event_id"] not in there]
            each_once(seen, [row for row in stored if row["event_id"] not in there])
            assert len({row["event_id"] for row in tail.seen}) == len(tail.seen), "each once"
            for generation in {generation_of(row["stored_by"]) for row in tail.seen}:
                own = [row["seq"] for row in tail.seen if generation_of(row["stored_by"]) == generation]
                assert own == sorted(own), "in the order of its writer"
            if all(type(writer) is Writer for writer in self._world.writers):
                assert len(seen) == len(tail.seen), "nothing of before the beginning"


@pytest.mark.parametrize("kinds", [(Writer, Writer), (Writer, WriterOfBefore)], ids=["present", "one-of-before"])
async def test_whatever_order_transactions_commit_in_each_tail_has_each_row_once(
    tables: str, kinds: tuple[type[Writer], type[Writer]]
) -> None:
    loop = asyncio.get_running_loop()

    async def run(steps: Sequence[tuple[str, int, int]]) -> None:
        world = await a_world(tables, kinds)
        try:
            play = Play(world)
            for step in [("tail", 0, 0), *steps]:
                await play.do(*step)
            await play.check()
        finally:
            await world.close()

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(steps=st.lists(STEPS, max_size=25))
    @example(
        # Two claims in the order in which generations are not drawn, and the first rows of all.
        steps=[("begin", 0, 10), ("begin", 1, 10), ("commit", 1, 0), ("read", 0, 0), ("commit", 0, 0), ("read", 0, 0)]
    )
    def holds(steps: Sequence[tuple[str, int, int]]) -> None:
        asyncio.run_coroutine_threadsafe(run(steps), loop).result()

    await asyncio.to_thread(holds)


async def test_a_generation_drawn_before_another_and_claimed_after_it_loses_nothing(tables: str) -> None:
    """Generations are numbers of a sequence, too: a later one may be seen before an earlier one."""
    world = await a_world(tables)
    first, second = world.writers
    open_claim = first._connection.transaction()
    await open_claim.start()
    claim = await first._lines.claim(first._connection, PARTITIONS)
    await second.begin(3)
    await second.commit()
    tail = await world.a_tail()
    await second.begin(3)
    await second.commit()
    await tail.read_all()
    await open_claim.commit()
    first._lines.claimed(claim)
    first._generation = claim.generation
    await first.begin(3)
    await first.commit()
    await tail.read_all()
    stored = await world.stored()
    await world.close()

    assert len(stored) == 9
    assert len(tail.seen) == 6
    each_once(tail.seen, sorted(stored, key=lambda row: row["seq"])[3:])


async def test_the_very_first_row_of_a_database_is_delivered(tables: str) -> None:
    """A sequence that gave no number yet says 1, as one does that gave that number."""
    world = await a_world(tables)
    await query(tables, "ALTER TABLE logs ALTER COLUMN seq RESTART")
    await query(tables, "UPDATE writers SET last_seq = 0")
    await world.writers[0].claim()
    tail = await world.a_tail()
    await world.writers[0].begin(1)
    await world.writers[0].commit()
    await tail.read_all()
    await world.close()

    assert [row["seq"] for row in tail.seen] == [1]


async def test_who_is_over_leaves_no_mark_and_cannot_write(tables: str) -> None:
    world = await a_world(tables)
    first, second = world.writers
    second._region = first._region
    second._lines = ProgressLines(first._region, "g")
    await first.claim()
    await second.claim()
    marks = await query(tables, "SELECT generation FROM writers WHERE generation > 0")
    with pytest.raises(FencedError):
        await first.begin(1)
    await first.abort()
    await world.close()

    assert [row["generation"] for row in marks] == [second._generation]


async def test_rows_without_progress_are_fenced_by_the_mark_alone(tables: str) -> None:
    world = await a_world(tables)
    [writer, _] = world.writers
    await writer.claim()
    async with writer._connection.transaction():
        await writer._lines.write(writer._connection, {}, writer._generation)
    with pytest.raises(FencedError):
        await writer._lines.write(writer._connection, {}, writer._generation + 1)
    await world.close()


async def test_an_earlier_consumers_rows_are_held_back_until_a_successor_has_its_partitions(tables: str) -> None:
    world = await a_world(tables, (Writer, WriterOfBefore))
    present, before = world.writers
    tail = await world.a_tail()
    await present.begin(5)
    await before.begin(5)
    await present.commit()
    await before.commit()
    await tail.read_all()
    assert len(tail.seen) == 5
    await present.begin(5)
    await present.commit()
    await tail.read_all()
    assert len(tail.seen) == 10, "rows of others come meanwhile"
    await Writer.claim(before)
    await tail.read_all()
    stored = await world.stored()
    await world.close()

    each_once(tail.seen, stored)


async def test_the_reader_may_see_marks_and_nothing_of_the_offsets(tables: str) -> None:
    world = await a_world(tables)
    async with snapshot(world.reader) as now:
        marks = await now.marks()
    [(store_id,)] = await query(tables, "SELECT id::text FROM store_identity")
    for table in ("writers", "consumer_offsets", "logs_seq_seq"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await world.reader.execute(f"SELECT FROM {table}")
    await world.close()

    assert marks.store_id == store_id[:8]
    assert set(marks.last_seq) == {BEGINNING}
