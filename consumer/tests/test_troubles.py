import asyncio

import pytest

from structlog.testing import capture_logs

from consumer.ports import FencedError, SeenIdsUnavailableError, StoreUnavailableError
from consumer.troubles import FIRST_PAUSE_S, LONGEST_PAUSE_S, Troubles


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


def test_a_trouble_is_said_once_when_it_begins_and_once_when_it_ends() -> None:
    troubles = Troubles()
    with capture_logs() as lines:
        for said in ("refused", "no route"):
            troubles.begin("postgres", OSError(said))
        assert troubles["postgres"] == "no route"
        assert troubles.among(["kafka", "postgres"]) == ["postgres: no route"]
        for _ in range(2):
            troubles.end("postgres")

    assert lines == [
        {"event": "trouble began", "port": "postgres", "error": "refused", "log_level": "warning"},
        {"event": "trouble ended", "port": "postgres", "log_level": "info"},
    ]
    assert troubles["postgres"] is None


async def test_what_matters_is_called_until_it_succeeds_with_growing_pauses() -> None:
    troubles = Troubles()
    pauses: list[float] = []
    failures = 8

    async def call() -> int:
        if len(pauses) < failures:
            raise StoreUnavailableError("away")
        assert troubles["postgres"] == "away"
        return 7

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    assert await troubles.insist("postgres", call, pause=pause) == 7
    assert pauses[:3] == [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S]
    assert max(pauses) == LONGEST_PAUSE_S
    assert troubles["postgres"] is None


async def test_what_waiting_cannot_mend_is_not_tried_again() -> None:
    async def call() -> None:
        raise FencedError("over")

    with pytest.raises(FencedError):
        await Troubles().insist("postgres", call)


async def test_who_does_not_answer_is_in_trouble_until_the_answer_comes() -> None:
    clock = Clock()
    troubles = Troubles(clock)
    answered = asyncio.Event()
    call = asyncio.create_task(troubles.insist("postgres", answered.wait))
    await asyncio.sleep(0)

    said = []
    for clock.now in (5.0, 6.0):
        troubles.notice_silence(5.0)
        said.append(troubles["postgres"])
    assert said == [None, "no answer for 6 s"]

    answered.set()
    await call
    troubles.notice_silence(0.0)
    assert troubles.among(["postgres"]) == []


async def test_what_can_be_done_without_is_tried_again_until_it_works() -> None:
    troubles = Troubles()
    troubles.begin("redis reads", SeenIdsUnavailableError("gone"), fail)

    await troubles.try_again()
    assert troubles["redis reads"] == "still gone"

    troubles.begin("redis reads", SeenIdsUnavailableError("gone"), answer)
    await troubles.try_again()
    assert troubles["redis reads"] is None


async def test_what_is_insisted_on_is_not_tried_again_by_others() -> None:
    troubles = Troubles()
    troubles.begin("postgres", StoreUnavailableError("away"))

    await troubles.try_again()

    assert troubles["postgres"] == "away"
