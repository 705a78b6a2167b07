import asyncio

from collections.abc import Sequence

import pytest

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from consumer.bloom import RotatingBloom
from consumer.envelope import DeadLetter, Partition, Row
from consumer.letters import size_of
from consumer.memory import REDIS
from consumer.metrics import ConsumerMetrics
from consumer.orders import Orders
from consumer.outages import FIRST_PAUSE_S, LONGEST_PAUSE_S, Outages
from consumer.ports import DeadLettersUnavailableError, FencedError, Progress
from consumer.tests.fakes import MemoryDeadLetters, MemoryRecord, MemorySeenIds, MemoryStore
from consumer.tests.steps import Steps
from consumer.tests.strategies import MIRRORED, OWN, OWN_TOO, REGION, a_record, an_envelope, is_poison

WINDOW = 10
NOW = 1_000_000
PARTITIONS = (OWN, OWN_TOO, MIRRORED)


def a_value(
    offset: int, time_us: int, *, number: int | None = None, message: str = "Hello", received_us: int | None = None
) -> MemoryRecord:
    record = a_record(offset if number is None else number, time_us=time_us, message=message, received_us=received_us)
    return MemoryRecord(offset, b"trace", record.encode())


class Bench:
    """A pipeline over ports in memory, and what can be seen of it."""

    def __init__(self, *, batch_max: int = 100, max_events: int = 1000, max_bytes: int = 10_000_000) -> None:
        self.store = MemoryStore()
        self.seen = MemorySeenIds()
        self.dead_letters = MemoryDeadLetters()
        self.bloom = RotatingBloom(1000, 0.001)
        self.outages = Outages()
        self.registry = CollectorRegistry()
        self.metrics = ConsumerMetrics(self.registry, REGION, (REGION, "region-b"))
        self.metrics.follow(lambda: True, lambda: bool(self.outages.among(REDIS)))
        self.pauses: list[float] = []
        self.now_us = NOW
        self._batch_max = batch_max
        self._max_events = max_events
        self._max_bytes = max_bytes

    async def begin(self) -> Steps:
        """Claim the partitions; all of them have unread records."""
        claim = await self.store.claim(PARTITIONS)
        self.seen.use_store(claim.store_id)
        self.buffer = Orders(
            region=REGION,
            window_us=WINDOW,
            max_future_us=1000,
            max_events=self._max_events,
            max_bytes=1_000_000,
            patience_us=WINDOW,
        )
        for partition in PARTITIONS:
            watermark_us = claim.progress[partition].watermark_us
            self.buffer.assign(partition, watermark_us, NOW, has_unread=False)
        return Steps(
            region=REGION,
            claim=claim,
            buffer=self.buffer,
            bloom=self.bloom,
            seen=self.seen,
            store=self.store,
            dead_letters=self.dead_letters,
            metrics=self.metrics,
            outages=self.outages,
            now_us=lambda: self.now_us,
            batch_max=self._batch_max,
            max_bytes=self._max_bytes,
            pause=self._pause,
        )

    async def _pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    @property
    def rows(self) -> list[tuple[int, bool]]:
        """Id and lateness of what is stored, in write order."""
        rows = [stored.row for stored in self.store.database.tables.rows]
        return [(int.from_bytes(row.envelope.event_id), row.lateness is not None) for row in rows]

    def progress(self, partition: Partition = OWN) -> Progress:
        return self.store.database.tables.offsets[REGION, partition].progress

    def count(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, {"region": REGION, **labels}) or 0


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_what_is_released_is_stored_in_order_and_the_rest_holds_the_offset_back(bench: Bench) -> None:
    pipeline = await bench.begin()

    await pipeline.turn({OWN: [a_value(0, 105), a_value(1, 101), a_value(2, 103), a_value(3, 114)]})

    assert bench.rows == [(1, False), (2, False)]
    assert bench.progress() == Progress(0, 104)
    assert pipeline.durable == {OWN: 0}


async def test_nothing_is_durable_before_anything_was_stored(bench: Bench) -> None:
    pipeline = await bench.begin()

    await pipeline.turn({OWN: [a_value(0, 105)]})

    assert (bench.rows, pipeline.durable) == ([], {})


async def test_a_late_event_is_stored_at_once_with_its_reason(bench: Bench) -> None:
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 200)], MIRRORED: [a_value(0, 200, number=0)]})

    await pipeline.turn({OWN: [a_value(1, 100)], MIRRORED: [a_value(1, 150, number=7)]})

    assert bench.rows == [(1, True), (7, True)]
    assert bench.count("reorder_late_arrivals_total", reason="pipeline") == 1
    assert bench.count("reorder_late_arrivals_total", reason="replication_backlog") == 1


async def test_each_region_has_an_order_of_its_own(bench: Bench) -> None:
    """However far one is, what comes from another is in time and in order, and says whose order it is in."""
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 900), a_value(1, 1000)]})

    await pipeline.turn({MIRRORED: [a_value(0, 100, number=5), a_value(1, 200, number=6)]})

    assert bench.rows == [(0, False), (5, False)]
    writers = [stored.stored_by for stored in bench.store.database.tables.rows]
    assert writers == ["region-a/one/1", "region-a/one/1/region-b"]


async def test_rows_of_several_orders_are_written_in_one_order() -> None:
    """The order in which the other region's consumer writes them too, so that the two cannot deadlock."""
    bench = Bench()
    pipeline = await bench.begin()

    await pipeline.turn(
        {
            OWN: [a_value(0, 100), a_value(1, 102), a_value(2, 300)],
            MIRRORED: [a_value(0, 101, number=5), a_value(1, 103, number=6), a_value(2, 300, number=7)],
        }
    )

    assert bench.rows == [(0, False), (5, False), (1, False), (6, False)]


async def test_a_crash_keeps_what_waits_in_another_order_in_time() -> None:
    bench = Bench(batch_max=1)
    pipeline = await bench.begin()
    own = [a_value(0, 100), a_value(1, 101), a_value(2, 300)]
    mirrored = [a_value(0, 50, number=5), a_value(1, 51, number=6), a_value(2, 300, number=7)]
    pipeline.feed(OWN, own)
    pipeline.feed(MIRRORED, mirrored)
    pipeline.arrived()
    await pipeline.write()
    assert (bench.progress(OWN).watermark_us, bench.progress(MIRRORED).watermark_us) == (101, 50)

    successor = await bench.begin()
    await successor.turn({OWN: own, MIRRORED: mirrored})

    assert sorted(bench.rows) == [(0, False), (1, False), (5, False), (6, False)]


async def test_late_events_are_written_in_one_order_with_the_others(bench: Bench) -> None:
    """The order in which the other region's consumer writes them too, so that the two cannot deadlock."""
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 200)]})

    await pipeline.turn({OWN: [a_value(2, 120), a_value(3, 300)]})

    assert bench.rows == [(0, False), (2, True), (1, False)]


async def test_a_known_duplicate_is_not_counted_as_late(bench: Bench) -> None:
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 300)]})
    assert bench.rows == [(0, False)]

    bench.seen.memory.clear()
    await pipeline.turn({MIRRORED: [a_value(0, 100, number=0), a_value(1, 300, number=1)]})

    assert bench.rows == [(0, False)]
    assert bench.count("dedup_hits_total", layer="postgres") == 1
    assert bench.count("reorder_late_arrivals_total", reason="replication_backlog") == 0


async def test_a_mirrored_copy_is_recognised_without_the_store(bench: Bench) -> None:
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 300)]})
    bench.store.refuses = lambda _row: pytest.fail("the store was asked")

    await pipeline.turn({MIRRORED: [a_value(0, 100, number=0), a_value(1, 300, number=1)]})

    assert bench.count("dedup_hits_total", layer="redis") == 1
    assert bench.progress(MIRRORED).next_offset == 1


async def test_a_redelivered_record_is_for_the_store_to_recognise(bench: Bench) -> None:
    """Redis knows the id, but from this very record: should the store have lost it, it is stored again."""
    pipeline = await bench.begin()
    empty = bench.store.database.snapshot()
    records = [a_value(0, 100), a_value(1, 300)]
    await pipeline.turn({OWN: records})
    bench.store.database.set_back(empty)

    again = await bench.begin()
    await again.turn({OWN: records})

    assert bench.rows == [(0, False)]


async def test_the_same_event_twice_in_one_batch_is_stored_once(bench: Bench) -> None:
    pipeline = await bench.begin()

    await pipeline.turn({OWN: [a_value(0, 100, number=5), a_value(1, 100, number=5), a_value(2, 300)]})

    assert bench.rows == [(5, False)]
    assert bench.count("dedup_hits_total", layer="postgres") == 1


async def test_ids_are_remembered_only_once_they_are_committed(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.store.unavailable = 1
    seen_when_it_failed: list[int] = []

    async def pause(_seconds: float) -> None:
        seen_when_it_failed.append(len(bench.seen.memory))

    pipeline.pause_with(pause)
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 300)]})

    assert seen_when_it_failed == [0]
    assert len(bench.seen.memory) == 1


async def test_without_redis_everything_is_stored_and_it_is_said(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.seen.unavailable = True
    await pipeline.turn({MIRRORED: [a_value(0, 100), a_value(1, 300)]})
    assert bench.rows == [(0, False)]
    assert bench.outages.among(REDIS) == ["redis reads: told to fail", "redis writes: told to fail"]
    assert bench.count("dedup_degraded") == 1

    bench.seen.unavailable = False
    await pipeline.turn({MIRRORED: [a_value(2, 400)]})
    assert bench.outages.among(REDIS) == []
    assert bench.count("dedup_degraded") == 0


async def test_a_redis_that_answers_and_remembers_nothing_is_one_trouble_and_still_of_use(bench: Bench) -> None:
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 300)]})
    bench.seen.read_only = True

    with capture_logs() as lines:
        for n in range(2, 6):
            copy, new = a_value(2 * n, 100, number=0), a_value(2 * n + 1, 300 + 20 * n, number=n)
            await pipeline.turn({OWN: [a_value(n, 300 + 20 * n, number=n)], MIRRORED: [copy, new]})

    assert [(line["event"], line["port"]) for line in lines] == [("trouble began", "redis writes")]
    assert bench.count("dedup_degraded") == 1
    assert bench.count("dedup_hits_total", layer="redis") > 0


async def test_nothing_stored_is_forgotten_when_the_next_batch_is_stored_meanwhile(bench: Bench) -> None:
    pipeline = await bench.begin()

    async def remember_meanwhile(at: str) -> None:
        if at == "store took effect":
            await pipeline.remember()

    bench.store.interrupt = remember_meanwhile
    for n in range(5):
        await pipeline.turn({OWN: [a_value(n, 100 * n, number=n)]})
    await pipeline.turn({OWN: [a_value(5, 10_000)]})

    assert len(bench.seen.memory) == len(bench.rows) == 5
    assert all(stored.row.envelope.identity in bench.bloom for stored in bench.store.database.tables.rows)
    assert bench.count("consumer_events_stored_total", origin=REGION) == 5


@pytest.mark.parametrize("fault", ["unavailable", "read_only"])
async def test_it_is_found_out_that_redis_works_again_although_nothing_comes(bench: Bench, fault: str) -> None:
    pipeline = await bench.begin()
    setattr(bench.seen, fault, True)
    await pipeline.turn({MIRRORED: [a_value(0, 100), a_value(1, 300)]})
    await pipeline.probe()
    assert bench.count("dedup_degraded") == 1

    setattr(bench.seen, fault, False)
    await pipeline.probe()
    assert bench.outages.among(REDIS) == []
    assert bench.count("dedup_degraded") == 0


async def test_nothing_is_remembered_for_another_store_than_that_which_has_it(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.seen.unavailable = True
    await pipeline.turn({MIRRORED: [a_value(0, 100), a_value(1, 300)]})
    bench.seen.unavailable = False
    bench.seen.use_store("another")
    bench.outages.forget_probes()

    await pipeline.probe()

    assert bench.seen.memory == {}


async def test_a_store_that_is_away_is_asked_again_with_growing_pauses(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.store.unavailable = 8

    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 300)]})

    assert bench.rows == [(0, False)]
    assert bench.pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert max(bench.pauses) == LONGEST_PAUSE_S
    assert bench.count("consumer_store_retries_total") == 8
    assert bench.outages["postgres"] is None


async def test_an_answer_that_was_lost_doubles_nothing(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.store.lost_answers = 1

    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 300)]})

    assert bench.rows == [(0, False)]
    assert pipeline.durable == {OWN: 1}


async def test_records_that_are_no_events_are_set_aside_and_the_stream_goes_on(bench: Bench) -> None:
    pipeline = await bench.begin()

    await pipeline.turn(
        {OWN: [MemoryRecord(0, None, None), a_value(1, 100), MemoryRecord(2, b"k", b"rubbish"), a_value(3, 300)]}
    )

    assert bench.rows == [(1, False)]
    assert [(letter.offset, letter.reason) for letter in bench.dead_letters.letters] == [(0, "empty"), (2, "malformed")]
    assert pipeline.durable == {OWN: 3}
    assert bench.count("consumer_dead_letters_total", reason="empty") == 1


async def test_a_turn_of_nothing_but_rubbish_moves_the_offset(bench: Bench) -> None:
    pipeline = await bench.begin()

    await pipeline.turn({OWN: [MemoryRecord(0, None, b"rubbish")]})

    assert pipeline.durable == {OWN: 1}
    assert (bench.progress().next_offset, bench.progress().watermark_us) == (1, None)


async def test_the_offset_waits_until_the_dead_letters_are_durable(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.dead_letters.unavailable = 2

    async def pause(_seconds: float) -> None:
        assert bench.progress().next_offset is None

    pipeline.pause_with(pause)
    await pipeline.turn({OWN: [MemoryRecord(0, None, b"rubbish"), MemoryRecord(1, None, b"rubbish")]})

    assert {letter.offset for letter in bench.dead_letters.letters} == {0, 1}
    assert bench.progress().next_offset == 2


async def test_a_heap_of_dead_letters_is_written_however_long_it_takes(bench: Bench) -> None:
    """What is durable is not begun again, so a limit of time for each call is no limit for the heap."""
    pipeline = await bench.begin()
    written: list[int] = []
    failed = 0

    async def as_much_as_there_is_time_for(letters: Sequence[DeadLetter]) -> None:
        nonlocal failed
        if sum(len(letter.value or b"") for letter in letters) > 2_000_000 or failed < len(written):
            failed += 1
            raise DeadLettersUnavailableError("no time left")
        written.extend(letter.offset for letter in letters)

    bench.dead_letters.write = as_much_as_there_is_time_for  # type: ignore[method-assign]
    await pipeline.turn({OWN: [MemoryRecord(offset, None, b"x" * 900_000) for offset in range(6)]})

    assert written == list(range(6))
    assert bench.progress().next_offset == 6


async def test_letters_that_nobody_takes_hold_back_their_offset_and_nothing_else(bench: Bench) -> None:
    pipeline = await bench.begin()
    pipeline.feed(OWN, [a_value(0, 100), MemoryRecord(1, None, b"rubbish"), a_value(2, 101), a_value(3, 300)])
    pipeline.arrived()

    await pipeline.write()
    assert bench.rows == [(0, False), (2, False)]
    assert pipeline.durable == {OWN: 1}
    await pipeline.set_aside()
    await pipeline.check_in()

    assert pipeline.durable == {OWN: 3}


def refuse_poison(row: Row) -> bool:
    return is_poison(row.envelope)


async def test_a_row_that_the_store_refuses_is_found_and_set_aside(bench: Bench) -> None:
    bench.store.refuses = refuse_poison
    pipeline = await bench.begin()
    records = [a_value(i, 100 + i, message="poison" if i in {2, 5} else "Hello") for i in range(7)]

    await pipeline.turn({OWN: [*records, a_value(7, 300)]})

    assert bench.rows == [(i, False) for i in (0, 1, 3, 4, 6)]
    assert [(x.offset, x.reason, x.value) for x in bench.dead_letters.letters] == [
        (i, "refused_by_store", records[i].value) for i in (2, 5)
    ]
    assert pipeline.durable == {OWN: 7}


async def test_a_refused_event_is_neither_remembered_nor_counted_as_a_duplicate(bench: Bench) -> None:
    """Else the mended copy that its client sends again is taken for known, and lost."""
    bench.store.refuses = refuse_poison
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100, message="poison"), a_value(1, 101), a_value(2, 300)]})

    assert bench.count("dedup_hits_total", layer="postgres") == 0
    assert an_envelope(0, time_us=100).identity not in bench.bloom
    assert len(bench.seen.memory) == 1

    await pipeline.turn({MIRRORED: [a_value(0, 100, number=0, message="mended"), a_value(1, 300, number=2)]})
    assert bench.rows == [(1, False), (0, False)]


async def test_an_event_with_the_identity_of_another_is_set_aside_and_told_of(bench: Bench) -> None:
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 200)]})
    other = a_value(2, 100, number=0, message="another")

    with capture_logs() as lines:
        await pipeline.turn({OWN: [other, a_value(3, 300)]})

    [letter] = bench.dead_letters.letters
    assert (letter.offset, letter.reason, letter.value) == (2, "conflict", other.value)
    assert "message" in letter.detail
    assert "attributes" not in letter.detail
    assert [line["reason"] for line in lines if line["event"] == "records set aside"] == ["conflict"]
    assert bench.count("consumer_dead_letters_total", reason="conflict") == 1
    assert bench.count("dedup_hits_total", layer="postgres") == bench.count("dedup_hits_total", layer="redis") == 0
    assert bench.rows == [(0, False), (1, False)]
    assert pipeline.durable == {OWN: 3}


@pytest.mark.parametrize("redis", ["remembers", "forgets"])
async def test_a_copy_that_says_something_else_is_told_of_whatever_redis_remembers(bench: Bench, redis: str) -> None:
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 200)]})
    if redis == "forgets":
        bench.seen.memory.clear()
    copies = [a_value(0, 100, number=0, message="another"), a_value(1, 100, number=0, received_us=150)]

    await pipeline.turn({MIRRORED: copies})
    await pipeline.turn({MIRRORED: [a_value(2, 100, number=0, message="another"), a_value(3, 300, number=9)]})

    assert [(letter.offset, letter.reason) for letter in bench.dead_letters.letters] == [
        (0, "conflict"),
        (2, "conflict"),
    ]
    assert pipeline.durable[MIRRORED] == 3


async def test_of_two_contents_of_one_identity_in_a_batch_the_first_is_stored(bench: Bench) -> None:
    pipeline = await bench.begin()

    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 100, number=0, message="another"), a_value(2, 300)]})

    assert [(letter.offset, letter.reason) for letter in bench.dead_letters.letters] == [(1, "conflict")]
    assert bench.rows == [(0, False)]


async def test_the_offset_waits_until_the_letter_of_a_conflict_is_durable(bench: Bench) -> None:
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 200)]})
    bench.dead_letters.unavailable = 2

    async def pause(_seconds: float) -> None:
        assert bench.progress().next_offset == 1

    pipeline.pause_with(pause)
    await pipeline.turn({OWN: [a_value(2, 100, number=0, message="another"), a_value(3, 400)]})

    assert {letter.offset for letter in bench.dead_letters.letters} == {2}
    assert bench.progress().next_offset == 3


async def test_conflicts_are_found_beside_poison(bench: Bench) -> None:
    bench.store.refuses = refuse_poison
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 200)]})

    batch = [a_value(2, 100, number=0, message="another"), a_value(3, 150, message="poison"), a_value(4, 400)]
    await pipeline.turn({OWN: batch})

    assert {(letter.offset, letter.reason) for letter in bench.dead_letters.letters} == {
        (2, "conflict"),
        (3, "refused_by_store"),
    }
    assert pipeline.durable == {OWN: 4}


async def test_a_refused_event_leaves_nothing_behind_in_memory(bench: Bench) -> None:
    bench.store.refuses = refuse_poison
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100, message="poison"), a_value(1, 300)]})

    assert not pipeline.pipeline._ledgers[OWN]._completed


async def test_a_stale_generation_stores_nothing(bench: Bench) -> None:
    old = await bench.begin()
    await bench.begin()

    with pytest.raises(FencedError):
        await old.turn({OWN: [a_value(0, 100), a_value(1, 300)]})

    assert (bench.rows, old.durable) == ([], {})


async def test_a_stale_generation_stores_nothing_while_it_looks_for_poison_either(bench: Bench) -> None:
    bench.store.refuses = refuse_poison
    old = await bench.begin()
    old_store = MemoryStore(bench.store.database)
    old_store._left = dict(bench.store._left)
    old_store.refuses = refuse_poison
    old.writer._transactions._store = old_store
    await bench.begin()

    with pytest.raises(FencedError):
        await old.turn({OWN: [a_value(0, 100), a_value(1, 101, message="poison"), a_value(2, 300)]})

    assert bench.rows == []


async def test_a_store_that_was_set_back_is_noticed_and_refilled(bench: Bench) -> None:
    pipeline = await bench.begin()
    records = [a_value(0, 100), a_value(1, 200), a_value(2, 300), a_value(3, 400)]
    await pipeline.turn({OWN: records[:2]})
    backup = bench.store.database.snapshot()
    await pipeline.turn({OWN: records[2:3]})
    bench.store.database.set_back(backup)

    with pytest.raises(FencedError, match="set back"):
        await pipeline.turn({OWN: records[3:]})
    start = bench.progress().next_offset
    assert start == 1

    again = await bench.begin()
    await again.turn({OWN: records[start:]})
    assert bench.rows == [(0, False), (1, False), (2, False)]


async def test_after_a_restart_lateness_is_judged_as_before_from_the_first_record_on(bench: Bench) -> None:
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 300)]})

    successor = await bench.begin()
    await successor.turn({OWN: [a_value(1, 300), a_value(2, 289)]})

    assert bench.rows == [(0, False), (2, True)]


async def test_a_crash_between_two_batches_makes_nothing_late() -> None:
    bench = Bench(batch_max=1)
    pipeline = await bench.begin()
    records = [a_value(i, 100 + i) for i in range(4)]

    class CrashError(BaseException):
        pass

    async def crash(_at: str) -> None:
        if len(bench.rows) == 2:
            raise CrashError

    bench.store.interrupt = crash
    with pytest.raises(CrashError):
        await pipeline.turn({OWN: [*records, a_value(4, 300)]})
    bench.store = restarted(bench.store)
    successor = await bench.begin()
    await successor.turn({OWN: [*records, a_value(4, 300)]})

    assert bench.rows == [(i, False) for i in range(4)]


def restarted(store: MemoryStore) -> MemoryStore:
    return MemoryStore(store.database)


async def test_while_a_partition_blocks_all_judgement_the_stored_watermark_stays(bench: Bench) -> None:
    """Records wait in OWN_TOO that were not read: all of OWN is held, whatever its own watermark is."""
    pipeline = await bench.begin()
    bench.buffer.assign(OWN_TOO, None, NOW, has_unread=True)

    await pipeline.turn({OWN: [a_value(0, 300), a_value(1, 100), MemoryRecord(2, None, b"rubbish")]})

    assert bench.progress() == Progress(0, None)


@pytest.mark.parametrize("batch_max", [1, 2, 3, 100])
async def test_large_releases_are_stored_in_batches(batch_max: int) -> None:
    bench = Bench(batch_max=batch_max)
    sizes: list[int] = []
    store = bench.store.store

    async def counted(rows: Sequence[Row], *rest: object) -> object:
        sizes.append(len(rows))
        return await store(rows, *rest)  # type: ignore[arg-type]

    bench.store.store = counted  # type: ignore[method-assign,assignment]
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [*(a_value(i, 100 + i) for i in range(7)), a_value(7, 300)]})

    assert max(sizes) <= batch_max
    assert bench.rows == [(i, False) for i in range(7)]


DAY = 1000


async def test_a_locked_day_holds_up_no_other_and_its_offsets_wait(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.store.database.day_us = pipeline.writer._waiting._day_us = DAY
    bench.store.database.locked_days.add(0)

    await pipeline.turn({OWN: [a_value(0, 900), a_value(1, 1100), a_value(2, 1500)]})

    assert bench.rows == [(1, False)]
    assert pipeline.durable == {OWN: 0}
    assert bench.progress() == Progress(0, 900), "a successor finds it in time"
    assert "1 events of 1970-01-01: told to be locked" in (bench.outages["waiting"] or "")

    bench.store.database.locked_days.clear()
    bench.now_us += 10**7
    await pipeline.check_in()
    await pipeline.remember()

    assert bench.rows == [(1, False), (0, True)], "it is late by what was stored past it"
    assert pipeline.durable == {OWN: 2}
    assert bench.outages["waiting"] is None
    assert bench.count("reorder_late_arrivals_total", reason="pipeline") == 1


async def test_what_comes_of_a_locked_day_stays_behind_what_waits(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.store.database.day_us = pipeline.writer._waiting._day_us = DAY
    bench.store.database.locked_days.add(0)
    await pipeline.turn({OWN: [a_value(0, 900), a_value(1, 950)]})
    bench.store.database.locked_days.clear()
    pipeline.writer._try_waiting_us = bench.now_us + 1

    await pipeline.turn({OWN: [a_value(2, 960), a_value(3, 1100), a_value(4, 1500)]})
    assert bench.rows == [(3, False)]

    bench.now_us += 10**7
    await pipeline.check_in()
    assert [row for row, _ in bench.rows] == [3, 0, 1, 2]


async def test_what_waits_is_late_by_what_passed_it_in_its_own_order_alone(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.store.database.day_us = pipeline.writer._waiting._day_us = DAY
    bench.store.database.locked_days.add(0)
    await pipeline.turn({OWN: [a_value(0, 900), a_value(1, 950)]})
    await pipeline.turn({MIRRORED: [a_value(0, 1100, number=7), a_value(1, 1500, number=8)]})
    assert bench.progress().watermark_us == 900
    assert bench.progress(MIRRORED).watermark_us == 1490, "nothing of its order waits"

    bench.store.database.locked_days.clear()
    bench.now_us += 10**7
    await pipeline.check_in()

    assert bench.rows == [(7, False), (0, False)]


async def test_what_waits_when_an_assignment_ends_is_no_outage_any_more(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.store.database.day_us = pipeline.writer._waiting._day_us = DAY
    bench.store.database.locked_days.add(0)
    await pipeline.turn({OWN: [a_value(0, 900), a_value(1, 1100), a_value(2, 1500)]})
    assert bench.outages["waiting"] is not None

    await pipeline.assignment.abandon()

    assert bench.outages["waiting"] is None


async def test_when_a_batch_of_events_waits_everything_does_until_the_day_is_free() -> None:
    bench = Bench(batch_max=2)
    pipeline = await bench.begin()
    bench.store.database.day_us = pipeline.writer._waiting._day_us = DAY
    bench.store.database.locked_days.add(0)

    async def pause(_seconds: float) -> None:
        assert bench.outages["postgres"] == "2 events of 1970-01-01: told to be locked"
        assert len(pipeline.writer._waiting) == 2
        bench.store.database.locked_days.clear()

    pipeline.pause_with(pause)
    await pipeline.turn({OWN: [a_value(n, 900 + n) for n in range(6)]})
    await pipeline.turn({OWN: [a_value(9, 5000)]})

    assert [row for row, _ in bench.rows] == [0, 1, 2, 3, 4, 5]
    assert all(not late for _, late in bench.rows), "nothing was stored past them"
    assert bench.outages["postgres"] is None


async def test_what_waits_is_seen_off_where_nobody_could_read_it_again(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.store.database.day_us = pipeline.writer._waiting._day_us = DAY
    bench.store.database.locked_days.add(0)
    await pipeline.turn({OWN: [a_value(0, 900), a_value(1, 950), a_value(2, 1500)]})
    tries = 0

    async def pause(_seconds: float) -> None:
        nonlocal tries
        tries += 1
        if tries == 3:
            bench.store.database.locked_days.clear()

    pipeline.pause_with(pause)
    pipeline.pipeline.release_all(NOW)
    await pipeline.writer.see_waiting_off()

    assert [row for row, _ in bench.rows] == [0, 1]
    assert bench.outages["waiting"] is None
    assert not pipeline.writer.waiting


async def test_while_events_wait_it_stays_known_by_what_their_log_is_known_again(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.store.database.day_us = pipeline.writer._waiting._day_us = DAY
    pipeline.pipeline.ends = {OWN: 77}
    await pipeline.turn({OWN: [a_value(0, 100), a_value(1, 500)]})
    known = bench.progress().log
    bench.store.database.locked_days.add(0)

    await pipeline.turn({OWN: [a_value(2, 900)]})
    await pipeline.turn({OWN: [a_value(3, 1500)]})

    assert pipeline.writer.waiting
    assert bench.progress().log.end == known.end == 77
    assert bench.progress().log.last_record is not None


SIZE = len(a_value(0, 100).value or b"")


@pytest.mark.parametrize("fitting", [1, 2, 3, 100])
async def test_batches_are_bounded_in_bytes(fitting: int) -> None:
    bench = Bench(max_bytes=16 * fitting * SIZE)
    sizes = watch_batches(bench)
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [*(a_value(i, 100 + i) for i in range(7)), a_value(7, 300)]})

    assert max(sizes) == min(fitting, 7)
    assert bench.rows == [(i, False) for i in range(7)]


async def test_one_event_larger_than_a_batch_is_stored_alone() -> None:
    bench = Bench(max_bytes=16 * 2 * SIZE)
    sizes = watch_batches(bench)
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100, message="x" * 1000), a_value(1, 101), a_value(2, 300)]})

    assert [size for size in sizes if size] == [1, 1]
    assert bench.rows == [(0, False), (1, False)]


def watch_batches(bench: Bench) -> list[int]:
    sizes: list[int] = []
    store = bench.store.store

    async def counted(rows: Sequence[Row], *rest: object) -> object:
        sizes.append(len(rows))
        return await store(rows, *rest)  # type: ignore[arg-type]

    bench.store.store = counted  # type: ignore[method-assign,assignment]
    return sizes


async def test_every_byte_is_counted_from_decoding_until_it_is_remembered() -> None:
    bench = Bench(batch_max=2)
    pipeline = await bench.begin()
    assert (pipeline.held_bytes, pipeline.is_full) == (0, False)

    pipeline.feed(OWN, [*(a_value(i, 100 + i) for i in range(5)), a_value(5, 300), MemoryRecord(6, None, b"rubbish")])
    pipeline.arrived()
    letter = size_of(pipeline.pipeline.letters[0])
    assert pipeline.held_bytes == 2 * 6 * SIZE + letter

    pipeline.slot.fill()
    assert pipeline.held_bytes == 2 * 6 * SIZE + 2 * SIZE + letter

    while_sending: list[int] = []

    async def look(_at: str) -> None:
        while_sending.append(pipeline.held_bytes)

    bench.store.interrupt = look
    await pipeline.write()
    assert while_sending == [2 * 6 * SIZE + 2 * SIZE + letter] * 2
    assert pipeline.held_bytes == 2 * 6 * SIZE + letter

    await pipeline.set_aside()
    assert pipeline.held_bytes == 2 * 6 * SIZE

    await pipeline.remember()
    assert pipeline.held_bytes == 2 * 4 * SIZE

    while pipeline.slot.waiting:
        await pipeline.write()
        await pipeline.remember()
    assert pipeline.held_bytes == 2 * SIZE  # waits for its order


async def test_what_the_store_refused_is_not_counted_for_ever(bench: Bench) -> None:
    bench.store.refuses = refuse_poison
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [a_value(0, 100, message="poison"), a_value(1, 300)]})

    assert pipeline.held_bytes == 2 * SIZE


@pytest.mark.parametrize("share", [1, 3])
async def test_from_a_stated_number_of_bytes_on_nothing_more_is_read(share: int) -> None:
    bench = Bench(max_bytes=2 * 2 * share * SIZE * 8 // 7)
    pipeline = await bench.begin()
    pipeline.feed(OWN, [a_value(n, 100 + n) for n in range(2 * share - 1)])
    pipeline.arrived()
    assert not pipeline.is_full

    pipeline.feed(OWN, [a_value(99, 300)])
    pipeline.arrived()
    assert pipeline.is_full


async def test_a_batch_that_takes_too_long_is_tried_in_halves(bench: Bench) -> None:
    bench.store.most_in_time = 2
    sizes = watch_batches(bench)
    progress: list[int | None] = []
    bench.store.on_commit = lambda done: progress.append(done[OWN].next_offset)
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [*(a_value(i, 100 + i) for i in range(9)), a_value(9, 300)]})

    assert bench.rows == [(i, False) for i in range(9)]
    assert sizes[:4] == [9, 4, 2, 4]
    # Not before the last of them is there may a successor begin behind the first.
    assert set(progress[:-1]) == {None}
    assert progress[-1] == 9
    assert pipeline.durable == {OWN: 9}
    assert bench.count("consumer_store_retries_total") == len([size for size in sizes if size > 2])
    assert bench.count("consumer_events_stored_total", origin=REGION) == 9


async def test_a_store_that_is_fast_again_gets_whole_batches_again(bench: Bench) -> None:
    bench.store.most_in_time = 1
    pipeline = await bench.begin()
    await pipeline.turn({OWN: [*(a_value(i, 100 + i) for i in range(8)), a_value(8, 300)]})
    bench.store.most_in_time = 100
    sizes = watch_batches(bench)
    for n in range(1, 8):
        offset = 9 * n
        await pipeline.turn(
            {OWN: [*(a_value(offset + i, 300 * n + i) for i in range(8)), a_value(offset + 8, 300 * (n + 1))]}
        )

    assert sizes[-1] == 9


async def test_a_store_that_answers_nothing_at_all_is_not_asked_by_halves_of_nothing(bench: Bench) -> None:
    pipeline = await bench.begin()
    bench.store.most_in_time = -1
    bench.pauses.clear()

    async def mend(_seconds: float) -> None:
        bench.store.most_in_time = 100

    pipeline.pause_with(mend)
    await pipeline.check_in()
    sizes = watch_batches(bench)
    await pipeline.turn({OWN: [*(a_value(i, 100 + i) for i in range(8)), a_value(8, 300)]})

    assert sizes == [8]


async def test_dead_letters_are_written_by_the_megabyte_and_never_twice_for_want_of_time(bench: Bench) -> None:
    pipeline = await bench.begin()
    rubbish = b"x" * 400_000
    bench.dead_letters.unavailable = 1

    await pipeline.turn({OWN: [MemoryRecord(n, None, rubbish) for n in range(7)]})

    assert max(bench.dead_letters.sizes) <= 2
    offsets = [letter.offset for letter in bench.dead_letters.letters]
    assert sorted(set(offsets)) == list(range(7))
    assert len(offsets) == 8  # one of the two that were refused was there
    assert pipeline.durable == {OWN: 7}
    assert pipeline.held_bytes == 0
