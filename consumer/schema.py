"""
`python -m consumer.schema`: bring the database to this release's roles and schema, then end.

Safe to run again, from several places at once, and while consumers of this and of earlier releases are at work. Waits for
PostgreSQL to come up, so that it can be started together with it. As a superuser it makes the roles of `consumer.roles`
first, and changes the tables as their owner. As any other user it changes the tables alone.
"""

import asyncio

from importlib.resources import files
from typing import Annotated, Any, Final

import asyncpg
import structlog

from pydantic import AfterValidator, Field, PositiveInt
from pydantic_settings import SettingsConfigDict

from consumer.adapters.postgres_days import DayMaker
from consumer.adapters.postgres_indexes import finish_indexes
from consumer.adapters.postgres_migrations import migrate, released
from consumer.adapters.postgres_roles import connect_as_admin, connect_as_owner, ensure_roles
from consumer.adapters.postgres_task import LOCK_TIMEOUT_MS
from consumer.migration import MigrationError
from consumer.roles import PEOPLE, SERVICES
from shared.process import logs
from shared.process.settings import ServiceSettings, run_main, secret, split_pairs

log: Final = structlog.stdlib.get_logger(__name__)
RETRY_PAUSE_S: Final = 0.5
WAIT_S: Final = 120


def _passwords(value: str) -> str:
    for role, password in split_pairs(value, names="role", values="PASSWORD").items():
        if role not in SERVICES:
            raise ValueError(f"there is no role {role}; there are {', '.join(SERVICES)}")
        if not password.isascii():
            raise ValueError(f"the password of {role} is not ASCII")
    return value


def _ascii(value: str) -> str:
    if not value.isascii():
        raise ValueError("the password is not ASCII")
    return value


class SchemaSettings(ServiceSettings):
    """What it takes to make roles and tables."""

    model_config = SettingsConfigDict(env_prefix="CONSUMER_", frozen=True)

    postgres_dsn: str = secret(
        "postgresql://logs:logs@127.0.0.1:5432/logs",
        description="PostgreSQL, as a URL. Roles are made if its user is a superuser, and not `logs`.",
    )
    people_password: Annotated[str, AfterValidator(_ascii)] = secret(
        "", alias="POSTGRES_PASSWORD", description="Of user `logs`, who may read; as it is when empty."
    )
    role_passwords: Annotated[str, AfterValidator(_passwords)] = secret(
        "", description="`ROLE=PASSWORD,ROLE=PASSWORD` of the services' roles; one that is not named keeps its own."
    )
    schema_wait_s: PositiveInt = Field(
        default=WAIT_S,
        description="How long to wait for PostgreSQL, and then for tables that a query has locked, before giving up.",
    )

    @property
    def passwords(self) -> dict[str, str]:
        """All passwords that are to be set, by role."""
        given: dict[str, Any] = split_pairs(self.role_passwords)
        return {**given, PEOPLE.name: self.people_password}


async def ensure_schema(connection: asyncpg.Connection, *, wait_s: float = WAIT_S) -> None:
    """
    Apply the migrations that are missing, say who may do what, finish indexes, and make the days around today.

    Args:
        connection: As the owner of the tables.
        wait_s: How long to try where a table is in use.

    Raises:
        MigrationError: A migration could not be applied; the message says what is in its way.
        asyncpg.PostgresError: PostgreSQL refused it, for want of rights for example.
    """
    await migrate(connection, released(), rights=_grants(), wait_s=wait_s)
    await finish_indexes(connection, wait_s=wait_s)
    # So that the first rows find their day. Present readers are not waited for: consumers look after days, too.
    await connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
    missing = await DayMaker(days_back=1, days_ahead=2, attempts=1).make_missing(connection)
    for day, why in missing.items():
        log.warning("no partition yet, consumers will try again", day=str(day), error=why)
    await connection.execute("RESET lock_timeout")


def _grants() -> str:
    return files("consumer").joinpath("grants.sql").read_text()


async def _run(settings: SchemaSettings) -> None:
    async with asyncio.timeout(settings.schema_wait_s):
        while True:
            try:
                connection = await connect_as_admin(settings.postgres_dsn)
            except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError) as exc:
                log.info("waiting for postgres", error=str(exc))
                await asyncio.sleep(RETRY_PAUSE_S)
            else:
                break
    try:
        has_roles = await ensure_roles(connection, settings.passwords)
        if has_roles:
            owner = await connect_as_owner(connection, settings.postgres_dsn)
            await connection.close()
            connection = owner
        await ensure_schema(connection, wait_s=settings.schema_wait_s)
        log.info("schema is there", roles=has_roles)
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
