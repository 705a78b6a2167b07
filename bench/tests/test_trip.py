"""How long the way of an event through the code is, counted; with small trees of files that a test makes."""

import asyncio
import runpy

from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.trip import TO_KAFKA, TO_TABLE, Length, Recorder, Step, both, measure


def steps(*names: str) -> Sequence[Step]:
    return [Step(*name.split(".")) for name in names]


@pytest.mark.parametrize(
    ("way", "length"),
    [
        (steps(), Length(files=0, functions=0, moves=0, returns=0)),
        (steps("a.f"), Length(files=1, functions=1, moves=0, returns=0)),
        (steps("a.f", "a.g", "a.f"), Length(files=1, functions=2, moves=0, returns=0)),
        (steps("a.f", "b.f", "c.f"), Length(files=3, functions=3, moves=2, returns=0)),
        (steps("a.f", "b.g", "a.f"), Length(files=2, functions=2, moves=2, returns=1)),
        (steps("a.f", "b.g", "a.h", "b.g", "b.i", "c.k", "a.f"), Length(files=3, functions=5, moves=5, returns=3)),
    ],
)
def test_a_move_goes_to_another_file_and_a_return_to_one_that_was_left(way: Sequence[Step], length: Length) -> None:
    assert measure(way) == length


def recorded(tmp_path: Path, source: str, file: str = "house/rooms.py") -> Sequence[str]:
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(source)
    walk = runpy.run_path(str(path))["walk"]
    recorder = Recorder(tmp_path, frozenset({"house"}))
    with recorder:
        asyncio.run(walk())
    return [f"{step.file} {step.function}" for step in recorder.steps]


def test_a_coroutine_is_entered_once_however_often_it_is_resumed(tmp_path: Path) -> None:
    source = """
import asyncio
async def pause():
    for _ in range(3):
        await asyncio.sleep(0)
async def walk():
    await pause()
    await pause()
"""
    pauses = ["house/rooms.py pause"] * 2

    assert recorded(tmp_path, source) == ["house/rooms.py walk", *pauses]


def test_a_comprehension_is_part_of_its_function_and_a_lambda_is_none(tmp_path: Path) -> None:
    source = """
class Room:
    def enter(self):
        return [n for n in range(3)] + list(n for n in range(3))
async def walk():
    (lambda: Room().enter())()
"""
    assert recorded(tmp_path, source) == [
        "house/rooms.py walk",
        "house/rooms.py walk.<locals>.<lambda>",
        "house/rooms.py Room.enter",
    ]


@pytest.mark.parametrize("file", ["street/rooms.py", "house/tests/rooms.py", "rooms.py"])
def test_what_is_in_no_counted_folder_or_among_tests_is_not_recorded(tmp_path: Path, file: str) -> None:
    assert recorded(tmp_path, "async def walk():\n    pass\n", file) == []


async def test_two_trips_of_an_event_are_the_same_and_go_from_door_to_door() -> None:
    first, second = await both(), await both()

    assert first == second
    assert {step.file.split("/")[0] for step in first[TO_KAFKA]} == {"gateway", "producer", "shared"}
    assert first[TO_KAFKA][0].file == "shared/ingest/asgi.py"
    assert first[TO_KAFKA][-1].file == "gateway/admission.py", "it counts the answer"
    # What a reader has to follow. A change that needs more says why, here.
    length = measure(first[TO_KAFKA])
    # Five files are bounds: the budget of bytes, a producer's gate, turns for long work and their callers, and callers' lines.
    assert length.files <= 30
    # One file looks whether a path is a shipper's. Four functions find a producer's internal listener, bound its requests, and give a caller its turn.
    assert length.functions <= 101
    assert length.moves <= 76
    assert length.returns <= 50
    assert {"consumer"} <= {step.file.split("/")[0] for step in first[TO_TABLE]} <= {"consumer", "shared"}
