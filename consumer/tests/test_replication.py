"""The watch over replication outlives whatever the client library does."""

import asyncio
import contextlib

from collections.abc import Callable, Mapping

import pytest

from consumer.ports import SourceUnavailableError
from consumer.replication import Replication, ReplicationProbe
from shared.wire.replication import Copies, OffsetRange


class Client:
    """
    What looks.

    Args:
        number: How many were made before; what it sees.
        trouble: What it runs into.
        where: In which call.
    """

    def __init__(self, number: int, trouble: str = "none", where: str = "") -> None:
        self.stopped = False
        self.topic_ids = {"logs": f"id-{number}"}
        self._number = number
        self._trouble = trouble
        self._where = where

    async def start(self) -> None:
        await self._call("start")

    async def look(self) -> tuple[Mapping[str, OffsetRange], Mapping[str, Copies]]:
        if self._where == "stop":
            raise SourceUnavailableError
        await self._call("look")
        return {"logs/0": OffsetRange(beginning=0, end=self._number)}, {}

    async def stop(self) -> None:
        self.stopped = True
        await self._call("stop")

    async def _call(self, where: str) -> None:
        match self._trouble if where == self._where else "none":
            case "error":
                raise SourceUnavailableError
            case "cancelled":
                raise asyncio.CancelledError
            case "hangs":
                await asyncio.Event().wait()
            case "hangs on":
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.Event().wait()
                await asyncio.sleep(0.5)


def connecting(made: list[Client], trouble: str = "none", where: str = "") -> Callable[[], Replication]:
    """Make clients of which the first one is in trouble."""

    def connect() -> Replication:
        made.append(Client(len(made), trouble, where) if not made else Client(len(made)))
        return made[-1]

    return connect


async def sees(watch: ReplicationProbe, number: int) -> None:
    async with asyncio.timeout(5):
        while (report := watch.report()) is None or report.spans["logs/0"].end < number:  # noqa: ASYNC110 - it signals no event
            await asyncio.sleep(0.005)


@pytest.mark.parametrize("where", ["start", "look", "stop"])
@pytest.mark.parametrize("trouble", ["error", "cancelled", "hangs", "hangs on"])
async def test_after_any_trouble_it_connects_anew_and_sees(where: str, trouble: str) -> None:
    made: list[Client] = []
    watch = ReplicationProbe("region-a", connecting(made, trouble, where), pause_s=0.001, limit_s=0.05)
    work = asyncio.create_task(watch.run())
    try:
        await sees(watch, 1)
        assert not work.done()
        assert [client.stopped for client in made] == [True, False]
    finally:
        work.cancel()
        await asyncio.wait([work])

    assert work.cancelled()
    assert all(client.stopped for client in made)


async def test_what_was_seen_last_ages() -> None:
    now = 100.0
    watch = ReplicationProbe("region-a", connecting([]), clock=lambda: now, pause_s=1)
    assert watch.report() is None
    work = asyncio.create_task(watch.run())
    await sees(watch, 0)
    work.cancel()
    await asyncio.wait([work])
    now = 107.5

    report = watch.report()
    assert report is not None
    assert report.age_s == 7.5


async def test_a_report_says_how_long_the_reading_took() -> None:
    now = 100.0

    class Slow(Client):
        async def look(self) -> tuple[Mapping[str, OffsetRange], Mapping[str, Copies]]:
            nonlocal now
            now += 3.5
            return await super().look()

    watch = ReplicationProbe("region-a", lambda: Slow(0), clock=lambda: now, pause_s=10)
    work = asyncio.create_task(watch.run())
    await sees(watch, 0)
    work.cancel()
    await asyncio.wait([work])
    now = 105.0

    report = watch.report()
    assert report is not None
    assert (report.age_s, report.took_s) == (5.0, 3.5)
