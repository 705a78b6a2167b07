"""Other tools may write to `logs` in transactions: what becomes of their events, and of the marks that Kafka sets behind them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime

import pytest

from aiokafka import AIOKafkaProducer
from surroundings import LOCAL, MIRRORED, Surroundings, an_event, ids, read_all

from shared.event.model import LogRecord
from testbed.patience import eventually

pytestmark = pytest.mark.services


def some_events(count: int = 12) -> list[LogRecord]:
    return [an_event(datetime.now(UTC), correlation_id=f"c{n}") for n in range(count)]


@asynccontextmanager
async def transaction(
    around: Surroundings, topic: str, events: Sequence[LogRecord], compression: str | None = None
) -> AsyncIterator[AIOKafkaProducer]:
    """Write these events in a transaction, to each partition in turn; it is open until it is ended, or the block is."""
    producer = AIOKafkaProducer(
        bootstrap_servers=around.kafka, transactional_id=f"t-{around.group}", compression_type=compression
    )
    await producer.start()
    try:
        await producer.begin_transaction()
        for n, event in enumerate(events):
            await producer.send(topic, event.encode(), key=b"c", partition=n % 6)
        await producer.flush()
        yield producer
    finally:
        # Kafka would end it a minute later, with marks in the topics that another test has made anew.
        with suppress(AssertionError):  # it has ended
            await producer.abort_transaction()
        await producer.stop()


@pytest.mark.parametrize("compression", [None, "gzip"])
@pytest.mark.parametrize("topic", [LOCAL, MIRRORED])
async def test_an_event_of_a_transaction_is_stored_once_however_it_ends(
    around: Surroundings, topic: str, compression: str | None
) -> None:
    """As one that was answered with an error may be: decision 22 says why."""
    aborted, committed, behind = some_events(), some_events(), some_events(1)
    async with around.consumer() as service:
        async with transaction(around, topic, aborted, compression) as producer:
            await producer.abort_transaction()
            await producer.begin_transaction()
            for n, event in enumerate(committed):
                await producer.send(topic, event.encode(), key=b"c", partition=n % 6)
            await producer.commit_transaction()
        # Each partition but one ends with a mark, and no more events come: a mark must not hold back the watermark.
        await around.send(behind, topic)
        rows = await around.rows(len(aborted + committed + behind))
        assert service.readiness().ready

    assert sorted(ids(rows)) == sorted(event.event_id for event in aborted + committed + behind)
    assert not await read_all(around.kafka, "logs-dlq")


async def test_a_transaction_that_nobody_ends_holds_up_neither_its_events_nor_what_comes_behind(
    around: Surroundings,
) -> None:
    held, behind = some_events(), some_events()
    async with around.consumer(), transaction(around, LOCAL, held):
        await around.send(behind)
        rows = await around.rows(len(held + behind))

    assert sorted(ids(rows)) == sorted(event.event_id for event in held + behind)


async def test_after_a_restart_the_marks_behind_the_last_event_are_no_backlog(around: Surroundings) -> None:
    before, after = some_events(), some_events(1)
    async with around.consumer():
        async with transaction(around, LOCAL, before) as producer:
            await producer.commit_transaction()
        await around.rows(len(before))
    async with around.consumer() as service:
        await around.send(after)
        await around.rows(len(before + after))
        await eventually(lambda: service.readiness().details["buffered"] == 0, "nothing is held")
