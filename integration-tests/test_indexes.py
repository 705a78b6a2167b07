"""Tables that are large and at work get their indexes while consumers go on."""

from pathlib import Path
from typing import Final

import asyncpg
import pytest

from earlier import unpacked
from test_days import holding
from test_migrations import Load, apply, earlier, fill  # noqa: F401 - a fixture
from test_ports import query

from consumer.adapters.postgres_indexes import INDEXES, finish_indexes
from consumer.adapters.postgres_migrations import migrate, released
from testbed.patience import patience

pytestmark = pytest.mark.services

# Each table with rows, with the ways of its whole indexes.
WAYS: Final = """
    SELECT t.relid::regclass::text AS name,
           array_agg(am.amname || ' ' || a.attname ORDER BY 1, am.amname, a.attname)
               FILTER (WHERE x.indisvalid AND a.attname IN ('seq', 'event_id') AND x.indnatts = 1) AS ways
    FROM pg_partition_tree('logs') AS t
    JOIN pg_index AS x ON x.indrelid = t.relid
    JOIN pg_class AS c ON c.oid = x.indexrelid JOIN pg_am AS am ON am.oid = c.relam
    JOIN pg_attribute AS a ON a.attrelid = x.indexrelid AND a.attnum = 1
    GROUP BY t.relid
"""
WANTED: Final = ["brin event_id", "btree seq"]
NAMES: Final = (
    "SELECT relname FROM pg_class WHERE relkind = 'I' AND relname IN "
    "('logs_seq', 'logs_seq_order', 'logs_event_id', 'logs_tenant_time', 'logs_tenant_seq')"
)


async def ways_of(dsn: str) -> dict[str, list[str]]:
    return {row["name"]: sorted(row["ways"] or []) for row in await query(dsn, WAYS)}


async def only_migrate(dsn: str) -> asyncpg.Connection:
    connection = await asyncpg.connect(dsn)
    await migrate(connection, released(), wait_s=patience(60))
    return connection


async def is_whole(dsn: str) -> None:
    ways = await ways_of(dsn)
    assert ways["logs"] == WANTED
    assert all(found == WANTED for found in ways.values()), ways
    assert {row["relname"] for row in await query(dsn, NAMES)} == {
        "logs_seq",
        "logs_event_id",
        "logs_tenant_time",
        "logs_tenant_seq",
    }


async def test_small_tables_get_theirs_with_the_schema(earlier: str, tmp_path: Path) -> None:  # noqa: F811
    await fill(earlier, 1000)
    await apply(earlier)
    await is_whole(earlier)
    # The one that is replaced keeps its name, so that the release before builds none anew when it comes back.
    connection = await asyncpg.connect(earlier)
    await connection.execute((unpacked("b569f61", tmp_path / "again") / "consumer/schema.sql").read_text())
    await connection.close()
    await is_whole(earlier)


async def test_large_tables_get_theirs_while_consumers_go_on(earlier: str) -> None:  # noqa: F811
    await fill(earlier, 20_000)
    load = Load(earlier)
    async with load.running():
        connection = await only_migrate(earlier)
        await finish_indexes(connection, wait_s=patience(60), small_bytes=0)
        await connection.close()
    await is_whole(earlier)
    [count] = await query(earlier, "SELECT count(*) FROM logs WHERE message = 'load'")
    assert count["count"] == load.written


@pytest.mark.parametrize("is_valid", ["false", "true"])
async def test_what_a_run_has_left_that_was_killed_is_built_or_used(earlier: str, is_valid: str) -> None:  # noqa: F811
    await fill(earlier, 1000)
    connection = await only_migrate(earlier)
    await connection.execute("CREATE INDEX logs_default_past_seq_order ON logs_default_past (seq)")
    await connection.execute(
        f"UPDATE pg_index SET indisvalid = {is_valid} WHERE indexrelid = 'logs_default_past_seq_order'::regclass"
    )
    await finish_indexes(connection, wait_s=patience(60), small_bytes=0)
    await connection.close()
    await is_whole(earlier)


async def test_a_day_that_is_made_before_they_are_whole_has_them(earlier: str) -> None:  # noqa: F811
    connection = await only_migrate(earlier)
    await connection.execute("SELECT make_log_partition(current_date + 9)")
    made = await connection.fetchval("SELECT log_day_name(current_date + 9)")
    assert [way for way in (await ways_of(earlier))[made] if way in WANTED] == WANTED
    await finish_indexes(connection, wait_s=patience(60))
    await connection.execute("SELECT make_log_partition(current_date + 10)")
    await connection.close()
    await is_whole(earlier)


async def test_a_reader_in_the_way_of_the_last_step_delays_it_to_the_next_start(
    earlier: str,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connection = await only_migrate(earlier)
    monkeypatch.setattr("consumer.adapters.postgres_indexes._SWAP_WAIT_S", 0)
    async with holding(earlier, "SELECT count(*) FROM logs"):
        await finish_indexes(connection, wait_s=patience(60))
    assert len(await query(earlier, NAMES)) == len(INDEXES) + 1
    await finish_indexes(connection, wait_s=patience(60))
    await connection.close()
    await is_whole(earlier)
