"""A sample of what Redis calls duplicates is looked up in the store."""

from collections.abc import Collection, Sequence

from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from consumer.envelope import Row
from consumer.metrics import ConsumerMetrics
from consumer.spot_check import DISTRUST_S, EVERY_S, SAMPLE, YOUNG_US, SpotCheck
from consumer.tests.fakes import MemoryStore
from consumer.tests.strategies import OWN, an_envelope

NOW_US = 1_795_435_200_000_000


def some_rows(count: int, *, first: int = 0, age_us: int = 0) -> list[Row]:
    return [Row(an_envelope(n, number=n, time_us=NOW_US - age_us)) for n in range(first, first + count)]


class Checked:
    """The check of a memory in front of a store, and about how many rows the store was asked each time."""

    def __init__(self) -> None:
        self.now = 100.0
        self.asked: list[int] = []
        self.store = MemoryStore()
        self.registry = CollectorRegistry()
        metrics = ConsumerMetrics(self.registry, "region-a", ["region-a"])
        self.check = SpotCheck(known=self._known, metrics=metrics, wall_us=lambda: NOW_US, clock=lambda: self.now)

    async def _known(self, rows: Sequence[Row]) -> Collection[int]:
        self.asked.append(len(rows))
        return await self.store.known(rows)

    async def keep(self, rows: Sequence[Row]) -> None:
        claim = await self.store.claim([OWN])
        await self.store.store(rows, {}, claim.generation)

    @property
    def invented(self) -> float | None:
        return self.registry.get_sample_value("dedup_invented_total", {"region": "region-a"})


async def test_what_the_store_has_may_be_passed_over() -> None:
    checked = Checked()
    await checked.keep(some_rows(100))

    assert await checked.check.passes(some_rows(100))

    assert 0 < checked.asked[0] <= SAMPLE
    assert checked.invented == 0


async def test_one_that_the_store_does_not_have_is_told_and_nothing_is_believed_for_a_while() -> None:
    checked = Checked()
    await checked.keep(some_rows(9))

    with capture_logs() as lines:
        assert not await checked.check.passes(some_rows(10))
    assert checked.invented == 1
    [line] = lines
    assert line["eventIds"] == ["00000000-0000-0000-0000-000000000009"]
    checked.now += DISTRUST_S - 1
    assert not await checked.check.passes(some_rows(9))
    assert len(checked.asked) == 1, "the store decides anyway"

    checked.now += 1
    assert await checked.check.passes(some_rows(9))
    assert len(checked.asked) == 2, "and is asked first of all when the memory is believed again"


async def test_the_store_is_asked_no_more_than_once_a_second() -> None:
    checked = Checked()
    await checked.keep(some_rows(5))

    for _ in range(10):
        assert await checked.check.passes(some_rows(5))
    assert len(checked.asked) == 1
    checked.now += EVERY_S
    assert await checked.check.passes(some_rows(5))
    assert len(checked.asked) == 2


async def test_a_day_that_may_have_been_dropped_says_nothing() -> None:
    checked = Checked()

    assert await checked.check.passes(some_rows(5, age_us=YOUNG_US))
    assert checked.asked == []


async def test_a_store_that_cannot_be_asked_says_nothing_against_the_memory() -> None:
    checked = Checked()
    checked.store.unavailable = 1

    assert await checked.check.passes(some_rows(5))
    assert checked.invented == 0
