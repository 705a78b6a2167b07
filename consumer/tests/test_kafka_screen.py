"""What gets through to the client library, and what raises doubts instead."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from aiokafka.errors import KafkaConnectionError, NotLeaderForPartitionError, OffsetOutOfRangeError
from aiokafka.protocol.fetch import FetchRequest

from consumer.adapters.kafka_records import PlainRecord, encode
from consumer.adapters.kafka_screen import Screen
from consumer.envelope import Partition

P0, P1 = Partition("logs", 0), Partition("logs", 1)
REQUEST = FetchRequest(50, 1, 2**20, 0, [("logs", [(0, 10, 2**20), (1, 20, 2**20)])])
SECOND = 1_000_000
DATA = encode([PlainRecord(10, 5, b"k", b"v", ())], base=10, last=10)


@dataclass
class Response:
    topics: list[Any]
    API_VERSION: int = 11


@dataclass
class Broker:
    """Answers with what it is told to."""

    answers: list[tuple[Any, ...]] = field(default_factory=list)
    error: Exception | None = None
    now_us: int = 0

    async def send(self, _node: int, _request: Any, **_how: Any) -> Response:
        if self.error is not None:
            raise self.error
        return Response([("logs", list(self.answers))])


class Bench:
    def __init__(self) -> None:
        self.broker = Broker()
        self.doubts: list[Partition] = []
        self.screen = Screen(self.broker.send, lambda: self.broker.now_us, self.doubts.append)
        self.screen.begin({P0: 100, P1: 100})

    async def seen(self, *answers: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        """Return what of these answers gets through."""
        self.broker.answers = list(answers)
        [(_, through)] = (await self.screen.send(1, REQUEST)).topics
        return list(through)


def an_answer(number: int, *, end: int = 100, code: int = 0, data: bytes = DATA) -> tuple[Any, ...]:
    return (number, code, end, -1, 0, [], -1, data)


@pytest.fixture
def bench() -> Bench:
    return Bench()


async def test_records_get_through_as_they_are(bench: Bench) -> None:
    answers = [an_answer(0, end=101), an_answer(1, data=b"")]

    assert await bench.seen(*answers) == answers
    assert bench.doubts == []
    assert bench.screen.ends == {P0: 101, P1: 100}


@pytest.mark.parametrize("error", [NotLeaderForPartitionError, OffsetOutOfRangeError])
async def test_an_error_is_a_doubt_about_that_partition_alone(bench: Bench, error: Any) -> None:
    through = await bench.seen(an_answer(0, code=error.errno, end=-1, data=b""), an_answer(1))

    assert bench.doubts == [P0]
    assert [number for number, *_ in through] == ([1] if error is OffsetOutOfRangeError else [0, 1])
    assert bench.screen.ends[P0] == 100


async def test_a_broker_that_was_away_is_a_doubt_about_all_that_it_was_asked_for(bench: Bench) -> None:
    bench.broker.error = KafkaConnectionError()
    with pytest.raises(KafkaConnectionError):
        await bench.seen()

    assert bench.doubts == [P0, P1]


async def test_a_long_time_without_an_answer_is_a_doubt(bench: Bench) -> None:
    await bench.seen(an_answer(0))
    bench.broker.now_us = 3 * SECOND

    assert await bench.seen(an_answer(0), an_answer(1)) == []
    assert bench.doubts == [P0, P1]


async def test_while_the_broker_says_how_far_a_log_reaches_it_may_be_read_as_seldom_as_one_likes(bench: Bench) -> None:
    for second in range(1, 10):
        bench.broker.now_us = second * SECOND
        bench.screen.reaches(P0, 100 + second)

    assert await bench.seen(an_answer(0, end=109), an_answer(1)) == [an_answer(0, end=109)]
    assert bench.doubts == [P1]


@pytest.mark.parametrize(("at", "end"), [(3 * SECOND, 100), (1 * SECOND, 99)])
async def test_after_a_long_time_no_word_of_the_broker_takes_a_doubt_away_nor_does_one_of_an_end_further_down(
    bench: Bench, at: int, end: int
) -> None:
    bench.broker.now_us = at
    bench.screen.reaches(P0, end)
    bench.broker.now_us = 3 * SECOND

    assert await bench.seen(an_answer(0)) == []
    assert bench.doubts == [P0]


async def test_an_end_further_down_than_before_is_a_doubt(bench: Bench) -> None:
    assert await bench.seen(an_answer(0, end=99)) == []
    assert bench.doubts == [P0]
    assert bench.screen.ends[P0] == 100, "how far it reached is what is to be told"


async def test_of_a_doubted_partition_nothing_gets_through_until_it_is_trusted(bench: Bench) -> None:
    await bench.seen(an_answer(0, end=99))
    assert await bench.seen(an_answer(0), an_answer(1)) == [an_answer(1)]
    assert bench.doubts == [P0], "it is doubted once"

    bench.screen.trust(P0, 60)
    assert await bench.seen(an_answer(0, end=60)) == [an_answer(0, end=60)]


async def test_what_was_not_begun_is_no_matter(bench: Bench) -> None:
    bench.screen.begin({P1: 100})

    assert await bench.seen(an_answer(0, code=1), an_answer(1)) == [an_answer(0, code=1), an_answer(1)]
    assert bench.doubts == []


async def test_what_cannot_be_read_is_kept_beside_an_empty_record(bench: Bench) -> None:
    damaged = DATA[:-1] + b"\xff"
    assert await bench.seen(an_answer(0, data=damaged)) == [an_answer(0, data=damaged)], "the library finds out"

    bench.screen.look_closely(P0)
    [(*_, data)] = await bench.seen(an_answer(0, data=damaged))

    assert data != damaged
    [(offset, found)] = bench.screen.unreadable[P0].items()
    assert (offset, found.raw) == (10, damaged)


@pytest.mark.parametrize("version", [1, 3])
async def test_answers_of_another_layout_are_left_alone(bench: Bench, version: int) -> None:
    async def send(_node: int, _request: Any, **_how: Any) -> Response:
        return Response([("logs", [(0, 0, 3, b"")])], version)

    screen = Screen(send, lambda: 0, bench.doubts.append)
    assert (await screen.send(1, REQUEST)).topics == [("logs", [(0, 0, 3, b"")])]
