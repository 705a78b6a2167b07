"""Sessions end when they are ended, when their time is over, and when there are too many; no other id finds one."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from shared.access.sessions import LASTS_S, Sessions


@given(st.lists(st.tuples(st.sampled_from(["begin", "end", "wait"]), st.integers(0, 9)), max_size=60))
def test_a_session_is_found_from_its_beginning_to_its_end(steps: list[tuple[str, int]]) -> None:
    sessions, count, now = Sessions(), itertools.count(), 1000.0
    good: dict[str, tuple[str, float]] = {}
    every: list[str] = []
    for step, number in steps:
        if step == "begin":
            session = sessions.begin(f"key{number}", now, lambda size: next(count).to_bytes(size, "big"))
            good[session] = (f"key{number}", now + LASTS_S)
            every.append(session)
        elif step == "end" and every:
            sessions.end(every[number % len(every)])
            good.pop(every[number % len(every)], None)
        else:
            now += number * LASTS_S / 8
        for session in every:
            key_id, ends = good.get(session, (None, 0.0))
            assert sessions.find(session, now) == (key_id if now < ends else None)


@given(st.text(max_size=80))
def test_no_other_id_finds_one(session: str) -> None:
    sessions = Sessions()
    sessions.begin("key", 0.0, lambda size: b"\x01" * size)

    assert sessions.find(session, 0.0) is None


def test_beyond_a_thousand_the_oldest_goes() -> None:
    sessions, count = Sessions(), itertools.count()
    made = [sessions.begin("key", 0.0, lambda size: next(count).to_bytes(size, "big")) for _ in range(1001)]

    assert [session for session in made if sessions.find(session, 0.0) is None] == made[:1]
