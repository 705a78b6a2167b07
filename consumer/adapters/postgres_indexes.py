"""
Builds what a migration could only begin: indexes of large tables.

To build one takes minutes, and no migration may lock a table for so long. So the migration makes the index of the partitioned table
alone, and days that are made from then on have it. Here each other partition gets its own: a small one under a lock, in a moment; a
large one `CONCURRENTLY`, while consumers write to it. What a run leaves that was killed, the next one uses or builds anew.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import asyncpg
import structlog

from consumer.adapters.postgres_migrations import Runner
from consumer.migration import MigrationError

log: Final = structlog.stdlib.get_logger(__name__)
# What is built in a moment, while others wait.
SMALL_BYTES: Final = 32 * 1024 * 1024
_SWAP_WAIT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Index:
    """
    An index of `logs`.

    Attributes:
        name: Of that of the partitioned table, while it is being built.
        columns: What comes after the table's name.
        takes_the_place_of: An index that it replaces and whose name it gets in the end.
    """

    name: str
    columns: str
    takes_the_place_of: str | None = None


INDEXES: Final = (
    Index("logs_seq_order", "(seq)", "logs_seq"),
    Index(
        "logs_event_id",
        "USING brin (event_id uuid_bloom_ops (n_distinct_per_range = 1250, false_positive_rate = 0.01)) "
        "WITH (pages_per_range = 32, autosummarize = on)",
    ),
    Index("logs_tenant_time", "(tenant_id, event_time, seq) WHERE tenant_id <> 0"),
    Index("logs_tenant_seq", "(tenant_id, seq) WHERE tenant_id <> 0"),
)
# The tables between `logs` and those with rows, and what they have of an index.
_BETWEEN: Final = """
    SELECT t.relid::regclass::text AS "table", c.relname || $2 AS name,
           to_regclass(quote_ident(c.relname || $2)) IS NOT NULL AS is_there,
           (SELECT i.inhrelid::regclass::text FROM pg_inherits AS i JOIN pg_index AS x ON x.indexrelid = i.inhrelid
            WHERE i.inhparent = to_regclass($1) AND x.indrelid = t.relid) AS part
    FROM pg_partition_tree('logs') AS t JOIN pg_class AS c ON c.oid = t.relid
    WHERE t.level > 0 AND NOT t.isleaf
"""
# The tables with rows that have no part of an index yet, and whether a run that was killed has left one behind.
_WITHOUT: Final = """
    SELECT t.relid::regclass::text AS "table", p.relname AS parent, pg_relation_size(t.relid) AS bytes,
           c.relname || $1 AS name, left_over.indisvalid AS was_built
    FROM pg_partition_tree('logs') AS t
    JOIN pg_class AS c ON c.oid = t.relid
    JOIN pg_class AS p ON p.oid = t.parentrelid
    LEFT JOIN pg_index AS left_over
      ON left_over.indexrelid = to_regclass(quote_ident(c.relname || $1)) AND left_over.indrelid = t.relid
    WHERE t.isleaf AND NOT EXISTS (
        SELECT FROM pg_index AS x JOIN pg_inherits AS i ON i.inhrelid = x.indexrelid
        WHERE x.indrelid = t.relid AND i.inhparent::regclass::text = ANY($2)
    )
"""
_IS_WHOLE: Final = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass($1)"


async def finish_indexes(connection: asyncpg.Connection, *, wait_s: float, small_bytes: int = SMALL_BYTES) -> None:
    """
    Build what is missing of the indexes.

    Args:
        connection: As the owner of the tables, in no transaction.
        wait_s: How long to try where a table is in use.
        small_bytes: Tables up to this size are locked while theirs is built.

    Raises:
        MigrationError: A table is in use; the message names the session.
    """
    runner = Runner(connection, wait_s)
    await runner.alone()
    try:
        for index in INDEXES:
            # There is none in a database without that migration, nor where it has taken its place already.
            if await connection.fetchval("SELECT to_regclass($1)", index.name) is None:
                continue
            await _build(runner, index, small_bytes)
            if index.takes_the_place_of is not None and await connection.fetchval(_IS_WHOLE, index.name):
                await _swap(connection, index.name, index.takes_the_place_of)
    finally:
        await runner.unlock()


async def _build(runner: Runner, index: Index, small_bytes: int) -> None:
    suffix = index.name.removeprefix("logs")
    between = await runner.connection.fetch(_BETWEEN, index.name, suffix)
    await _run(
        runner,
        [_create(index, table, "ONLY ") for table in between if not table["is_there"] and not table["part"]],
        index,
    )
    parents = {"logs": index.name} | {table["table"]: table["part"] or table["name"] for table in between}
    small, small_so_far = list[str](), 0
    for table in await runner.connection.fetch(_WITHOUT, suffix, list(parents.values())):
        attach = f'ALTER INDEX {parents[table["parent"]]} ATTACH PARTITION "{table["name"]}"'
        if table["bytes"] > small_bytes:
            await _build_beside(runner, index, table)
            await _run(runner, [attach], index)
            continue
        if small_so_far + table["bytes"] > small_bytes:
            await _run(runner, small, index)
            small, small_so_far = [], 0
        if table["was_built"] is False:
            small.append(f'DROP INDEX "{table["name"]}"')
        small += [*([] if table["was_built"] else [_create(index, table)]), attach]
        small_so_far += table["bytes"]
    await _run(runner, small, index)
    # Last, when they are whole: to make two floors whole at once, PostgreSQL would want the upper table for itself.
    await _run(
        runner,
        [f'ALTER INDEX {index.name} ATTACH PARTITION "{table["name"]}"' for table in between if not table["part"]],
        index,
    )


def _create(index: Index, table: asyncpg.Record, only: str = "") -> str:
    return f'CREATE INDEX "{table["name"]}" ON {only}{table["table"]} {index.columns}'


async def _run(runner: Runner, statements: Sequence[str], index: Index) -> None:
    if statements:
        await runner.run([";\n".join(statements)], None, f"index {index.name}")


async def _build_beside(runner: Runner, index: Index, table: asyncpg.Record) -> None:
    """Build the index of a large table while its writers go on; sessions that have read it before are waited for."""
    connection = runner.connection
    log.info(
        "an index is being built, consumers go on meanwhile",
        index=index.name,
        table=table["table"],
        bytes=table["bytes"],
    )
    await connection.execute("SET lock_timeout = 0; SET statement_timeout = 0")
    try:
        if table["was_built"] is False:
            await connection.execute(f'DROP INDEX CONCURRENTLY "{table["name"]}"')
        if not table["was_built"]:
            await connection.execute(f'CREATE INDEX CONCURRENTLY "{table["name"]}" ON {table["table"]} {index.columns}')
    finally:
        if not connection.is_closed():
            await connection.execute("RESET lock_timeout; RESET statement_timeout")


async def _swap(connection: asyncpg.Connection, name: str, former: str) -> None:
    """Drop the index that is replaced. It needs the table for a moment; where that cannot be had, the next run does it."""
    runner = Runner(connection, _SWAP_WAIT_S)
    try:
        await runner.run(
            [f"DROP INDEX IF EXISTS {former}; ALTER INDEX {name} RENAME TO {former}"], None, f"index {former}"
        )
    except MigrationError as exc:
        log.warning("an index that is no longer needed stays until the next start", index=former, error=str(exc))
