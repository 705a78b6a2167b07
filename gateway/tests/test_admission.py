"""How many requests are let in, and of which caller."""

import pytest

from prometheus_client import CollectorRegistry

from gateway.admission import Admission
from gateway.metrics import GatewayMetrics
from shared.ingest.caller import CALLER
from shared.process.bounds import Bounds
from shared.wire.problem import UnavailableError

PATH = "/api/logs"


class Door:
    """An admission of 32 places, and what callers do."""

    def __init__(self) -> None:
        self.now = 0.0
        self.bounds = Bounds(max_bytes=1000)
        metrics = GatewayMetrics(CollectorRegistry())
        self.admission = Admission({PATH: 32}, self.bounds, metrics, lambda: self.now)

    def enters(self, caller: str, size: int = 1) -> bool:
        CALLER.set(caller)
        try:
            self.admission.enter(PATH, size)
        except UnavailableError:
            return False
        return True

    def leaves(self, caller: str) -> None:
        CALLER.set(caller)
        self.admission.leave(PATH, 1)


def test_a_caller_alone_has_all_places() -> None:
    door = Door()

    assert [door.enters("a") for _ in range(33)] == [True] * 32 + [False]


def test_while_others_come_too_a_flood_leaves_them_places() -> None:
    door = Door()
    assert door.enters("b")
    door.leaves("b")

    assert sum(door.enters("a") for _ in range(100)) == 28
    assert all(door.enters("b") for _ in range(2))
    assert all(door.enters("c") for _ in range(2))
    assert not door.enters("d")


def test_who_was_refused_once_finds_a_place_when_one_is_free() -> None:
    door = Door()
    assert sum(door.enters("a") for _ in range(40)) == 32
    door.now = 100.0
    assert not door.enters("b")
    door.leaves("a")

    assert not door.enters("a")
    assert door.enters("b")


def test_a_caller_that_is_alone_again_has_all_places() -> None:
    door = Door()
    assert door.enters("b")
    door.leaves("b")
    assert sum(door.enters("a") for _ in range(40)) == 28
    door.now = 100.0

    assert sum(door.enters("a") for _ in range(40)) == 4


@pytest.mark.parametrize("size", [1001, 600])
def test_who_is_refused_for_its_bytes_takes_no_place(size: int) -> None:
    door = Door()
    first = door.enters("a", size)

    assert [first, door.enters("a", size)] == [size <= 1000, False]
    assert door.bounds.held_bytes == (size if first else 0)
    assert sum(door.enters("a") for _ in range(40)) == 32 - first
