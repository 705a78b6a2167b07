from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.kafka_proofs import Proofs
from consumer.tests.strategies import OWN, OWN_TOO

NOW_US = 5_000_000
# The system's clock may say anything; here it is ahead by an hour.
WALL_MS = 3_605_000


def proofs() -> Proofs:
    return Proofs(NOW_US)


def answered(these: Proofs, ms: int, seen_after_ms: int = 0) -> int | None:
    """Note an answer that came after so many milliseconds, and was looked at so much later."""
    at_ms = ms + seen_after_ms
    return these.note(OWN, WALL_MS + ms, NOW_US + at_ms * 1000, WALL_MS + at_ms)


def test_an_answer_proves_that_nothing_was_unread_when_the_one_before_it_came() -> None:
    these = proofs()

    assert answered(these, 100) is None, "the first answer proves nothing"
    assert answered(these, 150, seen_after_ms=3) == NOW_US + 100_000


def test_a_proof_counts_once_and_can_be_used_later_than_it_came() -> None:
    these = proofs()
    answered(these, 100)
    assert answered(these, 150) == NOW_US + 100_000
    assert answered(these, 150, seen_after_ms=20) == NOW_US + 100_000, "it waits until all is read that came with it"
    these.use(OWN)

    assert answered(these, 150, seen_after_ms=40) is None
    assert answered(these, 200) == NOW_US + 150_000


def test_partitions_that_begin_anew_need_two_answers_again() -> None:
    these = proofs()
    answered(these, 100)
    these.begin()
    these.use(OWN)

    assert answered(these, 150) is None


@given(st.lists(st.tuples(st.integers(1, 1000), st.integers(0, 5000)), min_size=2, max_size=20))
def test_however_late_answers_are_looked_at_no_proof_is_of_a_time_after_the_fetch(
    steps: list[tuple[int, int]],
) -> None:
    """A fetch is sent once the answer before it has come, so that is the latest time that it can speak of."""
    these, at_ms = proofs(), 0
    before_ms: int | None = None
    for gap_ms, late_ms in steps:
        came_ms = at_ms + gap_ms
        at_ms = came_ms + late_ms
        proven_us = answered(these, came_ms, late_ms)
        assert (proven_us is None) == (before_ms is None)
        if proven_us is not None and before_ms is not None:
            assert proven_us <= NOW_US + before_ms * 1000
            these.use(OWN)
        before_ms = came_ms


def test_silence_is_what_was_looked_for_and_did_not_come() -> None:
    these = proofs()
    assert these.silence_s(NOW_US + 60_000_000, 5) == 0, "nothing is read yet"
    answered(these, 0)

    assert these.silence_s(NOW_US + 60_000_000, 5) == 0, "while the store is waited for, answers may lie there"
    these.look(NOW_US + 60_000_000)
    assert these.silence_s(NOW_US + 61_000_000, 5) == 61

    these.records_came(NOW_US + 61_000_000)
    assert these.silence_s(NOW_US + 62_000_000, 5) == 0
    assert these.seen_since_us(5) == NOW_US + 55_000_000


def test_the_silence_of_one_partition_is_not_that_of_the_broker() -> None:
    these = proofs()
    answered(these, 0)
    these.note(OWN_TOO, WALL_MS + 20_000, NOW_US + 20_000_000, WALL_MS + 20_000)
    these.look(NOW_US + 21_000_000)

    assert these.silence_s(NOW_US + 21_000_000, 5) == 0
