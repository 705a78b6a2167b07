"""
Applies migrations to a database that is at work.

No statement of one waits for a lock longer than `LOCK_TIMEOUT_MS`, since all others would wait behind it; the step is tried
again. Two of these at once take turns. While one is at work, no session makes days.
"""

import asyncio

from collections.abc import Sequence
from importlib.resources import files
from typing import Final

import asyncpg
import structlog

from consumer.adapters.postgres_task import LOCK_TIMEOUT_MS
from consumer.migration import Migration, MigrationError, in_order, missing, parse

log: Final = structlog.stdlib.get_logger(__name__)
_PAUSE_S: Final = 0.5
# Releases before the numbered migrations took the same one.
_LOCK: Final = 7_160_023_104
_HISTORY: Final = """
    CREATE TABLE IF NOT EXISTS schema_migrations (
        number     integer     PRIMARY KEY,
        name       text        NOT NULL,
        checksum   text        NOT NULL,
        applied_at timestamptz NOT NULL DEFAULT clock_timestamp()
    );
    COMMENT ON TABLE schema_migrations IS 'What was done to this schema; python -m consumer.schema does the rest.';
"""
_BEFORE: Final = f"""
    SET LOCAL lock_timeout = {LOCK_TIMEOUT_MS};
    SET LOCAL statement_timeout = 0;
    SET LOCAL client_min_messages = error;
    SET LOCAL timezone = 'UTC';
"""
_IN_THE_WAY: Final = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError, asyncpg.InternalServerError)
# The sessions that could be in the way, the longest first.
_OTHERS: Final = """
    SELECT format('pid %s (%s, %s) since %s', a.pid, a.usename, nullif(a.application_name, ''), a.xact_start) AS who
    FROM pg_stat_activity AS a
    WHERE a.pid <> pg_backend_pid() AND EXISTS (
        SELECT FROM pg_locks AS l JOIN pg_class AS c ON c.oid = l.relation
        WHERE l.pid = a.pid AND l.granted AND c.relname LIKE 'logs%' AND a.xact_start < now() - interval '1 second'
    )
    ORDER BY a.xact_start LIMIT 3
"""


def released() -> Sequence[Migration]:
    """Return the migrations of this release, in order."""
    folder = files("consumer").joinpath("migrations")
    return in_order(parse(file.name, file.read_text()) for file in folder.iterdir() if file.name.endswith(".sql"))


async def migrate(
    connection: asyncpg.Connection, migrations: Sequence[Migration], *, rights: str = "", wait_s: float
) -> None:
    """
    Apply what is missing.

    Args:
        connection: As the owner of the tables.
        migrations: All there are, in order.
        rights: Statements that say who may do what, executed by each run.
        wait_s: How long to try, whatever is in the way.

    Raises:
        MigrationError: It could not be done; the database is as before the migration that is named.
        asyncpg.PostgresError: PostgreSQL refused it, for want of rights for example.
    """
    runner = Runner(connection, wait_s)
    await runner.alone()
    try:
        await runner.run([_HISTORY], None, "table schema_migrations")
        applied = {row["number"]: row["checksum"] for row in await connection.fetch("SELECT * FROM schema_migrations")}
        needed = missing(migrations, applied)
        if applied.keys() - {migration.number for migration in migrations}:
            log.info("the database is ahead of this release, and is left alone", newest=max(applied))
            return
        again = [step for each in migrations if each.each_run and each not in needed for step in each.steps]
        if not needed:
            # At once: a function that is put in its place anew has no rights until they are given to it.
            await runner.run(["\n".join([*again, rights])] if again or rights else [], None, "what each run does")
        else:
            await runner.run(again, None, "what each run does")
            await runner.lock("hashtext($1)", "log partitions", "another session makes partitions")
            for migration in needed:
                await runner.apply(migration)
                log.info("migration applied", name=migration.name)
            await runner.run([rights] if rights else [], None, "who may do what")
    finally:
        await runner.unlock()


class Runner:
    """
    Runs statements that change the schema, each step again until no other session is in the way.

    Args:
        connection: As the owner of the tables.
        wait_s: How long to try.
    """

    def __init__(self, connection: asyncpg.Connection, wait_s: float) -> None:
        self.connection = connection
        self._deadline = asyncio.get_running_loop().time() + wait_s
        self._locks: list[tuple[str, int | str]] = []

    async def alone(self) -> None:
        """Keep all others away that change the schema, until `unlock`."""
        await self.lock("$1", _LOCK, "another session changes the schema")

    def _is_late(self) -> bool:
        return asyncio.get_running_loop().time() > self._deadline

    async def lock(self, key: str, value: int | str, in_the_way: str) -> None:
        """Keep others away from `key`, SQL for a number, until `unlock`."""
        while not await self.connection.fetchval(f"SELECT pg_try_advisory_lock({key})", value):
            if self._is_late():
                raise MigrationError(f"{in_the_way}; when it has ended, start this again")
            await asyncio.sleep(_PAUSE_S)
        self._locks.append((key, value))

    async def unlock(self) -> None:
        """Let others in again."""
        while self._locks and not self.connection.is_closed():
            key, value = self._locks.pop()
            await self.connection.execute(f"SELECT pg_advisory_unlock({key})", value)

    async def apply(self, migration: Migration) -> None:
        """Take the steps of a migration, or undo them."""
        try:
            await self.run(migration.steps, migration, migration.name)
        except BaseException:
            if migration.otherwise is not None and not self.connection.is_closed():
                await self._undo(migration.otherwise)
            raise

    async def run(self, steps: Sequence[str], record: Migration | None, name: str) -> None:
        """
        Take steps, each in a transaction.

        Raises:
            MigrationError: A table was in use for all of the time.
        """
        for number, step in enumerate(steps, 1):
            done = record if number == len(steps) else None
            while True:
                try:
                    await self._step(step, done)
                except _IN_THE_WAY as exc:
                    if not _comes_and_goes(exc):
                        raise
                    if self._is_late():
                        others = [row["who"] for row in await self.connection.fetch(_OTHERS)]
                        who = "; ".join(others) or "sessions that came and went"
                        raise MigrationError(
                            f"{name} could not be applied, and nothing was changed: a table is in use by {who}. "
                            "End it (pg_terminate_backend) or let it end, and start this again"
                        ) from exc
                    await asyncio.sleep(_PAUSE_S)
                else:
                    break

    async def _step(self, statements: str, done: Migration | None) -> None:
        async with self.connection.transaction():
            await self.connection.execute(_BEFORE)
            await self.connection.execute(statements)
            if done is not None:
                await self.connection.execute(
                    "INSERT INTO schema_migrations (number, name, checksum) VALUES ($1, $2, $3)",
                    done.number,
                    done.name,
                    done.checksum,
                )

    async def _undo(self, statements: str) -> None:
        """Undo what was done, however long it takes: rows wait meanwhile."""
        while True:
            try:
                await self._step(statements, None)
            except _IN_THE_WAY as exc:
                if not _comes_and_goes(exc):
                    raise
                await asyncio.sleep(_PAUSE_S)
            else:
                return


def _comes_and_goes(exc: asyncpg.PostgresError) -> bool:
    """Tell whether another session is to blame; two that change the rights of one table get an internal error."""
    return not isinstance(exc, asyncpg.InternalServerError) or "tuple concurrently" in str(exc)
