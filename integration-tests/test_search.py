"""The search of the *Logs* dashboard on a real PostgreSQL: text is found as it stands, in upper or lower case of any alphabet."""

import json

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

import asyncpg
import pytest

from test_dashboards import search_statement

from consumer.schema import ensure_schema
from testbed.running_fleet import ROOT

pytestmark = pytest.mark.services

MESSAGES: Final = (
    "ÜBERLAUF im Puffer",
    "ПРИВЕТ",
    "user_id=1",
    "userXid=1",
    "C:\\temp\\x",
    "100% of it",
    "100 of it",
    "can't",
    "ΟΔΟΣ",
)
STATEMENTS: Final = {
    panel["title"]: target["rawSql"]
    for panel in json.loads((ROOT / "grafana/dashboards/logs.json").read_text())["panels"]
    for target in panel.get("targets", [])
    if "$text" in target.get("rawSql", "")
}


@pytest.fixture(name="log")
async def a_log(postgres: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres)
    try:
        await ensure_schema(connection)
        # The locale of the fleet's database in both modes. A column that a view shows cannot be altered, and the dashboard reads the table.
        await connection.execute(
            'DROP VIEW tenant_logs; ALTER TABLE logs ALTER COLUMN message SET DATA TYPE text COLLATE "C"'
        )
        insert = (
            "INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes, origin_region, "
            "received_at, stored_by, late) VALUES (gen_random_uuid(), $1, 's', 'INFO', $2, 'c', '{}', 'region-a', $1, 'test', false)"
        )
        await connection.executemany(insert, [(datetime.now(UTC), message) for message in MESSAGES])
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("überlauf", {"ÜBERLAUF im Puffer"}),
        ("ÜberLauf IM", {"ÜBERLAUF im Puffer"}),
        ("привет", {"ПРИВЕТ"}),
        ("USER_ID", {"user_id=1"}),
        ("user", {"user_id=1", "userXid=1"}),
        ("c:\\TEMP", {"C:\\temp\\x"}),
        ("\\", {"C:\\temp\\x"}),
        ("%", {"100% of it"}),
        ("0% of", {"100% of it"}),
        ("can't", {"can't"}),
        ("οδος", {"ΟΔΟΣ"}),
        ("", set(MESSAGES)),
        ("nowhere", set()),
    ],
)
async def test_text_is_found_as_it_stands_in_any_case(log: asyncpg.Connection, text: str, found: set[str]) -> None:
    events = await log.fetch(search_statement(STATEMENTS["Events"], text=text))
    counted = await log.fetch(search_statement(STATEMENTS["Events found"], text=text))

    assert {row["message"] for row in events} == found
    assert sum(row["events"] for row in counted) == len(found)
