"""
`python -m consumer.schema`: bring the database to this release's schema, then end.

Safe to run again, from several places at once, and while consumers of this and of earlier releases are at work. Waits for
PostgreSQL to come up, so that it can be started together with it.
"""

import asyncio

from typing import Final
from urllib.parse import unquote, urlsplit

import asyncpg
import structlog

from pydantic import Field, PositiveInt
from pydantic_settings import SettingsConfigDict

from consumer.adapters.postgres_days import DayMaker
from consumer.adapters.postgres_migrations import migrate, released
from consumer.adapters.postgres_task import LOCK_TIMEOUT_MS
from consumer.migration import MigrationError
from shared.process import logs
from shared.process.settings import ServiceSettings, run_main

log: Final = structlog.stdlib.get_logger(__name__)
RETRY_PAUSE_S: Final = 0.5
READER: Final = "logs_reader"
WAIT_S: Final = 120
_LOCK: Final = 7_160_023_104


class SchemaSettings(ServiceSettings):
    """From the same variable as the consumer's."""

    model_config = SettingsConfigDict(env_prefix="CONSUMER_", frozen=True)

    postgres_dsn: str = Field(default="postgresql://logs:logs@127.0.0.1:5432/logs", description="PostgreSQL, as a URL.")
    schema_wait_s: PositiveInt = Field(
        default=WAIT_S,
        description="How long to wait for PostgreSQL, and then for tables that a query has locked, before giving up.",
    )


async def ensure_schema(connection: asyncpg.Connection, *, wait_s: float = WAIT_S) -> None:
    """
    Apply the migrations that are missing, and make the days around today.

    Args:
        connection: As the owner of the tables.
        wait_s: How long to try where a table is in use.

    Raises:
        MigrationError: A migration could not be applied; the message says what is in its way.
        asyncpg.PostgresError: PostgreSQL refused it, for want of rights for example.
    """
    await migrate(connection, released(), wait_s=wait_s)
    # So that the first rows find their day. Present readers are not waited for: consumers look after days, too.
    await connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
    missing = await DayMaker(days_back=1, days_ahead=2, attempts=1).make_missing(connection)
    for day, why in missing.items():
        log.warning("no partition yet, consumers will try again", day=str(day), error=why)
    await connection.execute("RESET lock_timeout")


async def ensure_reader(connection: asyncpg.Connection, password: str) -> None:
    """
    Let `logs_reader` read everything and write nothing; dashboards and exporters log in with this role.

    Without the right to make roles nothing is done. Then the role is made elsewhere, as native mode does.

    Args:
        connection: As the owner of the tables.
        password: For the reader.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused it.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        if not await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"):
            return
        if not await connection.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", READER):
            await connection.execute(f"CREATE ROLE {READER} LOGIN")
        # Statements about roles take no parameters.
        change = "SELECT format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)"
        await connection.execute(await connection.fetchval(change, READER, password))
        await connection.execute(f"ALTER ROLE {READER} SET default_transaction_read_only = on")
        # A search without bounds ends before writers feel it.
        await connection.execute(f"ALTER ROLE {READER} SET statement_timeout = '30s'")
        await connection.execute(f"GRANT pg_read_all_data, pg_monitor TO {READER}")


async def _run(settings: SchemaSettings) -> None:
    async with asyncio.timeout(settings.schema_wait_s):
        while True:
            try:
                connection = await asyncpg.connect(settings.postgres_dsn, timeout=5)
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError) as exc:
                log.info("waiting for postgres", error=str(exc))
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                break
    try:
        await ensure_schema(connection, wait_s=settings.schema_wait_s)
        await ensure_reader(connection, unquote(urlsplit(settings.postgres_dsn).password or ""))
        log.info("schema is there")
    finally:
        await connection.close()


def main() -> int:
    """
    Run once.

    Returns:
        Exit status: 1 when there is no schema in the end.
    """
    settings = SchemaSettings.read()
    logs.configure("schema", level=settings.log_level)
    try:
        asyncio.run(_run(settings))
    except MigrationError as exc:
        log.critical("no schema", error=str(exc))
        return 1
    except (TimeoutError, asyncpg.PostgresError) as exc:
        log.critical("no schema", error=f"{type(exc).__name__}: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    run_main(main)
