"""Dead letters on their way: durable before they are counted, and logged in one line a batch."""

import asyncio

from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import structlog

from consumer.envelope import DeadLetter
from consumer.letters import portions
from consumer.metrics import ConsumerMetrics
from consumer.outages import Outages
from consumer.pipeline import Pipeline
from consumer.ports import DeadLetters
from consumer.surroundings import Surroundings

log: Final = structlog.stdlib.get_logger(__name__)


class Aside:
    """
    Sets records aside.

    Args:
        dead_letters: Where they go.
        metrics: Counters.
        outages: Shared with `/ready`.
        pause: Sleeps; replaced in tests.
    """

    def __init__(
        self,
        *,
        dead_letters: DeadLetters,
        metrics: ConsumerMetrics,
        outages: Outages,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._dead_letters = dead_letters
        self._metrics = metrics
        self._outages = outages
        self._pause = pause

    async def put_all(self, letters: Sequence[DeadLetter], on_durable: Callable[[Sequence[DeadLetter]], None]) -> None:
        """
        Make letters durable, some at a time.

        Args:
            letters: A list that may grow, and from which `on_durable` removes the first ones.
            on_durable: Called with those that are durable.
        """
        while letters:
            portion = next(portions(letters))
            await self.put(portion)
            on_durable(portion)

    async def put(self, letters: Sequence[DeadLetter]) -> None:
        """Make these durable, however long it takes."""
        retries = self._metrics.store_retries
        await self._outages.retry_until_done(
            "dead letters", lambda: self._dead_letters.write(letters), on_failure=retries.inc, pause=self._pause
        )
        for letter in letters:
            self._metrics.dead_letters[letter.reason].inc()
        # One line a batch: a client that writes nothing but poison must not flood the log as well.
        first = letters[0]
        log.warning(
            "records set aside",
            count=len(letters),
            first=f"{first.partition.topic}/{first.partition.number}@{first.offset}",
            reason=first.reason,
            detail=first.detail[:500],
            **first.about(),
        )


class LettersTask:
    """
    Writes an assignment's letters beside the stream, which waits for them only when they are too many.

    Args:
        aside: Where they go.
        pipeline: Where they come from.
        around: The assignment's.
    """

    def __init__(self, aside: Aside, pipeline: Pipeline, around: Surroundings) -> None:
        self._aside = aside
        self._pipeline = pipeline
        self._around = around
        self._writing: asyncio.Task[None] | None = None

    async def see_to(self) -> None:
        """Have the letters written that there are, and wait for it if they are too many."""
        if self._pipeline.letters and self._writing is None:
            self._writing = asyncio.create_task(self.write())
        if self._writing is not None and (self._writing.done() or self._is_too_much):
            await self.end()

    async def write(self) -> None:
        """Write all; no two calls at a time."""
        await self._aside.put_all(self._pipeline.letters, self._pipeline.complete)

    async def end(self) -> None:
        """Wait until the letters in flight are written; a release may wait for them at the same time."""
        writing = self._writing
        if writing is None:
            return
        await asyncio.wait({writing})
        if self._writing is writing:
            self._writing = None
        if not writing.cancelled():
            writing.result()

    async def abandon(self) -> None:
        """End at once; what is not written is read again."""
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.cancel()
            await asyncio.gather(writing, return_exceptions=True)
            self._around.outages.end("dead letters")

    @property
    def _is_too_much(self) -> bool:
        pipeline, pace = self._pipeline, self._around.pace
        return len(pipeline.letters) > pace.unwritten_max or pipeline.letters_bytes > pace.unwritten_max_bytes
