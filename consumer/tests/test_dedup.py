from hypothesis import given
from hypothesis import strategies as st

from consumer.dedup import questions
from consumer.envelope import Partition
from consumer.tests.strategies import MIRRORED, OWN, an_envelope, moments, partitions


def test_an_own_event_that_is_certainly_new_goes_straight_to_the_store() -> None:
    asked = questions([an_envelope(1)], set())

    assert (list(asked.ask), asked.new, asked.maybe) == ([], 1, 0)


def test_an_own_event_that_may_be_known_is_asked_about() -> None:
    event = an_envelope(1)
    asked = questions([event], {event.identity})

    assert (list(asked.ask), asked.new, asked.maybe) == ([0], 0, 1)


def test_where_regions_share_a_store_a_mirrored_event_is_always_asked_about() -> None:
    asked = questions([an_envelope(1, partition=MIRRORED)], set())

    assert (list(asked.ask), asked.new, asked.maybe) == ([0], 1, 0)


def test_in_a_store_of_its_own_a_region_expects_a_mirrored_event_to_be_new() -> None:
    event = an_envelope(1, partition=MIRRORED)

    assert list(questions([event], set(), is_shared=False).ask) == []
    assert list(questions([event], {event.identity}, is_shared=False).ask) == [0]


def test_the_identity_is_id_and_time_wherever_it_was_read() -> None:
    here = an_envelope(1, number=7, time_us=5, partition=OWN)
    there = an_envelope(9, number=7, time_us=5, partition=MIRRORED, message="other words")

    assert here.identity == there.identity
    assert here.identity != an_envelope(1, number=7, time_us=6).identity
    assert here.identity != an_envelope(1, number=8, time_us=5).identity


@given(st.lists(st.tuples(st.integers(0, 5), moments, partitions)), st.sets(st.integers(0, 5)), st.booleans())
def test_each_event_is_asked_about_or_goes_to_the_store(
    events: list[tuple[int, int, Partition]],
    remembered: set[int],
    is_shared: bool,  # noqa: FBT001 - drawn
) -> None:
    envelopes = [an_envelope(i, number=number, time_us=t, partition=p) for i, (number, t, p) in enumerate(events)]
    maybe = {e.identity for e in envelopes if int.from_bytes(e.event_id) in remembered}

    asked = questions(envelopes, maybe, is_shared=is_shared)

    expected = [i for i, e in enumerate(envelopes) if (is_shared and e.mirrored) or e.identity in maybe]
    assert list(asked.ask) == expected
    assert asked.new + asked.maybe == len(envelopes)
    assert asked.maybe == sum(e.identity in maybe for e in envelopes)
