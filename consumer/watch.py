"""What the work cannot see while it waits for an answer: silent brokers, and how the backlog grows in an outage of the store."""

import asyncio

from typing import Final

import structlog

from consumer.envelope import Partition
from consumer.outages import Outages
from consumer.session import Session
from consumer.source import Source
from consumer.tuning import SILENCE_LIMIT_S, WATCH_EVERY_S

log: Final = structlog.stdlib.get_logger(__name__)


class Watch:
    """
    Looks at a session once a second.

    Args:
        session: The work.
        outages: Shared with `/ready`.
    """

    def __init__(self, session: Session, outages: Outages) -> None:
        self._session = session
        self._outages = outages
        self._kafka_is_silent = False
        self._unheard: frozenset[Partition] = frozenset()
        self._silent: frozenset[Partition] = frozenset()

    @property
    def unread(self) -> list[Partition]:
        """Partitions that are this consumer's, and that no broker answers for."""
        source = self._session.source
        return sorted(self._silent if source is None else self._silent | source.missing)

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(WATCH_EVERY_S)
            self._outages.notice_silence(SILENCE_LIMIT_S)
            source, current = self._session.source, self._session.assignment
            self._notice_silent_kafka(source)
            self._notice_silent_partitions(source)
            if source is not None and current is not None:
                ends = await source.ask_ends(current.starts, WATCH_EVERY_S)
                if current is self._session.assignment:
                    current.commits.show(ends)

    def _notice_silent_kafka(self, source: Source | None) -> None:
        silence_s = source.silence_s(SILENCE_LIMIT_S) if source is not None else 0.0
        if silence_s:
            self._outages.begin("kafka", TimeoutError(f"no answer for {silence_s:.0f} s"))
        elif self._kafka_is_silent and source is not None:
            self._outages.end("kafka")
        self._kafka_is_silent = silence_s > 0

    def _notice_silent_partitions(self, source: Source | None) -> None:
        # One whose broker is away, while others answer. Twice, because nothing may have looked for a while before this.
        unheard = frozenset(source.silent(SILENCE_LIMIT_S) if source is not None else ())
        silent, self._unheard = unheard & self._unheard, unheard
        if silent != self._silent:
            log.warning(
                "partitions that no broker answers for", partitions=[f"{p.topic}/{p.number}" for p in sorted(silent)]
            )
        self._silent = silent
