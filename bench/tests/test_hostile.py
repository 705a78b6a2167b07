"""The hostile bodies are what they claim to be, and the time that one holds the event loop is found."""

import pytest

from bench.bounds import longest_hold_s
from bench.hostile import Body, bodies, flood
from shared.ingest.logs_api import MAX_BATCH_BYTES

BODIES = bodies()


@pytest.mark.parametrize("name", BODIES)
def test_bodies_are_as_large_as_they_may_be(name: str) -> None:
    body = BODIES[name]

    assert len(body.content) <= MAX_BATCH_BYTES
    assert name == "empty objects" or MAX_BATCH_BYTES * 0.9 < len(body.unfolded) <= MAX_BATCH_BYTES
    assert body.unfolded.startswith(b"[")


def test_the_flood_is_of_good_events() -> None:
    assert flood(3).events == flood(3).content.count(b"serviceName") == 3


@pytest.mark.parametrize("body", [flood(10), Body(b"[" + b"0," * 100_000 + b"0]"), Body(b"x" * 100_000)])
def test_the_longest_step_is_found(body: Body) -> None:
    assert 0 < longest_hold_s(body) < 60
