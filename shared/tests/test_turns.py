"""Long work is done in turns: one piece of it at a time, in the order in which it came, and others go on in between."""

import asyncio

from collections.abc import Generator

import pytest

from shared.ingest import turns
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
