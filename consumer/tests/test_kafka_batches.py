"""The client library must be able to read whatever `unfold` gives it, and nothing that was readable may be missing."""

from collections.abc import Sequence
from struct import pack

import cramjam
import pytest

from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from aiokafka.record.util import calc_crc32c
from hypothesis import example, given
from hypothesis import strategies as st

from consumer.adapters import kafka_codecs
from consumer.adapters.kafka_batches import is_plain
from consumer.adapters.kafka_codecs import UnfoldError, unpack
from consumer.adapters.kafka_records import PlainRecord, encode, placeholder
from consumer.adapters.kafka_unfold import read, unfold

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}
END = 1000
values = st.none() | st.binary(max_size=40)
headers = st.lists(st.tuples(st.text(max_size=5), values), max_size=3)
contents = st.lists(st.tuples(values, values, headers), min_size=1, max_size=5)
batches = st.lists(st.tuples(contents, st.sampled_from(sorted(CODECS))), min_size=1, max_size=4)

Content = tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]]]


def written(content: Sequence[Content], codec: str, base: int) -> bytes:
    """Make a batch as the library does, at the offset that a broker would give it."""
    builder = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=CODECS[codec],
        is_transactional=0,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=10**6,
    )
    for index, (key, value, named) in enumerate(content):
        builder.append(index, 1_000 + index, key, value, named)
    return pack(">q", base) + bytes(builder.build())[8:]


def by_the_library(data: bytes, position: int) -> list[PlainRecord]:
    """Read as the library's fetcher does."""
    records, found = MemoryRecords(data), []
    while records.has_next():
        batch = records.next_batch()
        assert batch.validate_crc()
        if not batch.is_control_batch:
            found += [PlainRecord(r.offset, r.timestamp, r.key, r.value, tuple(r.headers)) for r in batch]
    return [record for record in found if record.offset >= position]


def log_of(made: Sequence[tuple[Sequence[Content], str]], base: int = 7) -> tuple[bytes, list[PlainRecord]]:
    data, records = b"", []
    for content, codec in made:
        data += written(content, codec, base)
        records += [
            PlainRecord(base + n, 1_000 + n, key, value, tuple(named)) for n, (key, value, named) in enumerate(content)
        ]
        base += len(content)
    return data, records


@given(batches, st.sampled_from(["thorough", "quick"]), st.integers(0, 200))
def test_what_is_sound_stays_as_it_is(made: list[tuple[list[Content], str]], look: str, cut: int) -> None:
    data, records = log_of(made)
    whole = data[: len(data) - cut] if cut < len(data) else data
    clean, bad = unfold(whole, 7, END, thorough=look == "thorough")
    read_back = by_the_library(clean, 7)

    assert bad == []
    assert read_back == records[: len(read_back)]
    assert cut or read_back == records
    assert is_plain(clean)
    assert [record._replace(headers=tuple(record.headers)) for record in read(data)] == records


@given(batches, st.data())
def test_what_is_damaged_is_set_aside_and_the_rest_is_read(
    made: list[tuple[list[Content], str]], data: st.DataObject
) -> None:
    """Of what a checksum covers, any byte may be another one."""
    log, records = log_of(made)
    starts = [0]
    for content, codec in made:
        starts.append(starts[-1] + len(written(content, codec, 0)))
    which = data.draw(st.integers(0, len(made) - 1))
    at = data.draw(st.integers(starts[which] + 21, starts[which + 1] - 1))
    flipped = data.draw(st.integers(1, 255))
    log = log[:at] + bytes([log[at] ^ flipped]) + log[at + 1 :]

    clean, bad = unfold(log, 7, END, thorough=data.draw(st.booleans()))

    sizes = [len(content) for content, _ in made]
    first = 7 + sum(sizes[:which])
    gone = range(first, first + sizes[which])
    placeholders = [record for record in by_the_library(clean, 7) if record.offset in gone]
    assert [record for record in by_the_library(clean, 7) if record.offset not in gone] == [
        record for record in records if record.offset not in gone
    ]
    [found] = bad
    assert [record.offset for record in placeholders] == [found.offset]
    assert found.first == first
    assert found.raw == log[starts[which] : starts[which + 1]]


@pytest.mark.parametrize("at", [23, 24, 25, 26, 57, 58, 59, 60], ids=lambda at: f"byte {at}")
@pytest.mark.parametrize("flipped", [1, 0x80])
def test_a_damaged_batch_at_the_end_of_an_answer_is_not_trusted_about_how_far_it_reaches(at: int, flipped: int) -> None:
    """Else records that are written behind it would be skipped, up to the offset that the wrong byte names."""
    batch = bytearray(written([(None, b"x", [])], "gzip", 7))
    batch[at] ^= flipped

    _, [found] = unfold(bytes(batch), 7, END, thorough=False)

    assert (found.first, found.offset) == (7, 7)


@given(st.binary(max_size=300), st.integers(0, END - 1), st.sampled_from(["thorough", "quick"]))
@example(pack(">qiib", 5, 2**31 - 1, 0, 2) + b"x" * 100, 5, "thorough")
@example(pack(">qiib", 5, -1, 0, 2) + b"x" * 100, 5, "quick")
@example(pack(">qiib", 5, 10, 0, 1) + b"x" * 100, 5, "quick")
def test_no_bytes_can_stop_it(data: bytes, position: int, look: str) -> None:
    clean, bad = unfold(data, position, END, thorough=look == "thorough")
    offsets = [record.offset for record in by_the_library(clean, 0)]

    assert all(position <= found.first <= found.offset < END for found in bad), "nothing else of the log is passed over"
    assert offsets == sorted(set(offsets))
    list(read(data))


def raw_record(body: bytes) -> bytes:
    return bytes([2 * len(body)]) + body  # a length below 64, zigzag


def a_batch(*bodies: bytes) -> bytes:
    """Make a batch of records whose bodies are given, its checksum right."""
    sound = encode([PlainRecord(10 + n, 5, b"k", b"v", ()) for n in range(len(bodies))], base=10, last=9 + len(bodies))
    rest = sound[21:61] + b"".join(map(raw_record, bodies))
    return sound[:8] + pack(">i", 9 + len(rest)) + sound[12:17] + pack(">I", calc_crc32c(rest)) + rest


def body(index: int, *, headers: bytes = b"\0") -> bytes:
    return b"\0\0" + bytes([2 * index]) + b"\2k" + b"\2v" + headers


def test_a_record_that_is_none_is_set_aside_alone() -> None:
    data = a_batch(body(0), body(1, headers=b"\x04\xff"), body(2))
    clean, [bad] = unfold(data, 10, END, thorough=True)

    assert [(r.offset, r.value) for r in by_the_library(clean, 10)] == [(10, b"v"), (11, None), (12, b"v")]
    assert (bad.first, bad.offset, bad.raw) == (11, 11, body(1, headers=b"\x04\xff"))


def test_a_name_that_is_no_text_is_put_right() -> None:
    data = a_batch(body(0, headers=b"\2\4\xff\xfe\0"))

    with pytest.raises(UnicodeDecodeError):
        by_the_library(data, 0)
    clean, bad = unfold(data, 10, END, thorough=True)

    assert bad == []
    [record] = by_the_library(clean, 10)
    assert (record.value, record.headers) == (b"v", (("\ufffd\ufffd", b""),))


@pytest.mark.parametrize("bodies", [[body(1), body(0)], [body(0), body(0)], [body(9), body(1)]])
def test_records_in_no_order_are_set_aside_whole(bodies: list[bytes]) -> None:
    data = a_batch(*bodies)
    clean, [bad] = unfold(data, 10, END, thorough=True)

    assert (bad.first, bad.offset, bad.raw) == (10, 11, data)
    assert [record.offset for record in by_the_library(clean, 10)] == [11]


@pytest.mark.parametrize("codec", [1, 2, 3, 4])
def test_what_unfolds_to_too_much_is_not_unfolded(codec: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kafka_codecs, "UNFOLDED_MAX", 100_000)
    compress = {
        1: cramjam.gzip.compress,
        2: cramjam.snappy.compress_raw,
        3: cramjam.lz4.compress,
        4: cramjam.zstd.compress,
    }
    fits, does_not = (bytes(compress[codec](b"x" * size)) for size in (100_000, 100_001))  # type: ignore[operator]

    assert unpack(codec, fits) == b"x" * 100_000
    with pytest.raises(UnfoldError, match="more than 100000 bytes"):
        unpack(codec, does_not)


@pytest.mark.parametrize("codec", [1, 2, 3, 4, 5, 7])
@given(data=st.binary(max_size=60))
@example(data=b"\x82SNAPPY\x00" + b"\0" * 8 + b"\xff\xff\xff\xff")
@example(data=b"\x82SNAPPY\x00" + b"\0" * 8 + b"\0\0")
def test_nonsense_is_not_unfolded_to_anything(codec: int, data: bytes) -> None:
    try:
        unpack(codec, data)
    except UnfoldError as exc:
        assert str(exc)  # noqa: PT017 - what is no nonsense may be unfolded


def test_what_stands_for_the_unreadable_is_an_empty_record() -> None:
    _, [bad] = unfold(pack(">qiib", 5, 60, 0, 9) + b"x" * 100, 5, END, thorough=False)

    [record] = by_the_library(placeholder(bad), 0)
    assert (record.offset, record.key, record.value) == (5, None, None)
