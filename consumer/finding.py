"""
Looks for one event in the region's own Kafka, for a person who asks where it is.

It reads beside the consumer's work, over connections of its own, and is bounded: in time, in records, in questions at once. What
it could not look at is part of the answer. Nothing here can hold up or end the work.
"""

import asyncio
import contextlib
import time

from collections.abc import Callable, Collection
from typing import Final

from consumer.envelope import Partition
from consumer.log_reader import LogReader
from consumer.log_search import Search
from consumer.ports import SourceUnavailableError
from consumer.within import within
from shared.wire.finding import LIMIT_S, Found, Question
from shared.wire.regions import Region

AT_ONCE: Final = 2
_STOP_S: Final = 3.0
_FAILED: Final = (SourceUnavailableError, OSError, TimeoutError)


class TooManyQuestionsError(Exception):
    """As many questions are under way as may be."""


class Finder:
    """
    Answers questions.

    Args:
        region: Its own.
        topics: That hold events: the region's own, and those of other regions.
        connect: Makes what reads.
        stored: How far the consumer of this process has stored a partition, None if it does not read it.
        clock: Monotonic seconds.
        limit_s: For each question.
    """

    def __init__(
        self,
        region: Region,
        topics: Collection[str],
        connect: Callable[[], LogReader],
        stored: Callable[[Partition], int | None],
        *,
        clock: Callable[[], float] = time.monotonic,
        limit_s: float = LIMIT_S,
    ) -> None:
        self._region = region
        self._topics = topics
        self._connect = connect
        self._stored = stored
        self._clock = clock
        self._limit_s = limit_s
        self._under_way = 0
        self._closing: set[asyncio.Task[None]] = set()

    async def find(self, question: Question) -> Found:
        """
        Say what this region's Kafka has of an event.

        Raises:
            TooManyQuestionsError: Ask again after a pause.
            SourceUnavailableError: Kafka cannot be asked.
        """
        if self._under_way >= AT_ONCE:
            raise TooManyQuestionsError(f"{AT_ONCE} questions are under way, which is as many as may be; ask again")
        until = self._clock() + self._limit_s
        reader = self._connect()
        self._under_way += 1
        search = Search(reader, question, self._topics, self._stored, self._clock)
        try:
            await within(reader.start(), self._limit_s)
            await within(search.run(until), max(0.0, until - self._clock()))
        except TimeoutError:
            if not search.has_begun:
                raise SourceUnavailableError("Kafka did not answer in time") from None
        except OSError as exc:
            raise SourceUnavailableError(str(exc)) from exc
        finally:
            # A broker that is away cannot be left; the answer does not wait for that.
            closing = asyncio.create_task(self._close(reader))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)
        return search.answer(self._region)

    async def close(self) -> None:
        """Wait until everything is closed."""
        await asyncio.gather(*self._closing, return_exceptions=True)

    async def _close(self, reader: LogReader) -> None:
        try:
            with contextlib.suppress(*_FAILED):
                await within(reader.stop(), _STOP_S)
        finally:
            self._under_way -= 1
