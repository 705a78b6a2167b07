"""Canonical times and ids: what is read fast is what the general reader reads."""

import re

from datetime import datetime
from uuid import UUID

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.event.canonical import canonical_time, time_us, uuid_bytes
from shared.event.identity import EVENT_ID_BYTES, event_id_of, event_time_us_of, identity_of
from shared.event.times import LAST_TIME, epoch_us, format_time, parse_time
from shared.tests import odd_json, profiles, strategies


@given(strategies.times)
def test_a_time_in_canonical_form_is_itself(time: datetime) -> None:
    written = format_time(time)

    assert canonical_time(written) == written
    assert time_us(written) == epoch_us(time)


@given(strategies.times, st.integers(0, 6))
def test_digits_that_are_left_out_are_zeros(time: datetime, digits: int) -> None:
    written = format_time(time.replace(microsecond=time.microsecond // 10 ** (6 - digits) * 10 ** (6 - digits)))
    short = written[: 20 + digits].removesuffix(".") + "Z"

    assert canonical_time(short) == written == format_time(parse_time(short))


@profiles.times(4)
@given(odd_json.times.map(lambda quoted: quoted.strip('"')) | st.text(max_size=30))
def test_every_form_is_read_as_the_general_reader_reads_it(written: str) -> None:
    try:
        expected = format_time(parse_time(written))
    except ValueError as exc:
        with pytest.raises(ValueError, match=re.escape(str(exc))):
            canonical_time(written)
        with pytest.raises(ValueError, match=r"is|must"):
            time_us(written)
        return
    assert canonical_time(written) == expected
    if written == expected:
        assert time_us(written) == epoch_us(parse_time(written))
    else:
        with pytest.raises(ValueError, match="canonical"):
            time_us(written)


@given(st.uuids())
def test_an_id_is_read_in_either_case(event_id: UUID) -> None:
    assert uuid_bytes(str(event_id)) == uuid_bytes(str(event_id).upper()) == event_id.bytes


@given(odd_json.ids.map(lambda quoted: quoted.strip('"')) | st.text("0123456789abcdefABCDEF- {}", max_size=40))
def test_an_id_has_36_characters_or_is_none(text: str) -> None:
    groups = text.split("-")
    if [len(group) for group in groups] == [8, 4, 4, 4, 12] and all(c in "0123456789abcdefABCDEF-" for c in text):
        assert uuid_bytes(text) == UUID(text).bytes
    else:
        with pytest.raises(ValueError, match="must be a UUID"):
            uuid_bytes(text)


@given(st.uuids(), st.integers(0, epoch_us(LAST_TIME)))
def test_an_identity_is_made_of_an_id_and_a_time(event_id: UUID, us: int) -> None:
    identity = identity_of(event_id.bytes, us)

    assert (event_id_of(identity), event_time_us_of(identity)) == (event_id.bytes, us)
    # As it is remembered in Redis, bloom filters and the claims of consumers that ran before.
    assert identity == event_id.bytes + us.to_bytes(8, "big")
    assert len(event_id_of(identity)) == EVENT_ID_BYTES
