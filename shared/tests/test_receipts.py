"""A retry of records without a time gets the time of the first attempt; what was acknowledged is forgotten at once."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from shared.ingest.receipts import Receipts, Slot

START = datetime(2026, 11, 27, 3, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def test_a_retry_gets_the_time_of_the_first_attempt() -> None:
    receipts = Receipts()
    first = receipts.begin(b"a", START)
    receipts.end(b"a", first, acknowledged=False, retryable=True)

    again = receipts.begin(b"a", START + SECOND)
    assert (again.since, again.salt, again.is_repeated) == (START, b"", False)


def test_what_was_acknowledged_is_new_when_it_comes_again_and_is_counted() -> None:
    receipts = Receipts()
    receipts.end(b"a", receipts.begin(b"a", START), acknowledged=True, retryable=False)

    again = receipts.begin(b"a", START + SECOND)
    assert (again.since, again.salt, again.is_repeated) == (START + SECOND, b"", True)


def test_what_cannot_be_sent_again_is_not_remembered() -> None:
    receipts = Receipts()
    receipts.end(b"a", receipts.begin(b"a", START), acknowledged=False, retryable=False)

    again = receipts.begin(b"a", START + SECOND)
    assert (again.since, again.is_repeated) == (START + SECOND, False)


def test_equal_requests_at_once_are_told_apart_and_so_are_their_retries() -> None:
    receipts = Receipts()
    slots = [receipts.begin(b"a", START + number * SECOND) for number in range(3)]
    assert len({slot.salt for slot in slots}) == 3
    receipts.end(b"a", slots[1], acknowledged=False, retryable=True)
    receipts.end(b"a", slots[0], acknowledged=False, retryable=True)

    retries = [receipts.begin(b"a", START + 10 * SECOND) for _ in range(3)]
    assert {(slot.since, slot.salt) for slot in retries[:2]} == {(slot.since, slot.salt) for slot in slots[:2]}
    assert retries[2].salt not in {slot.salt for slot in slots}


def test_nothing_is_remembered_for_longer_than_it_may_be_nor_more() -> None:
    receipts = Receipts(kept_for=SECOND, kept=3)
    first = receipts.begin(b"old", START)
    receipts.end(b"old", first, acknowledged=False, retryable=True)
    assert receipts.begin(b"old", START + 2 * SECOND).since == START + 2 * SECOND

    now = START + 10 * SECOND
    for number in range(10):
        receipts.end(b"%d" % number, receipts.begin(b"%d" % number, now), acknowledged=False, retryable=True)
    assert receipts.remembered <= 3
    assert receipts.begin(b"0", now + SECOND / 2).since == now + SECOND / 2
    assert receipts.begin(b"9", now + SECOND / 2).since == now


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b"]), st.booleans(), st.booleans(), st.integers(0, 3)), max_size=40))
def test_no_two_requests_that_are_not_acknowledged_share_a_time_and_a_salt(
    steps: list[tuple[bytes, bool, bool, int]],
) -> None:
    receipts = Receipts()
    under_way: list[tuple[bytes, Slot]] = []
    now = START
    for request, acknowledged, retryable, place in steps:
        now += SECOND
        if place < len(under_way):
            ended, slot = under_way.pop(place)
            receipts.end(ended, slot, acknowledged=acknowledged, retryable=retryable)
        else:
            under_way.append((request, receipts.begin(request, now)))
        known = [(name, slot.since, slot.salt) for name, slot in under_way]
        assert len(known) == len(set(known))
