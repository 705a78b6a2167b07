"""What is taken in of a broker's answer when an event is looked for."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.kafka_log_reader import portion_of
from testbed.raw_kafka import CODECS, RawRecord, raw_batch

NEEDLE = b"needle"


def batch(base: int, *values: bytes, codec: str = "none") -> bytes:
    return raw_batch([RawRecord(value) for value in values], base=base, codec=codec)


@given(
    st.lists(
        st.tuples(st.lists(st.sampled_from([b"x", b"NEEDLE", b"y"]), min_size=1, max_size=4), st.sampled_from([*CODECS])), max_size=4
    ),
    st.integers(0, 10),
)  # fmt: skip
def test_no_record_with_what_is_looked_for_is_passed(made: list[tuple[list[bytes], str]], offset: int) -> None:
    data, wanted, base = b"", [], 0
    for values, codec in made:
        data += batch(base, *values, codec=codec)
        wanted += [base + i for i, value in enumerate(values) if value == b"NEEDLE" and base + len(values) > offset]
        base += len(values)

    portion = portion_of(data, offset, [NEEDLE])

    assert [one.offset for one in portion.records if one.value == b"NEEDLE"] == wanted
    assert portion.next == max(base, offset)
    assert portion.unreadable is None


def test_a_batch_that_is_cut_off_is_left_for_the_next_question() -> None:
    whole, cut = batch(0, NEEDLE), batch(1, NEEDLE)

    portion = portion_of(whole + cut[:-1], 0, [NEEDLE])

    assert ([one.offset for one in portion.records], portion.next) == ([0], 1)
    assert portion_of(b"", 7, [NEEDLE]).next == 7


@pytest.mark.parametrize("harm", ["checksum", "format"])
def test_a_damaged_batch_is_named_and_what_is_behind_it_is_read(harm: str) -> None:
    bad = bytearray(batch(0, b"one", b"two"))
    bad[-1 if harm == "checksum" else 16] ^= 1

    portion = portion_of(bytes(bad) + batch(2, NEEDLE), 0, [NEEDLE])

    assert [one.offset for one in portion.records] == [2]
    assert (portion.next, portion.unreadable) == (3, "0 to 1")


@given(st.binary(max_size=200), st.integers(0, 5))
def test_bytes_from_anywhere_are_passed_or_named(data: bytes, offset: int) -> None:
    portion = portion_of(batch(offset, NEEDLE) + data, offset, [NEEDLE])

    assert portion.next >= offset
    assert portion.records[0].offset == offset
