"""What one caller may have: places, and seconds of PostgreSQL's time."""

import asyncio

import pytest

from console.limits import Budget, CallerBusyError, Places, SpentError
from console.ports import BusyError


async def held(places: Places, caller: str, leave: asyncio.Event) -> None:
    async with places.place(caller):
        await leave.wait()


async def test_a_caller_has_as_many_places_as_it_may_and_others_have_their_own() -> None:
    places, leave = Places("searches", 2, wait_s=1), asyncio.Event()
    tasks = [asyncio.create_task(held(places, caller, leave)) for caller in ("a", "a", "b")]
    await asyncio.sleep(0)

    with pytest.raises(CallerBusyError, match="your other searches are under way, 2 may be at once"):
        async with places.place("a"):
            pass
    async with places.place("b"):
        pass
    leave.set()
    await asyncio.gather(*tasks)
    assert places.under_way == 0
    async with places.place("a"):
        pass


async def test_who_waits_gets_the_place_that_becomes_free_in_its_turn() -> None:
    places, order = Places("searches", 1, wait_s=100), []
    leave = asyncio.Event()

    async def take(name: str) -> None:
        async with places.place("a"):
            order.append(name)
            await leave.wait()
            await asyncio.sleep(1)

    tasks = [asyncio.create_task(take(name)) for name in ("first", "second", "third")]
    await asyncio.sleep(1)
    tasks[1].cancel()
    leave.set()
    await asyncio.wait(tasks)

    assert order == ["first", "third"]
    assert places.under_way == 0


async def test_all_together_have_a_limit_too() -> None:
    places, leave = Places("exports", 1, 2), asyncio.Event()
    tasks = [asyncio.create_task(held(places, caller, leave)) for caller in ("a", "b")]
    await asyncio.sleep(0)

    with pytest.raises(BusyError, match=r"as many exports are under way as may be \(2\)"):
        async with places.place("c"):
            pass
    leave.set()
    await asyncio.gather(*tasks)


def test_a_caller_has_so_many_seconds_a_minute_and_is_told_when_there_are_more() -> None:
    now = [0.0]
    budget = Budget(20, lambda: now[0])

    def search(seconds: float, caller: str = "a") -> None:
        budget.ask(caller)
        with budget.spending(caller):
            now[0] += seconds

    search(2)
    search(30)  # one that has begun goes on, and is paid back
    with pytest.raises(SpentError, match="your searches took 20 s of the last minute") as refused:
        search(2)
    search(2, "b")
    now[0] += int(refused.value.headers["Retry-After"])
    search(2)


def test_no_budget_is_no_limit() -> None:
    now = [0.0]
    budget = Budget(0, lambda: now[0])
    for _ in range(100):
        budget.ask("a")
        with budget.spending("a"):
            now[0] += 10
