"""How an assignment begins: the partitions are claimed in the store, their logs looked at, and where to begin is decided."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any, Final

import structlog

from consumer.aside import Aside
from consumer.assignment import Assignment
from consumer.envelope import Partition
from consumer.memory import Memory
from consumer.orders import Orders
from consumer.pipeline import Pipeline
from consumer.source import Source
from consumer.surroundings import Limits, Ports, Surroundings
from consumer.writer import Writer

log: Final = structlog.stdlib.get_logger(__name__)


class Takeover:
    """
    Begins assignments.

    Args:
        ports: Of all assignments.
        limits: Of each.
        around: What they work in.
        make_buffer: Makes a reorder buffer.
        make_pipeline: Makes a pipeline.
        make_writer: Makes a writer.
        make_aside: Makes what sets dead letters aside.
        make_assignment: Makes an assignment.
    """

    def __init__(
        self,
        ports: Ports,
        limits: Limits,
        around: Surroundings,
        *,
        make_buffer: Callable[[], Orders],
        make_pipeline: Callable[..., Pipeline] = Pipeline,
        make_writer: Callable[..., Writer] = Writer,
        make_aside: Callable[..., Aside] = Aside,
        make_assignment: Callable[..., Assignment] = Assignment,
    ) -> None:
        self._ports = ports
        self._limits = limits
        self._around = around
        self._make_buffer = make_buffer
        self._make_pipeline = make_pipeline
        self._make_writer = make_writer
        self._make_aside = make_aside
        self._make_assignment = make_assignment
        self._store_id = ""

    async def begin(self, source: Source, partitions: Collection[Partition]) -> Assignment:
        """
        Take partitions over from their last owner.

        Raises:
            FencedError: They belong to another consumer already.
            SourceUnavailableError: Kafka does not say what their logs are, or has assigned them to another consumer.
        """
        ports, around = self._ports, self._around
        claim = await around.outages.retry_until_done("postgres", lambda: ports.store.claim(partitions))
        known = {partition: progress.log for partition, progress in claim.progress.items()}
        with around.outages.calling("kafka"):
            logs = await source.look(known)
        around.outages.end("kafka")
        missing = known.keys() - logs.keys()
        begun = around.doubts.begin({partition: claim.progress[partition] for partition in logs}, logs)
        claim = replace(claim, progress={partition: found.progress for partition, found in begun.items()})
        starts = {partition: found.offset for partition, found in begun.items()}
        buffer = self._make_buffer()
        for partition, start in starts.items():
            has_unread = start < logs[partition].end
            buffer.assign(partition, claim.progress[partition].watermark_us, around.now_us(), has_unread=has_unread)
        ports.seen.use_store(claim.store_id)
        if claim.store_id != self._store_id:
            # A probe would remember in the memory of this store what was stored in another one.
            around.outages.forget_probes()
            self._store_id = claim.store_id
        pipeline = self._make_pipeline(
            region=around.region,
            claim=claim,
            buffer=buffer,
            bloom=ports.bloom,
            encode=ports.store.encode,
            is_shared=ports.is_shared,
            batch_max=self._limits.batch_max,
            max_bytes=self._limits.max_bytes,
            arrive=around.arrive,
        )
        common: Any = {"metrics": around.metrics, "outages": around.outages}
        aside = self._make_aside(dead_letters=ports.dead_letters, **common)
        writer = self._make_writer(
            claim=claim,
            memory=Memory(bloom=ports.bloom, seen=ports.seen, known=ports.store.known, arrive=around.arrive, **common),
            store=ports.store,
            aside=aside,
            lateness=buffer.lateness,
            now_us=around.now_us,
            batch_max=self._limits.batch_max,
            max_bytes=self._limits.max_bytes,
            arrive=around.arrive,
            **common,
        )
        source.begin(starts, {partition: progress.log for partition, progress in claim.progress.items()}, missing)
        pipeline.ends = source.ends
        # So that what was logged is logged once, and what retention takes before the first record is read is noticed.
        await writer.write(pipeline.check_in())
        log.info("partitions begun", generation=claim.generation, partitions=len(starts), missing=len(missing))
        return self._make_assignment(
            source=source,
            pipeline=pipeline,
            writer=writer,
            aside=aside,
            buffer=buffer,
            starts=starts,
            limits=self._limits,
            around=around,
        )
