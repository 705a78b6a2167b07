"""Time limits follow the machine, and their messages name the awaited condition."""

import pytest

from testbed import patience as module
from testbed.patience import Deadline, eventually, patience


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Slowness of the machine at each measurement. The last value lasts."""
    slowness = [1.0]
    monkeypatch.setattr(module, "_worst", 1.0)
    monkeypatch.setattr(module, "slowness", lambda: slowness.pop(0) if len(slowness) > 1 else slowness[0])
    return slowness


def test_a_slow_machine_gets_more_time_and_what_was_slow_once_may_be_so_again(machine: list[float]) -> None:
    machine[:] = [1.0, 3.0, 1.0]

    assert [patience(2), patience(2), patience(2)] == [2, 6, 6]


def test_a_limit_that_seems_to_be_over_is_looked_at_again(machine: list[float]) -> None:
    clock = [100.0]
    deadline = Deadline(10, lambda: clock[-1])
    machine[:] = [4.0]

    def passed_at(now: float) -> bool:
        clock.append(now)
        return deadline.passed

    assert [passed_at(now) for now in (110.5, 139.0, 141.0)] == [False, False, True]
    assert str(deadline) == "within 41.0 s (10 s on a machine 4.0 times as fast)"


async def test_what_is_waited_for_and_what_was_seen_last_are_told() -> None:
    with pytest.raises(
        AssertionError, match=r"within .* s \(0\.01 s .*\): the cows come home; last seen: OSError\('3 cows'\)"
    ):
        await eventually(no_more_than_three, "the cows come home", within_s=0.01)


def no_more_than_three() -> bool:
    raise OSError("3 cows")


async def test_an_answer_that_is_true_is_returned_and_one_that_is_not_is_asked_for_again() -> None:
    answers = iter([None, 0, "", [7]])

    assert await eventually(lambda: next(answers), "an answer", every_s=0) == [7]


def test_the_real_yardstick_never_makes_a_limit_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()

    assert module.slowness() >= 1
