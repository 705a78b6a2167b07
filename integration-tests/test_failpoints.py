"""
The consumer is killed, as by a power cut, at each place where its guarantee could break; what is there then, and after.

Lateness does not depend on this machine's speed: events are seconds apart and the window is minutes long.
"""

import signal

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, Final, cast

import pytest

from redis.asyncio import Redis
from surroundings import (
    BELIEVED_MS,
    LOCAL,
    MIRRORED,
    PATIENT_MS,
    Surroundings,
    an_event,
    committed_offsets,
    forget_the_dead,
    ids,
    read_all,
)

from consumer.adapters.redis_seen import KEYS
from consumer.decode import Decoder
from consumer.envelope import Envelope, Partition
from consumer.failpoints import FAILPOINT_NAMES, FailpointName
from consumer.seen_format import EVENT_BYTES, RECORD_BYTES, mixed
from shared.event.model import LogRecord
from shared.event.opened import decode_record
from testbed.consumer_process import ConsumerProcess
from testbed.patience import eventually

pytestmark = pytest.mark.services

CHUNKS: Final = 8
PER_CHUNK: Final = 60
SETTINGS: Final = {
    "APP_REORDER_WINDOW_MS": str(PATIENT_MS),
    "APP_REORDER_MAX_FUTURE_MS": str(BELIEVED_MS),
    "CONSUMER_BATCH_MAX_EVENTS": "20",
}


@dataclass(frozen=True)
class Traffic:
    """
    What both regions' producers and MirrorMaker write during a test.

    Attributes:
        events: Each event once.
        records: In the order in which they are written, each with its topic: out of order by up to a window, with a copy
            through the mirror of each, and some sent again.
    """

    events: Sequence[LogRecord]
    records: Sequence[tuple[str, LogRecord]]


def traffic() -> list[Traffic]:
    """Return a stream in chunks. Each spans two windows, so that most of the one before it is released and stored."""
    random = Random(1)
    begin, step = datetime.now(UTC), timedelta(milliseconds=2 * PATIENT_MS / PER_CHUNK)
    disorder = timedelta(milliseconds=PATIENT_MS * 0.9)
    chunks: list[Traffic] = []
    for chunk in range(CHUNKS):
        events = [
            an_event(
                begin + (chunk * PER_CHUNK + n) * step - (disorder * random.random() if n % 3 == 0 else timedelta()),
                correlation_id=f"c{n % 30}",
            )
            for n in range(PER_CHUNK)
        ]
        earlier = [event for before in chunks[-2:] for event in before.events]
        again = random.sample([*events, *earlier], 10)
        records = [(LOCAL, event) for event in [*events, *again]] + [(MIRRORED, event) for event in events]
        chunks.append(Traffic(events, records))
    return chunks


@dataclass(frozen=True)
class Found:
    """
    What a dead consumer left behind.

    Attributes:
        stored: Ids in PostgreSQL.
        remembered: Ids in Redis.
        committed: Kafka's offset of each partition.
        done: PostgreSQL's.
        records: Id of each record, by partition and offset.
    """

    stored: set[Any]
    remembered: set[Any]
    committed: dict[tuple[str, int], int]
    done: dict[tuple[str, int], int]
    records: dict[tuple[str, int, int], Any]

    def check_offsets(self) -> None:
        """Check that no offset has passed a record that is not durable."""
        for offsets in (self.committed, self.done):
            below = {event for (topic, n, at), event in self.records.items() if at < offsets.get((topic, n), 0)}
            assert below <= self.stored
        assert all(offset <= self.done.get(partition, 0) for partition, offset in self.committed.items())


def as_remembered(record: Any) -> bytes:
    envelope = Decoder(Partition(record.topic, record.partition), "region-a").decode(record)
    assert isinstance(envelope, Envelope)
    return mixed(envelope.memory)[:EVENT_BYTES]


async def look(around: Surroundings) -> Found:
    rows = await around.query("SELECT event_id, event_time FROM logs")
    done = await around.query("SELECT topic, partition, next_offset FROM consumer_offsets")
    records = [record for topic in (LOCAL, MIRRORED) for record in await read_all(around.kafka, topic)]
    events = {as_remembered(record): decode_record(record.value).event_id for record in records}
    async with Redis.from_url(around.redis) as redis:
        slots = [cast("bytes", await redis.get(key)) async for key in redis.scan_iter(f"{KEYS}:*:*:*")]
        remembered = [slot[at : at + EVENT_BYTES] for slot in slots for at in range(0, len(slot), RECORD_BYTES)]
    return Found(
        set(ids(rows)),
        {events.get(event, event) for event in remembered},
        {(tp.topic, tp.partition): offset for tp, offset in (await committed_offsets(around)).items()},
        {(row["topic"], row["partition"]): row["next_offset"] or 0 for row in done},
        {(r.topic, r.partition, r.offset): decode_record(r.value).event_id for r in records},
    )


async def dies(around: Surroundings, failpoint: str, more: list[Traffic]) -> Found:
    """Let a consumer run into a failpoint. While it lives, more traffic comes whenever the last of it had an effect."""
    async with around.process(
        f"dies-{failpoint.replace(':', '-')}", CONSUMER_FAILPOINT=failpoint, **SETTINGS
    ) as process:
        while more and await commits_again(around, process):
            await around.write(more.pop(0).records)
        assert await process.ended() == -signal.SIGKILL
        last = process.lines()[-1]
        assert (last["level"], last["event"]) == ("critical", "failpoint reached")
        assert last["place"] == failpoint.partition(":")[0]
    await forget_the_dead(around)
    return await look(around)


async def commits_again(around: Surroundings, process: ConsumerProcess) -> bool:
    """Wait until the consumer has moved its offsets in Kafka, or is dead; return whether it lives."""
    before = await committed_offsets(around)

    async def has_moved() -> bool:
        return not process.alive or await committed_offsets(around) != before

    await eventually(has_moved, "the consumer commits or dies", within_s=60, every_s=0.2)
    return process.alive


@pytest.mark.parametrize("place", FAILPOINT_NAMES)
async def test_whoever_dies_where_each_event_is_stored_once_and_in_order(
    around: Surroundings, place: FailpointName
) -> None:
    chunks = traffic()
    events = [event for chunk in chunks for event in chunk.events]
    for chunk in chunks[:3]:
        await around.write(chunk.records)
    more = chunks[3:]

    found = await dies(around, place, more)
    found.check_offsets()
    # Before COMMIT no row is there. After it, the caches have no id without a row. They may have fewer ids than rows, because
    # the next batch is in flight while they remember the last one.
    assert bool(found.stored) == (place not in ("after-decode", "before-commit"))
    assert found.remembered <= found.stored
    assert place not in ("after-decode", "before-commit", "after-commit") or not found.remembered
    assert place != "after-remember" or found.remembered
    assert place == "after-offset-commit" or not any(found.committed.values())

    found = await dies(around, f"{place}:3", more)
    found.check_offsets()
    assert place == "after-decode" or found.stored
    assert found.remembered <= found.stored

    for chunk in more:
        await around.write(chunk.records)
    await around.let_out(max(event.timestamp for event in events), LOCAL, MIRRORED)
    async with around.process("lives", **SETTINGS):
        rows = await around.rows(len(events))

    assert Counter(ids(rows)) == Counter(event.event_id for event in events)
    assert not any(row["late"] for row in rows)
    assert await around.out_of_order() == 0
    assert await read_all(around.kafka, "logs-dlq") == []
