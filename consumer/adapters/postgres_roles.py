"""
Makes the roles of `consumer.roles` in a database, and moves a database of an earlier release over to them.

Needs a superuser, and does nothing without: then the roles are made by other means. Safe to run again, and while everything
works. An earlier release's consumer that logs in as `logs` stores nothing from then on: it waits, and loses nothing.
"""

import asyncio
import secrets

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import structlog

from consumer.adapters.postgres_task import LOCK_TIMEOUT_MS
from consumer.roles import ADMIN, MIGRATOR, OUTDATED, OWNER, PEOPLE, scram_verifier, statements

log: Final = structlog.stdlib.get_logger(__name__)

# In compose mode, the superuser of an earlier release was the user of people and services alike.
_FORMER_ADMIN: Final = PEOPLE.name
_MOVER: Final = "fleet_mover"
_LOCK: Final = 7_160_023_105
_ATTEMPTS: Final = 100
_PAUSE_S: Final = 0.5
# A consumer of before may make another day meanwhile.
_LOOKS: Final = 5

# All that belongs to the schema and to no extension, and not yet to its owner. A sequence of a column follows its table.
_STRAYS: Final = """
    SELECT format('ALTER %s %s OWNER TO %I', kind, name, $1::text) AS change
    FROM (
        SELECT c.oid, 'pg_class'::regclass AS of, relowner AS owner, c.oid::regclass::text AS name,
               CASE relkind WHEN 'v' THEN 'VIEW' WHEN 'm' THEN 'MATERIALIZED VIEW' WHEN 'S' THEN 'SEQUENCE' ELSE 'TABLE' END AS kind
        FROM pg_class AS c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p', 'v', 'm', 'S')
        UNION ALL
        SELECT oid, 'pg_proc'::regclass, proowner, oid::regprocedure::text, 'ROUTINE'
        FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    ) AS things
    WHERE owner <> to_regrole($1) AND NOT EXISTS (
        SELECT FROM pg_depend
        WHERE classid = things.of AND objid = things.oid AND (deptype = 'e' OR (kind = 'SEQUENCE' AND deptype IN ('i', 'a')))
    )
    -- Parents first, as everywhere: two that lock in the same order do not deadlock.
    ORDER BY kind, oid
"""
# Any session may take an advisory lock that a maker of partitions waits for, unless this right is taken away. To let go of one's own
# stays everyone's: pools of connections do that each time.
_ADVISORY: Final = """
    SELECT format('REVOKE EXECUTE ON FUNCTION %1$s FROM PUBLIC; GRANT EXECUTE ON FUNCTION %1$s TO %2$I, logs_consumer',
                  oid::regprocedure, $1::text)
    FROM pg_proc
    WHERE pronamespace = 'pg_catalog'::regnamespace AND proname ~ '^pg_(try_)?advisory_(xact_)?lock'
      AND has_function_privilege('public', oid, 'EXECUTE')
"""


async def connect_as_admin(dsn: str, timeout_s: float = 5) -> asyncpg.Connection:
    """
    Connect, and give the superuser of an earlier release the name that the DSN has for it.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused it.
    """
    try:
        return await asyncpg.connect(dsn, timeout=timeout_s)
    except asyncpg.InvalidAuthorizationSpecificationError:
        if urlsplit(dsn).username != ADMIN:
            raise
        await _rename_admin(dsn, timeout_s)
        return await asyncpg.connect(dsn, timeout=timeout_s)


async def _rename_admin(dsn: str, timeout_s: float) -> None:
    # PostgreSQL never makes its first superuser a lesser user, and renames no user who is logged in. So another superuser,
    # who lives as long as this takes, renames the first one.
    former = await asyncpg.connect(dsn, user=_FORMER_ADMIN, timeout=timeout_s)
    try:
        if not await former.fetchval("SELECT 1 FROM pg_roles WHERE rolname = $1", _MOVER):
            await former.execute(f"CREATE ROLE {_MOVER} SUPERUSER LOGIN")
        password = secrets.token_urlsafe()
        await former.execute(f"ALTER ROLE {_MOVER} PASSWORD '{scram_verifier(password)}'")
    finally:
        await former.close()
    mover = await asyncpg.connect(dsn, user=_MOVER, password=password, timeout=timeout_s)
    try:
        await mover.execute(f"ALTER ROLE {_FORMER_ADMIN} RENAME TO {ADMIN}")
    finally:
        await mover.close()
    log.info("the superuser has a name of its own now", before=_FORMER_ADMIN, now=ADMIN)


async def ensure_roles(connection: asyncpg.Connection, passwords: Mapping[str, str]) -> bool:
    """
    Make the roles, and let the tables belong to their owner.

    Args:
        connection: As a superuser; with any other one nothing is done. Nor with that of an earlier release, called `logs`: who logs in as
            it brings a fleet to this release part by part, and its consumers of before log in as it, too.
        passwords: By role. A role that has none here keeps its own.

    Returns:
        Whether it was done.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused it.
    """
    [(user, is_superuser)] = await connection.fetch(
        "SELECT rolname, rolsuper FROM pg_roles WHERE rolname = session_user"
    )
    if not is_superuser:
        return False
    if user == _FORMER_ADMIN:
        log.warning(
            "no roles are made, and all parts log in as the superuser", user=user, to_make_them=f"come as {ADMIN}"
        )
        return False
    await connection.execute("SET client_min_messages = warning")
    await connection.fetchval("SELECT pg_advisory_lock($1)", _LOCK)
    try:
        database = await connection.fetchval("SELECT current_database()")
        rows = await connection.fetch("SELECT rolname, rolpassword FROM pg_authid")
        kept = {row["rolname"]: row["rolpassword"] for row in rows}
        async with connection.transaction():
            for statement in statements(kept, passwords, database):
                await connection.execute(statement)
            for (change,) in await connection.fetch(_ADVISORY, OWNER):
                await connection.execute(change)
        await _hand_over(connection)
        await _forget(connection, kept)
    finally:
        await connection.execute("SELECT pg_advisory_unlock($1)", _LOCK)
    return True


async def connect_as_owner(admin: asyncpg.Connection, dsn: str, timeout_s: float = 5) -> asyncpg.Connection:
    """
    Connect as the role that changes tables, and act as their owner.

    A superuser who sets a role can take it back, and so can each function that it calls. Those of a database that was restored are
    what a file held.

    Args:
        admin: After `ensure_roles`.
        dsn: That of `admin`.
        timeout_s: How long to wait for PostgreSQL.

    Raises:
        asyncpg.PostgresError: PostgreSQL refused it.
    """
    if await admin.fetchval("SELECT inet_client_addr() IS NULL"):
        connection = await asyncpg.connect(dsn, user=MIGRATOR, timeout=timeout_s)
    else:
        # This role has no password, for it comes through the socket. Here it gets one for a moment.
        await admin.fetchval("SELECT pg_advisory_lock($1)", _LOCK)
        try:
            password = secrets.token_urlsafe()
            await admin.execute(f"ALTER ROLE {MIGRATOR} PASSWORD '{scram_verifier(password)}'")
            connection = await asyncpg.connect(dsn, user=MIGRATOR, password=password, timeout=timeout_s)
        finally:
            await admin.execute(f"ALTER ROLE {MIGRATOR} PASSWORD NULL")
            await admin.execute("SELECT pg_advisory_unlock($1)", _LOCK)
    await connection.execute(f"SET ROLE {OWNER}")
    return connection


async def _hand_over(connection: asyncpg.Connection) -> None:
    """Let everything belong to the owner, one thing at a time: who writes meanwhile must not wait for all of it."""
    await connection.execute(f"SET lock_timeout = {LOCK_TIMEOUT_MS}")
    for _ in range(_LOOKS):
        changes = [change for (change,) in await connection.fetch(_STRAYS, OWNER)]
        if not changes:
            break
        log.info("the tables of an earlier release are handed over to their owner", owner=OWNER, things=len(changes))
        for change in changes:
            await _change(connection, change)
    await connection.execute("RESET lock_timeout")


async def _change(connection: asyncpg.Connection, change: str) -> None:
    """Do it in a moment in which no session is in the way; all others would wait behind one that waits."""
    for left in reversed(range(_ATTEMPTS)):
        try:
            await connection.execute(change)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            if not left:
                raise
            await asyncio.sleep(_PAUSE_S)
        except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError):
            return  # dropped meanwhile
        else:
            return


async def _forget(connection: asyncpg.Connection, kept: Mapping[str, str | None]) -> None:
    """Remove what an earlier release, or a half-done move, has left."""
    for name in (OUTDATED, _MOVER):
        if name in kept:
            await connection.execute(f"DROP OWNED BY {name}")
            await connection.execute(f"DROP ROLE {name}")
    # The superuser comes in through the socket alone. One that came with a password would lock itself out.
    if kept.get(ADMIN) and await connection.fetchval("SELECT inet_client_addr() IS NULL"):
        await connection.execute(f"ALTER ROLE {ADMIN} PASSWORD NULL")
