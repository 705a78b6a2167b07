"""
`python -m consumer.schema`: make the tables exist, then end. Safe to run again, and from several places at once.

Waits for PostgreSQL to come up, so that it can be started together with it.
"""

import asyncio

from importlib.resources import files
from typing import Final

import asyncpg
import structlog

from pydantic import Field, PositiveInt
from pydantic_settings import SettingsConfigDict

from shared import logs
from shared.settings import ServiceSettings, run_main

log: Final = structlog.stdlib.get_logger(__name__)
RETRY_PAUSE_S: Final = 0.5
_LOCK: Final = 7_160_023_104


class SchemaSettings(ServiceSettings):
    """From the same variable as the consumer's."""

    model_config = SettingsConfigDict(env_prefix="CONSUMER_", frozen=True)

    postgres_dsn: str = Field(default="postgresql://logs:logs@127.0.0.1:5432/logs", description="PostgreSQL, as a URL.")
    schema_wait_s: PositiveInt = Field(default=120, description="How long to wait for PostgreSQL before giving up.")


async def ensure_schema(connection: asyncpg.Connection) -> None:
    """
    Create what is missing.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused it, for want of rights for example.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock($1)", _LOCK)
        # IF NOT EXISTS says NOTICE a dozen times.
        await connection.execute("SET LOCAL client_min_messages = warning")
        await connection.execute(files("consumer").joinpath("schema.sql").read_text())


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
        await ensure_schema(connection)
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
    except (TimeoutError, asyncpg.PostgresError) as exc:
        log.critical("no schema", error=f"{type(exc).__name__}: {exc}")
        return 1
    return 0


if __name__ == "__main__":
    run_main(main)
