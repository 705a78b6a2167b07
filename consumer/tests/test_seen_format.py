from zlib import crc32

from hypothesis import given
from hypothesis import strategies as st

from consumer.copy_format import ORIGIN_AT, fingerprint
from consumer.decode import Decoder
from consumer.envelope import Envelope, Partition
from consumer.seen_format import EVENT_BYTES, PASSED_BYTES, RECORD_BYTES, mixed, number_of, record
from consumer.tests.strategies import MIRRORED, OWN, OWN_TOO, REGION, Read, an_envelope

MINUTE_US = 60_000_000
BEGIN_US = 29_399_403 * MINUTE_US
ids = st.binary(min_size=16, max_size=16)
halves = st.integers(0, 2**64 - 1)
counts = st.integers(0, 2**48)
times = st.integers(BEGIN_US, BEGIN_US + MINUTE_US - 1)
names = st.text(min_size=1, max_size=60)
said = st.binary(max_size=4)


def columns(what: bytes, origin: bytes = b"region-a") -> bytes:
    """Return columns that say something."""
    return bytes(ORIGIN_AT - 4) + len(origin).to_bytes(4, "big") + origin + what


def event(event_id: bytes, time_us: int, what: bytes = b"", offset: int = 0) -> bytes:
    """Return by what an event is known in Redis."""
    return mixed(record(event_id, time_us, fingerprint(columns(what)), 1, offset))[:EVENT_BYTES]


@given(st.lists(st.tuples(ids, times, said, st.integers(0, 2**63 - 1)), max_size=50))
def test_all_at_once_is_each_by_itself(events: list[tuple[bytes, int, bytes, int]]) -> None:
    records = [
        record(event_id, time_us, fingerprint(columns(what)), 7, offset) for event_id, time_us, what, offset in events
    ]

    together = mixed(b"".join(records))

    assert together == b"".join(map(mixed, records))
    assert len(together) == PASSED_BYTES * len(events)


@given(ids, times, times, said, said)
def test_an_id_with_another_time_or_another_content_is_another_event(
    event_id: bytes, time_us: int, other_us: int, what: bytes, other: bytes
) -> None:
    is_same = (time_us, crc32(what)) == (other_us, crc32(other))

    assert (event(event_id, time_us, what) == event(event_id, other_us, other)) == is_same


@given(st.tuples(halves, times, said), st.tuples(halves, times, said), halves)
def test_ids_that_agree_in_their_lower_half_stay_different(
    one: tuple[int, int, bytes], other: tuple[int, int, bytes], low: int
) -> None:
    events = [event((high << 64 | low).to_bytes(16, "big"), time_us, what) for high, time_us, what in (one, other)]

    assert (events[0] == events[1]) == ((*one[:2], crc32(one[2])) == (*other[:2], crc32(other[2])))


@given(st.tuples(counts, times, said), st.tuples(counts, times, said), halves)
def test_ids_that_are_counted_up_stay_different(
    one: tuple[int, int, bytes], other: tuple[int, int, bytes], high: int
) -> None:
    events = [event((high << 64 | n).to_bytes(16, "big"), time_us, what) for n, time_us, what in (one, other)]

    assert (events[0] == events[1]) == ((*one[:2], crc32(one[2])) == (*other[:2], crc32(other[2])))


@given(ids, times, said, names, names)
def test_a_retry_is_the_same_event_whichever_region_took_it(
    event_id: bytes, time_us: int, what: bytes, origin: str, other_origin: str
) -> None:
    here, there = columns(what, origin.encode()), columns(what, other_origin.encode())

    assert mixed(record(event_id, time_us, fingerprint(here), 1, 5))[:EVENT_BYTES] == event(event_id, time_us, what)
    assert mixed(record(event_id, time_us, fingerprint(there), 2, 9))[:EVENT_BYTES] == event(event_id, time_us, what)


@given(st.integers(0, 2**63 - 1), st.sampled_from([OWN, OWN_TOO, MIRRORED]))
def test_a_record_that_is_read_again_has_the_same_memory(offset: int, partition: Partition) -> None:
    once, again = (an_envelope(offset, number=3, partition=partition) for _ in range(2))

    assert once.memory == again.memory


def test_copies_of_one_event_tell_from_which_record_they_came() -> None:
    sources = {
        mixed(an_envelope(offset, number=3, partition=partition).memory)[EVENT_BYTES:RECORD_BYTES]
        for partition in (OWN, OWN_TOO, MIRRORED)
        for offset in range(100)
    }

    assert len(sources) >= 295, "some of 300 may share two bytes"


def test_what_was_read_in_another_region_is_another_record() -> None:
    there = Decoder(OWN, "region-b").decode(Read(0, an_envelope(0).value))
    assert isinstance(there, Envelope)

    assert number_of(REGION, OWN) != number_of("region-b", OWN)
    assert mixed(there.memory)[:EVENT_BYTES] == mixed(an_envelope(0).memory)[:EVENT_BYTES]
    assert mixed(there.memory)[:RECORD_BYTES] != mixed(an_envelope(0).memory)[:RECORD_BYTES]
