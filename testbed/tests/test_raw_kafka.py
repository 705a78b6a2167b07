"""The client library reads what the tests' encoder wrote, except what it cannot read."""

import pytest

from aiokafka.record.memory_records import MemoryRecords
from hypothesis import given
from hypothesis import strategies as st

from testbed.raw_kafka import CODECS, RawRecord, raw_batch

RECORDS = st.builds(
    RawRecord,
    st.none() | st.binary(max_size=30),
    st.none() | st.binary(max_size=20),
    st.lists(st.tuples(st.text(max_size=5).map(str.encode), st.none() | st.binary(max_size=5)), max_size=3),
)


@pytest.mark.parametrize("codec", CODECS)
@given(records=st.lists(RECORDS, min_size=1, max_size=5), base=st.integers(0, 2**40))
def test_a_batch_is_read_as_it_was_meant(codec: str, records: list[RawRecord], base: int) -> None:
    batch = MemoryRecords(raw_batch(records, codec=codec, base=base)).next_batch()

    assert batch.validate_crc()
    read = [(r.offset, r.key, r.value, [(name.encode(), value) for name, value in r.headers]) for r in batch]
    assert read == [(base + n, r.key, r.value, list(r.headers)) for n, r in enumerate(records)]


@pytest.mark.parametrize("name", [b"\xff\xfe", b"\xed\xa0\x80", b"\xc3\x28"])
def test_a_header_whose_name_is_no_text_is_more_than_the_library_can_read(name: bytes) -> None:
    batch = MemoryRecords(raw_batch([RawRecord(b"v", headers=[(name, None)])])).next_batch()

    with pytest.raises(UnicodeDecodeError):
        list(batch)
