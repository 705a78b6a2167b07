"""
What recognises duplicates before PostgreSQL has to: the bloom filter and Redis.

They are asked before a batch is stored, and remember it afterwards, never before: a crash between the two leaves an id that PostgreSQL knows and the memory does not, which costs one question.
"""

import time

from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final

from consumer.bloom import RotatingBloom
from consumer.envelope import Envelope, Row
from consumer.failpoints import Arrive, pass_by
from consumer.metrics import ConsumerMetrics
from consumer.outages import Outages
from consumer.pipeline import Batch
from consumer.ports import SeenIds, SeenIdsUnavailableError
from consumer.spot_check import SpotCheck

# Apart, because each can fail alone: one that is full or a replica answers questions and remembers nothing.
REDIS: Final = (READS := "redis reads", WRITES := "redis writes")
_envelope, _lateness = map(itemgetter, range(2))  # of a row
_origin, _received, _identity = (
    itemgetter(Envelope._fields.index(name)) for name in ("origin", "received_us", "identity")
)


@dataclass(frozen=True, slots=True)
class Stored:
    """
    What a transaction stored.

    Attributes:
        rows: Without those that the store refused.
        new: Indices of those that were not there before.
        size: Bytes that were held for them.
    """

    rows: Sequence[Row]
    new: Collection[int]
    size: int


class Memory:
    """
    The bloom filter and Redis together.

    Args:
        bloom: Outlives assignments.
        seen: The memory of stored ids.
        known: Which of some rows are stored, as `EventStore.known` says it.
        metrics: Counters.
        outages: Shared with `/ready`.
        wall_us: The system's clock, for what is measured against other machines' times.
        arrive: Called at the places that `consumer/failpoints.py` names.
    """

    def __init__(
        self,
        *,
        bloom: RotatingBloom,
        seen: SeenIds,
        known: Callable[[Sequence[Row]], Awaitable[Collection[int]]],
        metrics: ConsumerMetrics,
        outages: Outages,
        wall_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        arrive: Arrive = pass_by,
    ) -> None:
        self._bloom = bloom
        self._seen = seen
        self._metrics = metrics
        self._outages = outages
        self._wall_us = wall_us
        self._arrive = arrive
        self._check = SpotCheck(known=known, metrics=metrics, wall_us=wall_us)

    async def fresh(self, batch: Batch) -> Sequence[Row]:
        """Return a batch's rows without what Redis knows to be stored from another record."""
        rows, asked = batch.rows, batch.questions
        self._metrics.bloom_checks["new"].inc(asked.new)
        self._metrics.bloom_checks["maybe"].inc(asked.maybe)
        if not asked.ask:
            return rows
        with self._metrics.batch_duration["dedup"].time():
            wanted = [rows[index].envelope for index in asked.ask]
            one = wanted[:1]
            try:
                answers = await self._seen.duplicates(wanted)
            except SeenIdsUnavailableError as exc:
                self._outages.begin(READS, exc, lambda: self._seen.duplicates(one))
                return rows
        self._outages.end(READS)
        known = {asked.ask[answer] for answer in answers}
        if known and not await self._check.passes([rows[index] for index in sorted(known)]):
            return rows
        self._metrics.duplicates["redis"].inc(len(known))
        return [row for index, row in enumerate(rows) if index not in known]

    async def remember(self, stored: Sequence[Stored]) -> None:
        """Count what was stored, and remember it in the bloom filter and in Redis."""
        envelopes: list[Envelope] = []
        for each in stored:
            self._count(each.rows, each.new)
            envelopes += map(_envelope, each.rows)
        if envelopes:
            await self._remember(envelopes)

    async def _remember(self, envelopes: Sequence[Envelope]) -> None:
        self._bloom.add_all(list(map(_identity, envelopes)))
        one = envelopes[:1]
        with self._metrics.batch_duration["remember"].time():
            try:
                await self._seen.remember(envelopes)
            except SeenIdsUnavailableError as exc:
                # It is stored, so it may be remembered at any time.
                self._outages.begin(WRITES, exc, lambda: self._seen.remember(one))
            else:
                self._outages.end(WRITES)
        self._arrive("after-remember")

    def _count(self, rows: Sequence[Row], new: Collection[int]) -> None:
        wall_us = self._wall_us()
        stored = rows if len(new) == len(rows) else [rows[index] for index in new]
        envelopes = list(map(_envelope, stored))
        origins = set(map(_origin, envelopes))
        for origin in origins:
            of_origin = envelopes if len(origins) == 1 else [e for e in envelopes if e.origin == origin]
            waits_s = [(wall_us - received_us) / 1e6 for received_us in map(_received, of_origin)]
            self._metrics.stored[origin].inc(len(waits_s))
            self._metrics.end_to_end[origin].observe_all(waits_s)
        late = (lateness for lateness in map(_lateness, stored) if lateness is not None)
        for reason, count in Counter(lateness.reason for lateness in late).items():
            self._metrics.late[reason].inc(count)
        self._metrics.duplicates["postgres"].inc(len(rows) - len(new))
        if rows:
            self._metrics.batch_events.observe(len(rows))
