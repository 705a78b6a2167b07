"""All levers are taken back, also one that worked only in part."""

import asyncio

import pytest

from chaos.fleet import LeverError
from loadtest.levers import Levers


class Setup:
    """`./setup.sh`, without a fleet."""

    def __init__(self, *broken: tuple[str, str]) -> None:
        self.broken = set(broken)
        self.pulled: list[tuple[str, str]] = []

    async def __call__(self, verb: str, target: str) -> str:
        self.pulled.append((verb, target))
        if (verb, target) in self.broken:
            raise LeverError(f"{verb} {target} does not work")
        return f"\x1b[1m[  3s]\x1b[0m {target} has been dealt with\n"


async def test_what_is_still_in_effect_is_taken_back_the_last_first() -> None:
    setup, said = Setup(), list[str]()
    levers = Levers(said.append, setup)
    for verb, target in (("cut", "a-to-b"), ("stop", "kafka-a"), ("cut", "b-to-a"), ("start", "kafka-a")):
        await levers.pull(verb, target)
    await levers.take_back()

    assert setup.pulled[4:] == [("heal", "b-to-a"), ("heal", "a-to-b")]
    assert said[0] == "cut a-to-b: a-to-b has been dealt with"
    await levers.take_back()
    assert len(setup.pulled) == 6


async def test_a_lever_that_failed_half_way_is_taken_back_too() -> None:
    setup = Setup(("cut", "a-to-b"))
    levers = Levers(lambda _: None, setup)
    with pytest.raises(LeverError):
        await levers.pull("cut", "a-to-b")
    await levers.take_back()

    assert setup.pulled == [("cut", "a-to-b"), ("heal", "a-to-b")]


async def test_one_that_cannot_be_taken_back_is_said_and_the_others_are_all_the_same() -> None:
    setup, said = Setup(("heal", "b-to-a")), list[str]()
    levers = Levers(said.append, setup)
    await levers.pull("cut", "a-to-b")
    await levers.pull("cut", "b-to-a")
    await levers.take_back()

    assert setup.pulled[2:] == [("heal", "b-to-a"), ("heal", "a-to-b")]
    assert levers.trouble == ["heal b-to-a does not work"]
    assert "NOT TAKEN BACK: heal b-to-a does not work" in said


async def test_what_was_interrupted_while_it_was_done_is_taken_back() -> None:
    setup = Setup()

    async def slow(verb: str, target: str) -> str:
        if verb == "cut":
            await asyncio.sleep(3600)
        return await setup(verb, target)

    levers = Levers(lambda _: None, slow)
    task = asyncio.create_task(levers.pull("cut", "a-to-b"))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await levers.take_back()

    assert setup.pulled == [("heal", "a-to-b")]
