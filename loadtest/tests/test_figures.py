"""The figures, compared with a simple computation for each moment."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from chaos.checker import KafkaRecord, Place
from chaos.ledger import Answer, Outcome
from loadtest.figures import (
    Alone,
    EndSample,
    MirrorClock,
    Peak,
    alone,
    arrivals,
    each_second,
    exposure,
    oldest_s,
    peak,
    percentile,
    rates,
    served_by,
    time_to_converge,
    within,
)

MOMENTS = st.integers(0, 12)
STRETCHES = st.lists(
    st.tuples(MOMENTS, st.none() | st.integers(1, 6)).map(
        lambda drawn: Alone(drawn[0], None if drawn[1] is None else drawn[0] + drawn[1])
    ),
    max_size=12,
)


def there_at(stretches: list[Alone], now: int) -> list[Alone]:
    return [s for s in stretches if s.since_us <= now and (s.until_us is None or now < s.until_us)]


@given(STRETCHES)
def test_the_peak_is_the_most_that_there_is_at_any_moment(stretches: list[Alone]) -> None:
    found = peak(stretches)

    assert found.most == max((len(there_at(stretches, now)) for now in range(20)), default=0)
    assert found.at_us is None or len(there_at(stretches, found.at_us)) == found.most


@given(STRETCHES)
def test_exposure_over_time_is_what_there_is_at_each_moment_and_the_age_of_the_oldest(stretches: list[Alone]) -> None:
    moments = list(range(20))
    for now, (count, age_s) in zip(moments, exposure(stretches, moments), strict=True):
        there = there_at(stretches, now)
        assert count == len(there)
        assert age_s == max(((now - s.since_us) / 1e6 for s in there), default=0.0)


@given(STRETCHES, MOMENTS, st.integers(1, 5))
def test_a_part_of_the_run_has_the_most_and_the_oldest_of_its_moments(
    stretches: list[Alone], begun_us: int, lasted_us: int
) -> None:
    ended_us = begun_us + lasted_us
    there = [there_at(stretches, now) for now in range(begun_us, ended_us)]
    last_s = [min(ended_us, s.until_us or ended_us) - s.since_us for seen in there for s in seen]

    assert within(stretches, begun_us, ended_us).most == max(map(len, there))
    assert oldest_s(stretches, begun_us, ended_us) == max(last_s, default=0) / 1e6


@given(STRETCHES, MOMENTS)
def test_the_regions_agree_when_the_last_event_from_before_the_healing_has_arrived(
    stretches: list[Alone], healed_us: int
) -> None:
    before = [s for s in stretches if s.since_us <= healed_us]
    ends = [s.until_us for s in before if s.until_us is not None]
    expected = None if len(ends) < len(before) else (max([healed_us, *ends]) - healed_us) / 1e6

    assert time_to_converge(stretches, healed_us) == expected


def test_an_event_is_alone_from_its_acknowledgement_until_it_is_there_in_any_way() -> None:
    acknowledged = {b"copied": 5, b"both": 5, b"before": 5, b"never": 5}
    copied, accepted = {b"copied": 9, b"both": 9}, {b"both": 7, b"before": 4}

    assert alone(acknowledged, [copied, accepted]) == [Alone(5, 9), Alone(5, 7), Alone(5, None)]


def test_a_copy_arrives_when_the_end_of_its_partition_is_first_seen_above_it() -> None:
    here, copy, unseen = Place("b", "logs", 0), Place("b", "a.logs", 0), Place("b", "a.logs", 1)
    records = [KafkaRecord(copy, offset, b"%d" % offset) for offset in (10, 11, 12, 13)]
    records += [KafkaRecord(copy, 14, b"10"), KafkaRecord(here, 1, b"own"), KafkaRecord(unseen, 1, b"unseen")]
    ends = [EndSample(copy, 10, 100), EndSample(copy, 12, 200), EndSample(copy, 15, 300), EndSample(here, 2, 100)]

    # 14 is a second copy of an event that had arrived before.
    assert arrivals(records, ends, "logs") == {"b": {b"10": 200, b"11": 200, b"12": 300, b"13": 300}}


@given(st.lists(st.integers(0, 8), min_size=1, max_size=10).map(sorted), st.sampled_from([1, 50, 99, 100]))
def test_so_many_percent_are_not_above_the_percentile(values: list[int], percent: int) -> None:
    found = percentile(values, percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100
    assert sum(value < found for value in values) < len(values) * percent / 100 or found == values[0]


def test_nothing_has_no_percentile() -> None:
    assert percentile([], 50) is None


def test_a_mirror_is_behind_by_the_age_of_what_it_has_not_copied() -> None:
    clock = MirrorClock()

    assert clock.look(0, 10, 10) == (0, 0.0)
    assert clock.look(1, 20, 10) == (10, 0.0)
    assert clock.look(5, 20, 10) == (10, 4.0)
    assert clock.look(6, 30, 10) == (20, 5.0)
    assert clock.look(7, 30, 20) == (10, 1.0)
    assert clock.look(8, 30, 30) == (0, 0.0)
    assert clock.look(9, 30, 35) == (0, 0.0)  # some records are copied twice


def test_values_fall_into_their_seconds_sorted_and_none_outside_of_the_run() -> None:
    values = [(5_000_000, 3.0), (5_999_999, 1.0), (6_000_000, 2.0), (4_999_999, 9.0), (7_000_000, 9.0)]

    assert each_second(values, 5_000_000, 2) == [[1.0, 3.0], [2.0]]


def test_rates_are_growth_over_time_and_never_negative() -> None:
    assert rates([0, 2, 2, 3], [0, 10, 10, 5]) == [0.0, 5.0, 0.0, 0.0]
    assert rates([], []) == []


@pytest.mark.parametrize("stretches", [[], [Alone(1, 2)]])
def test_what_ends_as_the_next_begins_does_not_overlap(stretches: list[Alone]) -> None:
    assert peak([*stretches, Alone(2, 3)]) == Peak(1, 1 if stretches else 2)


def test_who_served_is_taken_from_the_logs_where_answers_do_not_tell() -> None:
    one, two, three = (number.to_bytes(16, "big") for number in (1, 2, 3))
    accepted, refused = [Outcome.ACKNOWLEDGED], [Outcome.REFUSED]
    answers = [
        Answer(1, 2, "region-a", None, [one], accepted),
        Answer(1, 2, "region-b", None, [one], accepted),
        Answer(1, 2, "region-a", None, [two], accepted),
        Answer(1, 2, "region-a", None, [three], accepted),
        Answer(1, 2, "region-a", None, [one], refused),
        Answer(1, 2, "region-a", "region-b", [one], accepted),
    ]
    records = [
        KafkaRecord(Place("region-a", "logs", 0), 0, one),
        KafkaRecord(Place("region-b", "logs", 0), 0, one),
        KafkaRecord(Place("region-b", "logs", 0), 1, two),
        KafkaRecord(Place("region-a", "region-b.logs", 0), 0, two),
    ]

    found = [answer.served for answer in served_by(answers, records, "logs")]

    assert found == ["region-a", "region-b", "region-b", None, None, "region-b"]
