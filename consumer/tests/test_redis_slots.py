import pytest

from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.redis_seen import Slots

SECOND = 1_000_000


def after(rate: int, seconds: int = 5, batch: int = 50) -> int:
    """Return the slots of a minute after so many seconds of so many events a second."""
    slots = Slots()
    for n in range(rate * seconds // batch):
        slots.seen(batch, n * batch * SECOND // rate)
    return slots.a_minute


@pytest.mark.parametrize("rate", [100, 500, 5_000, 60_000])
def test_a_slot_holds_some_hundred_ids_at_any_usual_rate(rate: int) -> None:
    assert 200 <= rate * 60 / after(rate) <= 600


def test_few_events_share_the_whole_minute() -> None:
    assert after(1, seconds=600, batch=1) == 1


def test_no_rate_makes_a_minute_of_slots_without_end() -> None:
    assert after(10_000_000, seconds=2, batch=5000) == 1 << 14


@given(st.lists(st.tuples(st.integers(1, 5000), st.integers(0, 10**16))))
def test_any_history_gives_a_power_of_two(history: list[tuple[int, int]]) -> None:
    slots = Slots()
    for events, time_us in history:
        slots.seen(events, time_us)

        assert slots.a_minute.bit_count() == 1
        assert 1 <= slots.a_minute <= 1 << 14


def test_after_a_replay_began_it_follows_the_new_place() -> None:
    slots = Slots()
    slots.seen(1, 10**15)
    for n in range(100):
        slots.seen(500, n * SECOND // 10)

    assert slots.a_minute == 1024
