from collections import defaultdict
from datetime import UTC, datetime, timedelta

from bench.events import EVENT_BYTES, PARTITIONS, Stream, mix
from shared.event.opened import decode_record

BEGIN = datetime(2026, 11, 25, 23, 59, 58, 500_000, tzinfo=UTC)
WINDOW = timedelta(seconds=1)


def test_an_event_is_what_a_producer_writes() -> None:
    for _, key, value in Stream(BEGIN, 1000, "region-b").events(3000):
        record = decode_record(value)

        assert record.encode() == value
        assert len(value) == EVENT_BYTES
        assert record.correlation_id.encode() == key
        assert record.origin_region == "region-b"
        assert record.event_id.version == 7


def test_no_two_events_are_the_same() -> None:
    events = [decode_record(value) for _, _, value in Stream(BEGIN, 1000).events(3000)]
    more = [decode_record(value) for _, _, value in Stream(BEGIN, 1000, first=3000).events(3000)]

    assert len({event.event_id for event in events + more}) == 6000
    assert {event.attributes["n"] for event in events + more} == set(range(6000))


def test_a_stream_repeats_itself() -> None:
    assert list(Stream(BEGIN, 1000).events(100)) == list(Stream(BEGIN, 1000).events(100))


def test_events_come_in_the_order_of_their_receipt_and_a_bit_out_of_that_of_their_times() -> None:
    events = [decode_record(value) for _, _, value in Stream(BEGIN, 1000).events(3000)]
    received = [event.received_at for event in events]
    times = [event.timestamp for event in events]

    assert received == sorted(received)
    assert received[-1] - received[0] == timedelta(milliseconds=2999)
    assert times != sorted(times)


def test_no_event_is_older_than_the_window_when_it_is_read() -> None:
    newest: dict[int, datetime] = defaultdict(lambda: datetime.min.replace(tzinfo=UTC))
    for partition, _, value in Stream(BEGIN, 1000).events(3000):
        time = decode_record(value).timestamp
        newest[partition] = max(newest[partition], time)

        assert time > newest[partition] - WINDOW


def test_a_trace_stays_in_one_partition_and_all_partitions_have_some() -> None:
    partitions = defaultdict(set)
    for partition, key, _ in Stream(BEGIN, 1000).events(3000):
        partitions[key].add(partition)

    assert {len(found) for found in partitions.values()} == {1}
    assert set().union(*partitions.values()) == set(range(PARTITIONS))


def test_mixing_loses_nothing() -> None:
    assert len({mix(n) for n in range(10_000)}) == 10_000
    assert max(mix(n) for n in range(100)) < 2**64
