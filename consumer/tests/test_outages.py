import asyncio

import pytest

from structlog.testing import capture_logs

from consumer.outages import FIRST_PAUSE_S, LONGEST_PAUSE_S, Outages
from consumer.ports import FencedError, SeenIdsUnavailableError, StoreUnavailableError


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def fail() -> None:
    raise SeenIdsUnavailableError("still gone")


async def answer() -> str:
    return "here"


def test_an_outage_is_told_once_when_it_begins_and_once_when_it_ends() -> None:
    outages = Outages()
    with capture_logs() as lines:
        for said in ("refused", "no route"):
            outages.begin("postgres", OSError(said))
        assert outages["postgres"] == "no route"
        assert outages.among(["kafka", "postgres"]) == ["postgres: no route"]
        for _ in range(2):
            outages.end("postgres")

    assert lines == [
        {"event": "trouble began", "port": "postgres", "error": "refused", "log_level": "warning"},
        {"event": "trouble ended", "port": "postgres", "log_level": "info"},
    ]
    assert outages["postgres"] is None


async def test_what_matters_is_called_until_it_succeeds_with_growing_pauses() -> None:
    outages = Outages()
    pauses: list[float] = []
    failures = 8

    async def call() -> int:
        if len(pauses) < failures:
            raise StoreUnavailableError("away")
        assert outages["postgres"] == "away"
        return 7

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    assert await outages.retry_until_done("postgres", call, pause=pause) == 7
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert max(pauses) == LONGEST_PAUSE_S
    assert outages["postgres"] is None


async def test_what_waiting_cannot_mend_is_not_tried_again() -> None:
    async def call() -> None:
        raise FencedError("over")

    with pytest.raises(FencedError):
        await Outages().retry_until_done("postgres", call)


async def test_a_port_that_does_not_answer_is_an_outage_until_the_answer_comes() -> None:
    clock = Clock()
    outages = Outages(clock)
    answered = asyncio.Event()
    call = asyncio.create_task(outages.retry_until_done("postgres", answered.wait))
    await asyncio.sleep(0)

    said = []
    for clock.now in (5.0, 6.0):
        outages.notice_silence(5.0)
        said.append(outages["postgres"])
    assert said == [None, "no answer for 6 s"]

    answered.set()
    await call
    outages.notice_silence(0.0)
    assert outages.among(["postgres"]) == []


async def test_what_can_be_done_without_is_probed_until_it_works() -> None:
    outages = Outages()
    outages.begin("redis reads", SeenIdsUnavailableError("gone"), fail)

    await outages.probe()
    assert outages["redis reads"] == "still gone"

    outages.begin("redis reads", SeenIdsUnavailableError("gone"), answer)
    await outages.probe()
    assert outages["redis reads"] is None


async def test_what_is_retried_until_done_is_not_probed() -> None:
    outages = Outages()
    outages.begin("postgres", StoreUnavailableError("away"))

    await outages.probe()

    assert outages["postgres"] == "away"
