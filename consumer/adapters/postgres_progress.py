"""
Claims and progress in `consumer_offsets`, the marks of those who write it, and whether the database was set back.

Each write of progress leaves a stamp in the lines that it writes. A line without the last stamp, although no later owner wrote
it, shows that the database was restored to an earlier state: to go on from there would skip what was lost. Then the database
gets another name, so that what caches remember of the old one is not believed.
"""

from collections.abc import Collection, Mapping
from typing import Final
from uuid import UUID, uuid4

import asyncpg
import structlog

from consumer.envelope import Partition
from consumer.ports import Claim, FencedError, KnownLog, Progress
from shared.event.model import epoch_us, from_epoch_us

log: Final = structlog.stdlib.get_logger(__name__)

_CLAIM: Final = """
    INSERT INTO consumer_offsets (consumer_group, region, topic, partition, generation, stamp)
    SELECT $1, $2, topic, partition, $5, $6 FROM unnest($3::text[], $4::int[]) AS p (topic, partition)
    ORDER BY topic, partition
    ON CONFLICT (consumer_group, region, topic, partition)
    DO UPDATE SET generation = EXCLUDED.generation, stamp = EXCLUDED.stamp, updated_at = clock_timestamp()
    RETURNING topic, partition, next_offset, watermark, topic_id::text, last_offset, last_record, log_end
"""
# Behind it, the generation's mark, above all rows so far; and the marks of generations go that own no partition any more: their last
# transactions have ended, since the claims of their partitions waited for them. In this order, as everywhere: a restore locks the
# tables in it, after those of the rows and the offsets.
_MARK: Final = """
    WITH known AS (SELECT id::text AS id FROM store_identity),
    gone AS (
        DELETE FROM writers AS w
        WHERE generation > 0 AND NOT EXISTS (SELECT FROM consumer_offsets AS o WHERE o.generation = w.generation)
    ),
    begun AS (
        INSERT INTO writers (generation, last_seq) SELECT $1, last_value - (NOT is_called)::int FROM logs_seq_seq
    )
    SELECT id FROM known
"""
# A line is as we left it if its stamp is our last one. So it is with that of a write whose COMMIT had no answer ($7).
# A later generation belongs to another owner and is no sign of it. Anything else: the database was set back.
_SET_BACK: Final = """
    SELECT count(*) > 0
    FROM unnest($3::text[], $4::int[], $5::uuid[]) AS p (topic, partition, stamp)
    LEFT JOIN consumer_offsets AS o
      ON o.consumer_group = $1 AND o.region = $2 AND o.topic = p.topic AND o.partition = p.partition
    WHERE o.generation IS NULL OR (o.generation <= $6 AND o.stamp NOT IN (p.stamp, $7))
"""
# The first consumer that notices renames it; the others find the new name.
_RENAME: Final = "UPDATE store_identity SET id = gen_random_uuid() WHERE id = $1::uuid"
# The stamp of this very write is fine, too: it was committed before, and its answer was lost. A new name means that another
# consumer found the database set back, also where our own lines are as we left them; see the module.
#
# The mark is that of the sequence, above all that this transaction has drawn, and below all that this generation will draw: it has one
# transaction at a time. So the mark of one that has nothing to store keeps up, too. It is set once all lines are found and locked, as
# the owner of a generation that is over must not set it, and in the order in which a claim locks them.
_PROGRESS: Final = """
    WITH lines AS (
        UPDATE consumer_offsets AS o
        SET next_offset = p.next_offset, watermark = p.watermark, stamp = $9, updated_at = clock_timestamp(),
            topic_id = p.topic_id, last_offset = p.last_offset, last_record = p.last_record, log_end = p.log_end
        FROM unnest($3::text[], $4::int[], $5::bigint[], $6::timestamptz[], $7::uuid[], $10::uuid[], $11::bigint[],
                    $12::bigint[], $13::bigint[])
             AS p (topic, partition, next_offset, watermark, stamp, topic_id, last_offset, last_record, log_end)
        WHERE o.consumer_group = $1 AND o.region = $2 AND o.topic = p.topic AND o.partition = p.partition
          AND o.generation = $8 AND o.stamp IN (p.stamp, $9)
          AND EXISTS (SELECT FROM store_identity WHERE id = $14::uuid)
        RETURNING 1
    ),
    mark AS (
        UPDATE writers
        SET last_seq = (SELECT last_value - (NOT is_called)::int FROM logs_seq_seq), updated_at = clock_timestamp()
        WHERE generation = $8 AND (SELECT count(*) FROM lines) = cardinality($3::text[])
        RETURNING 1
    )
    SELECT (SELECT count(*) FROM lines) AS lines, (SELECT count(*) FROM mark) AS marks
"""


class ProgressLines:
    """
    The lines of one consumer's partitions.

    Args:
        region: The consumer's own.
        group: The Kafka consumer group.
    """

    def __init__(self, region: str, group: str) -> None:
        self._region = region
        self._group = group
        self._stamps: dict[Partition, UUID] = {}
        self._next_stamp = uuid4()
        self._generation = 0
        self._store_id: str | None = None

    async def claim(self, connection: asyncpg.Connection, partitions: Collection[Partition]) -> Claim:
        """Take the partitions over, in a transaction; once it is committed, `claimed` is to be called."""
        await self.rename_if_set_back(connection)
        generation = await connection.fetchval("SELECT nextval('consumer_generation')")
        topics = [p.topic for p in partitions]
        numbers = [p.number for p in partitions]
        rows = await connection.fetch(_CLAIM, self._group, self._region, topics, numbers, generation, self._next_stamp)
        store_id = await connection.fetchval(_MARK, generation)
        progress = {
            Partition(row["topic"], row["partition"]): Progress(
                row["next_offset"],
                None if row["watermark"] is None else epoch_us(row["watermark"]),
                KnownLog(row["topic_id"], row["last_offset"], row["last_record"], row["log_end"]),
            )
            for row in rows
        }
        return Claim(generation, store_id, progress)

    def claimed(self, claim: Claim) -> None:
        """Note that a claim is committed."""
        self._stamps.clear()
        self._generation, self._store_id = claim.generation, claim.store_id
        self.written(claim.progress)

    async def write(
        self, connection: asyncpg.Connection, progress: Mapping[Partition, Progress], generation: int
    ) -> None:
        """
        Write progress, in a transaction; once it is committed, `written` is to be called.

        Raises:
            FencedError: The generation is over, or the database was set back.
        """
        [done] = await connection.fetch(
            _PROGRESS,
            self._group,
            self._region,
            [p.topic for p in progress],
            [p.number for p in progress],
            [p.next_offset for p in progress.values()],
            [None if p.watermark_us is None else from_epoch_us(p.watermark_us) for p in progress.values()],
            [self._stamps.get(partition) for partition in progress],
            generation,
            self._next_stamp,
            [p.log.topic_id for p in progress.values()],
            [p.log.last_offset for p in progress.values()],
            [p.log.last_record for p in progress.values()],
            [p.log.end for p in progress.values()],
            self._store_id,
        )
        lines, marks = done
        if marks != 1:
            raise FencedError(
                f"generation {generation} is over, or the database was set back: {lines} of {len(progress)} lines found"
            )

    def written(self, partitions: Collection[Partition]) -> None:
        """Note that a write to these partitions' lines is committed, and take another stamp for the next one."""
        if partitions:
            self._stamps.update(dict.fromkeys(partitions, self._next_stamp))
            self._next_stamp = uuid4()

    async def rename_if_set_back(self, connection: asyncpg.Connection) -> None:
        """Give the database another name if it was set back."""
        if await self._was_set_back(connection):
            log.warning("the database was set back, ids remembered for it are not believed any more")
            await connection.execute(_RENAME, self._store_id)

    async def _was_set_back(self, connection: asyncpg.Connection) -> bool:
        """Say whether the database lacks what this consumer last wrote, although no later owner wrote after it."""
        if not self._stamps:
            return False
        topics = [p.topic for p in self._stamps]
        numbers = [p.number for p in self._stamps]
        stamps = list(self._stamps.values())
        set_back: bool = await connection.fetchval(
            _SET_BACK, self._group, self._region, topics, numbers, stamps, self._generation, self._next_stamp
        )
        return set_back
