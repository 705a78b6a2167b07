"""Long work is done in turns: one piece of it at a time, the callers one after the other, and others go on in between."""

import asyncio

from collections.abc import Generator
from unittest import mock

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.ingest import turns
from shared.ingest.caller import CALLER
from shared.ingest.turns import Turns, at_once


def work(steps: int, done: list[str], name: str) -> Generator[None, None, str]:
    for _ in range(steps):
        done.append(name)
        yield
    return name


async def test_what_was_done_is_returned() -> None:
    done: list[str] = []

    assert await Turns().run(work(1000, done, "a")) == "a"
    assert at_once(work(1000, done, "b")) == "b"
    assert done == ["a"] * 1000 + ["b"] * 1000


async def test_short_work_is_done_at_once() -> None:
    running = Turns().run(work(3, [], "a"))

    with pytest.raises(StopIteration) as done:
        running.send(None)
    assert done.value.value == "a"


async def test_between_two_turns_the_loop_comes_round_and_each_work_has_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0)  # so that a turn is one step
    done: list[str] = []
    one = Turns()
    works = [asyncio.create_task(one.run(work(20, done, name))) for name in "abc"]
    most = seen = 0
    while not all(task.done() for task in works):
        await asyncio.sleep(0)
        most, seen = max(most, len(done) - seen), len(done)

    assert sorted(task.result() for task in works) == ["a", "b", "c"]
    assert most == 1
    for begin in range(0, 60, 3):
        assert set(done[begin : begin + 3]) == {"a", "b", "c"}, done


async def test_work_that_fails_or_is_given_up_leaves_the_turn_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0)
    one = Turns()

    def failing() -> Generator[None, None, None]:
        yield
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - none but ours
        await one.run(failing())
    endless = asyncio.create_task(one.run(work(10**9, [], "endless")))
    await asyncio.sleep(0)
    endless.cancel()

    assert await one.run(work(10, [], "a")) == "a"


async def of(caller: str, one: Turns, steps: int, done: list[str]) -> str:
    CALLER.set(caller)
    return await one.run(work(steps, done, caller))


async def test_callers_have_their_turns_however_much_work_each_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0)
    done: list[str] = []
    one = Turns()
    flood = [asyncio.create_task(of("flood", one, 30, done)) for _ in range(10)]
    while len(done) < 50:  # noqa: ASYNC110 - there is no event for it
        await asyncio.sleep(0)
    before = len(done)

    await asyncio.create_task(of("other", one, 10, done))

    assert done[before:].count("flood") <= 14, "a turn of the flood between two of the other's, and not ten"
    await asyncio.gather(*flood)
    assert done.count("flood") == 300


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 5)), max_size=12),
    st.lists(st.tuples(st.integers(0, 11), st.integers(0, 30)), max_size=5),
)
def test_work_that_is_given_up_at_any_time_stops_no_other(
    works: list[tuple[str, int]], given_up: list[tuple[int, int]]
) -> None:
    async def run() -> None:
        one = Turns()
        done: list[str] = []
        tasks = [asyncio.create_task(of(caller, one, steps, done)) for caller, steps in works]
        for rounds in range(31):
            for number, at in given_up:
                if at == rounds and number < len(tasks):
                    tasks[number].cancel()
            await asyncio.sleep(0)
        results = await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), 60)
        kept = {number for number, _ in given_up}
        assert all(result in list("abc") for number, result in enumerate(results) if number not in kept)
        assert not one._taken
        assert not one._waiting

    with mock.patch.object(turns, "TURN_S", 0):
        asyncio.run(run())
