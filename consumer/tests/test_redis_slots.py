import random

import pytest

from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.redis_seen import Slots

SECOND = 1_000_000
HOUR = 3600 * SECOND


def after(rate: int, seconds: int = 5, batch: int = 50) -> int:
    """Return the slots of a minute after so many seconds of so many events a second."""
    slots = Slots()
    for n in range(rate * seconds // batch):
        slots.seen([(n * batch + i) * SECOND // rate for i in range(batch)])
    return slots.a_minute


@pytest.mark.parametrize("rate", [500, 5_000, 60_000])
def test_a_slot_holds_some_hundred_ids_at_any_usual_rate(rate: int) -> None:
    assert 200 <= rate * 60 / after(rate) <= 600


def test_few_events_leave_room_for_a_burst() -> None:
    assert after(1, seconds=3000, batch=1) == 64


def test_no_rate_makes_a_minute_of_slots_without_end() -> None:
    assert after(10_000_000, seconds=1, batch=5000) == 1 << 14


@given(st.lists(st.lists(st.integers(0, 10**16), max_size=2000), max_size=5))
def test_any_history_gives_a_power_of_two(history: list[list[int]]) -> None:
    slots = Slots()
    for times_us in history:
        slots.seen(times_us)

        assert slots.a_minute.bit_count() == 1
        assert 64 <= slots.a_minute <= 1 << 14


def test_after_a_replay_began_it_follows_the_new_place() -> None:
    slots = Slots()
    slots.seen([10**15])
    for n in range(20):
        slots.seen([(n * 500 + i) * SECOND // 5000 for i in range(500)])

    assert slots.a_minute == 1024


def test_small_batches_of_late_events_and_of_events_from_the_future_change_nothing() -> None:
    chance, slots, seen = random.Random(3), Slots(), set()
    for n in range(2000):
        now_us = HOUR + n * SECOND // 50
        slots.seen([now_us + i * 1300 for i in range(15)])
        if chance.random() < 0.15:
            slots.seen([now_us - chance.randrange(HOUR)])
        if chance.random() < 0.02:
            slots.seen([now_us + chance.randrange(24 * HOUR)])
        seen.add(slots.a_minute)

    assert seen == {64, 128}, "750 events a second"
