"""
How far an assignment is, for the outside: offsets in Kafka, for tools that show lag, and gauges. No other part relies on it.

What counts is in the store: offsets are committed there, in the transaction of their rows.
"""

from collections.abc import Mapping

from consumer.envelope import Partition
from consumer.orders import Orders
from consumer.source import Source
from consumer.surroundings import Surroundings
from consumer.writer import Writer


class Commits:
    """
    Shows how far an assignment is.

    Args:
        source: Commits offsets.
        writer: Knows which are durable.
        buffer: What is held back.
        starts: Where the assignment began to read.
        around: What it works in.
    """

    def __init__(
        self, source: Source, writer: Writer, buffer: Orders, starts: Mapping[Partition, int], around: Surroundings
    ) -> None:
        self._source = source
        self._writer = writer
        self._buffer = buffer
        self._starts = starts
        self._around = around
        self._committed: Mapping[Partition, int] = {}
        self._committed_us = 0

    async def commit_when_due(self) -> None:
        """Commit and show how far it is, unless that was done a moment ago."""
        if self._around.now_us() - self._committed_us >= self._around.pace.commit_every_us:
            await self.commit()
            self.show(self._source.ends)

    async def commit(self) -> None:
        """
        Tell Kafka how far everything is durable.

        Raises:
            SourceUnavailableError: Whether the offsets are committed is unknown.
        """
        around = self._around
        self._committed_us = around.now_us()
        durable = self._writer.durable
        if durable and durable != self._committed:
            with around.metrics.batch_duration["commit"].time():
                with around.outages.calling("kafka"):
                    committed = await self._source.commit(durable)
                around.outages.end("kafka")
            if committed:
                self._committed = durable
                around.arrive("after-offset-commit")

    def done(self, partition: Partition) -> int:
        """Return the offset up to which the partition is durable."""
        return self._writer.durable.get(partition, self._starts[partition])

    def show(self, ends: Mapping[Partition, int]) -> None:
        """Show how far it is, given how far the partitions reach."""
        self._around.metrics.show(self._buffer, {p: end - self.done(p) for p, end in ends.items()})
