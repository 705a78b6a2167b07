"""The consumer alone against real Kafka, PostgreSQL and Redis: what its guarantees promise, one test each."""

import asyncio

from collections.abc import Collection
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiokafka.admin import AIOKafkaAdminClient
from surroundings import (
    BELIEVED_MS,
    LOCAL,
    MIRRORED,
    PATIENT_MS,
    Surroundings,
    an_event,
    committed_offsets,
    ids,
    read_all,
)

from consumer.adapters.kafka_screen import Screen
from consumer.adapters.kafka_source import KafkaSource
from consumer.envelope import Partition
from fleet.jobs.topics import TopicSettings, ensure_topics
from testbed.patience import eventually
from testbed.server import Server, recreate_topics

pytestmark = pytest.mark.services


async def test_events_out_of_order_by_less_than_the_window_are_stored_in_order(around: Surroundings) -> None:
    now = datetime.now(UTC)
    back_s = PATIENT_MS / 1000 - 1
    sent = [
        an_event(now + timedelta(seconds=8 * i - (back_s if i % 10 == 0 else 0)), correlation_id=f"c{i % 7}")
        for i in range(300)
    ]
    # Before the consumer begins: its watermark does not wait for a partition that had no record yet.
    await around.send(sent)
    await around.let_out(sent[-1].timestamp)

    async with around.consumer(reorder_window_ms=PATIENT_MS, reorder_max_future_ms=BELIEVED_MS, batch_max_events=20):
        rows = await around.rows(300)

    assert not any(row["late"] for row in rows)
    assert [row["event_time"] for row in rows] == sorted(e.timestamp for e in sent)
    assert {row["stored_by"] for row in rows} == {rows[0]["stored_by"]}


async def test_what_is_stored_is_what_was_sent(around: Surroundings) -> None:
    message = "tab\t \\. \\N 'quotes' \U0001f469\u200d\U0001f680 \x1b[31m \u202e\r\n"
    event = an_event(datetime.now(UTC), message=message)
    object.__setattr__(event, "attributes", {"a": 1, "b": 1.5e-7, "c": None, "d": True, "é": "x" * 1000})

    async with around.consumer():
        await around.send([event])
        [row] = await around.rows(1)

    assert (row["message"], row["service_name"], row["level"]) == (event.message, "test", "INFO")
    assert (row["event_time"], row["received_at"]) == (event.timestamp, event.received_at)
    assert row["correlation_id"] == "c"
    assert row["origin_region"] == "region-a"
    assert row["stored_by"].startswith("region-a/one/")
    [stored] = await around.query("SELECT attributes->>'b' AS b, attributes->>'é' AS e FROM logs")
    assert float(stored["b"]) == 1.5e-7
    assert stored["e"] == "x" * 1000


async def test_the_same_event_from_both_regions_is_stored_once(around: Surroundings) -> None:
    now = datetime.now(UTC)
    events = [an_event(now + timedelta(milliseconds=i), correlation_id=f"c{i}") for i in range(100)]

    await around.send(events)
    await around.send(events, MIRRORED)
    await around.let_out(events[-1].timestamp, LOCAL, MIRRORED)

    async with around.consumer(reorder_window_ms=PATIENT_MS, reorder_max_future_ms=BELIEVED_MS):
        await around.rows(100)
        await around.send(events, MIRRORED)
        await around.send(events[:50])
        layers = ("redis", "postgres")
        await eventually(
            lambda: sum(around.counted("dedup_hits_total", layer=layer) for layer in layers) == 250, "250 duplicates"
        )
        rows = await around.rows(100)

    assert sorted(ids(rows)) == sorted(e.event_id for e in events)
    assert [dict(row) for row in rows if row["late"]] == []
    assert around.counted("dedup_hits_total", layer="redis") > 0


async def test_a_late_event_is_stored_at_once_and_explained(around: Surroundings) -> None:
    now = datetime.now(UTC)
    current = [an_event(now - timedelta(seconds=2)), an_event(now)]
    mirrored = [an_event(now - timedelta(seconds=2)), an_event(now)]
    delayed = an_event(now - timedelta(seconds=60), delay_s=60)
    held_up = an_event(now - timedelta(seconds=60))
    through_the_mirror = an_event(now - timedelta(seconds=60))
    future = an_event(now + timedelta(hours=1), delay_s=-3600)

    async with around.consumer():
        await around.send(current)
        await around.send(mirrored, MIRRORED)
        await around.rows(4)
        await around.send([delayed, held_up])
        await around.send([through_the_mirror], MIRRORED)
        await around.send([future])
        rows = await around.rows(8)
    elapsed_ms = (datetime.now(UTC) - now) / timedelta(milliseconds=1)

    late = {row["event_id"]: (row["late_reason"], row["late_by_ms"]) for row in rows if row["late"]}
    assert {event_id: reason for event_id, (reason, _) in late.items()} == {
        delayed.event_id: "delayed",
        held_up.event_id: "pipeline",
        through_the_mirror.event_id: "replication_backlog",
        future.event_id: "clock_skew",
    }
    assert late[future.event_id][1] == 3600_000
    # The watermark had reached the rows that were there, and has advanced with the clock since, a window behind it.
    assert 60_000 <= late[delayed.event_id][1] <= 59_000 + elapsed_ms + 1
    assert around.counted("reorder_late_arrivals_total", reason="delayed") == 1


async def test_poison_is_set_aside_with_its_reason_and_the_stream_goes_on(around: Surroundings) -> None:
    good = [an_event(datetime.now(UTC)) for _ in range(3)]

    async with around.consumer():
        await around.send([good[0], b"not json", good[1], b'{"foreign": "record"}', b"\xff", good[2]])
        await around.rows(3)
        await eventually(
            lambda: around.counted("consumer_dead_letters_total", reason="malformed") == 2, "two malformed"
        )
        await eventually(lambda: around.counted("consumer_dead_letters_total", reason="invalid") == 1, "one invalid")

    letters = await read_all(around.kafka, "logs-dlq")
    assert sorted(letter.value for letter in letters) == [b"not json", b'{"foreign": "record"}', b"\xff"]
    headers = [dict(letter.headers) for letter in letters]
    assert all(h["source-topic"] == b"logs" and h["source-offset"].isdigit() for h in headers)
    assert any(b"serviceName: is required" in h["reason"] for h in headers)


async def test_the_largest_poison_fits_into_the_dead_letter_topic(kafka: str, postgres: str, redis_url: str) -> None:
    around = Surroundings(kafka, postgres, redis_url)
    await around.prepare()
    await recreate_topics(kafka, [LOCAL, MIRRORED])
    await drop_topic(kafka, "logs-dlq")
    await ensure_topics(
        TopicSettings(region="region-a", regions=("region-a", "region-b"), kafka_bootstrap_servers=kafka)
    )
    largest = b"x" * (1024 * 1024 - 100)  # what a broker takes by default, less the batch's own header

    async with around.consumer():
        await around.send([largest, an_event(datetime.now(UTC))])
        await around.rows(1)
        await eventually(lambda: around.counted("consumer_dead_letters_total", reason="malformed") == 1, "set aside")

    assert [letter.value for letter in await read_all(kafka, "logs-dlq")] == [largest]


async def test_an_idle_consumer_notices_that_postgres_is_away(kafka: str, own_postgres: Server, redis_url: str) -> None:
    around = Surroundings(kafka, own_postgres.address, redis_url)
    await around.prepare()

    async with around.consumer() as service:
        own_postgres.kill()
        await eventually(lambda: not service.readiness().ready, "the outage is reported")
        own_postgres.start()
        await eventually(lambda: service.readiness().ready, "the outage is over")


async def test_a_partition_that_no_broker_answers_for_is_named(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    see = Screen._see

    def as_without_a_leader(self: Screen, topic: str, answer: Any, asked: Any) -> Any:
        return None if (topic, answer[0]) == (LOCAL, 3) else see(self, topic, answer, asked)

    async with around.consumer() as service:
        monkeypatch.setattr(Screen, "_see", as_without_a_leader)
        await eventually(lambda: service.readiness().degraded, "it is named")
        assert [said.split(",")[0] for said in service.readiness().degraded] == ["kafka: no answer for logs/3"]
        assert service.readiness().ready, "the others are read"
        monkeypatch.undo()
        await eventually(lambda: not service.readiness().degraded, "it is over")


async def test_what_grows_unread_in_a_partition_that_is_paused_is_shown(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = datetime.now(UTC)
    paused = asyncio.Event()
    pause_only = KafkaSource.pause_only

    def noted(source: KafkaSource, partitions: Collection[Partition]) -> None:
        if partitions:
            paused.set()
        pause_only(source, partitions)

    monkeypatch.setattr(KafkaSource, "pause_only", noted)

    async with around.consumer(
        buffer_max_events=50, reorder_window_ms=PATIENT_MS, reorder_max_future_ms=BELIEVED_MS, batch_max_events=10
    ):
        # One partition is behind, so backpressure pauses the others once the buffer is full. That lasts for milliseconds.
        await around.send([an_event(now + timedelta(seconds=i), correlation_id=f"c{i}") for i in range(400)])
        await eventually(paused.is_set, "some are paused")
        await around.send([an_event(now + timedelta(seconds=500 + i), correlation_id=f"c{i}") for i in range(400)])

        def lag() -> float:
            labels = [{"topic": LOCAL, "partition": str(number)} for number in range(6)]
            return sum(around.counted("consumer_lag_records", **label) for label in labels)

        async def all_is_shown() -> bool:
            [stored] = await around.query("SELECT sum(next_offset) AS n FROM consumer_offsets WHERE topic = 'logs'")
            return lag() >= 800 - int(stored["n"])

        await eventually(all_is_shown, "what is unread is shown")


async def test_who_has_handed_over_shows_no_watermark_that_would_stand_still(around: Surroundings) -> None:
    def watermark() -> float | None:
        shown: float | None = around.registry.get_sample_value(
            "consumer_watermark_timestamp_seconds", {"region": "region-a"}
        )
        return shown

    async with around.consumer():
        await around.send([an_event(datetime.now(UTC))])
        await eventually(watermark, "it is shown")

    assert watermark() is None


async def test_records_of_every_compression_are_read(around: Surroundings) -> None:
    """Other tools may write to the topic. One that compresses must not stop the stream."""
    codecs = ["gzip", "snappy", "lz4", "zstd"]

    async with around.consumer():
        for codec in codecs:
            await around.send([an_event(datetime.now(UTC), message=codec)], compression=codec)
        rows = await around.rows(4)

    assert {row["message"] for row in rows} == set(codecs)


async def test_a_restart_loses_and_doubles_nothing(around: Surroundings) -> None:
    now = datetime.now(UTC)
    # Events of one call are at most two windows apart: a partition may look empty when the others are read already.
    events = [an_event(now + timedelta(seconds=2 * i), correlation_id=f"c{i}") for i in range(1000)]
    await around.send(events[:700])

    async with around.consumer("first", reorder_window_ms=PATIENT_MS, reorder_max_future_ms=BELIEVED_MS):
        await eventually(lambda: around.query("SELECT 1 FROM logs"), "the first has stored something")
        # Events younger than the window are in the first one's buffer, and the second has to read them again.
    assert len(await around.query("SELECT 1 FROM logs")) < 700
    async with around.consumer("second", reorder_window_ms=PATIENT_MS, reorder_max_future_ms=BELIEVED_MS):
        await around.send(events[700:])
        await around.let_out(events[-1].timestamp)
        rows = await around.rows(1000)

    assert sorted(ids(rows)) == sorted(e.event_id for e in events)
    assert [dict(row) for row in rows if row["late"]] == []
    assert {row["stored_by"].split("/")[1] for row in rows} == {"first", "second"}


async def test_while_postgres_is_away_nothing_is_lost(kafka: str, own_postgres: Server, redis_url: str) -> None:
    around = Surroundings(kafka, own_postgres.address, redis_url)
    await around.prepare()
    events = [an_event(datetime.now(UTC), correlation_id=f"c{i}") for i in range(200)]

    async with around.consumer() as service:
        await around.send(events[:100])
        await around.rows(100)
        own_postgres.kill()
        await around.send(events[100:])
        await eventually(lambda: not service.readiness().ready, "the outage is reported")
        assert "postgres" in service.readiness().reasons[0]
        own_postgres.start()
        rows = await around.rows(200)
        await eventually(lambda: service.readiness().ready, "the outage is over")

    assert sorted(ids(rows)) == sorted(e.event_id for e in events)


async def test_a_store_set_back_to_an_earlier_state_is_refilled(around: Surroundings) -> None:
    events = [an_event(datetime.now(UTC), correlation_id=f"c{i}") for i in range(60)]

    async with around.consumer():
        await around.send(events[:20])
        await around.rows(20)
    offsets = await around.query("SELECT topic, partition, next_offset FROM consumer_offsets")
    async with around.consumer():
        await around.send(events[20:])
        await around.rows(60)
    # As a restored backup would have it: rows and offsets of then, while Kafka and Redis know more.
    kept = ", ".join(f"'{e.event_id}'" for e in events[:20])
    await around.query(f"DELETE FROM logs WHERE event_id NOT IN ({kept})")
    for row in offsets:
        next_offset = "NULL" if row["next_offset"] is None else row["next_offset"]
        await around.query(
            f"UPDATE consumer_offsets SET next_offset = {next_offset} "
            f"WHERE topic = '{row['topic']}' AND partition = {row['partition']}"
        )
    async with around.consumer():
        rows = await around.rows(60)

    assert sorted(ids(rows)) == sorted(e.event_id for e in events)


async def test_partitions_move_between_members_without_loss(around: Surroundings) -> None:
    now = datetime.now(UTC)
    events = [an_event(now + timedelta(milliseconds=i), correlation_id=f"c{i}") for i in range(900)]

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(around.consumer("one"))
        await around.send(events[:300])
        async with around.consumer("two") as second:
            await eventually(lambda: second.readiness().details["partitions"], "the second has partitions")
            members = (first, second)
            await eventually(
                lambda: [len(m.readiness().details["partitions"]) for m in members] == [6, 6], "each has half of them"
            )
            await around.send(events[300:600])
            await around.rows(600)
        await around.send(events[600:])
        rows = await around.rows(900)

    assert sorted(ids(rows)) == sorted(e.event_id for e in events)
    for stored_by in {row["stored_by"] for row in rows}:
        times = [row["event_time"] for row in rows if row["stored_by"] == stored_by and not row["late"]]
        assert times == sorted(times)


async def test_an_old_event_on_an_empty_partition_does_not_hold_back_the_others(around: Surroundings) -> None:
    now = datetime.now(UTC)
    old = an_event(now - timedelta(days=3), correlation_id="old", delay_s=3 * 86400)

    async with around.consumer():
        await around.send([old])
        await around.rows(1)
        await around.send([an_event(datetime.now(UTC), correlation_id=f"c{i}") for i in range(20)])
        await around.rows(21)


async def test_offsets_in_kafka_never_pass_what_is_durable(around: Surroundings) -> None:
    events = [an_event(datetime.now(UTC), correlation_id="c") for _ in range(50)]

    async with around.consumer(reorder_window_ms=60_000):
        await around.send(events)
        await eventually(lambda: around.counted("reorder_buffer_size") == 50, "all are held back")
    committed = await committed_offsets(around)

    assert sum(committed.values()) == 0
    assert await around.query("SELECT 1 FROM logs") == []


async def drop_topic(kafka: str, name: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.delete_topics([name])

        async def gone() -> bool:
            return name not in await admin.list_topics()

        await eventually(gone, f"{name} is gone")
    finally:
        await admin.close()
