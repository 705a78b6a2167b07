"""PostgreSQL's roles on a real server: who may do what, and how a database of an earlier release is moved over."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest

from earlier import unpacked
from surroundings import PASSWORDS, as_role, make_tables

from consumer.adapters.postgres_days import DayMaker
from consumer.adapters.postgres_migrations import migrate, released
from consumer.adapters.postgres_roles import connect_as_admin, connect_as_owner, ensure_roles
from consumer.migration import MigrationError, in_order, parse
from consumer.roles import LOGINS, OWNER
from consumer.schema import ensure_schema
from testbed.patience import patience
from testbed.server import Server

pytestmark = pytest.mark.services
LOCKS: Final = ("pg_advisory_lock(1)", "pg_try_advisory_lock(1)", "pg_advisory_xact_lock_shared(1, 2)")
INSERT: Final = (
    "INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes, origin_region, "
    "received_at, stored_by, late) VALUES (gen_random_uuid(), now(), 's', 'INFO', 'm', 'c', '{}', 'region-a', now(), 'x', false)"
)
REFUSED: Final[dict[str, Sequence[str]]] = {
    "logs": (
        *(
            "DELETE FROM logs",
            "UPDATE logs SET message = ''",
            "TRUNCATE logs",
            "DROP TABLE logs",
            "CREATE TABLE mine ()",
        ),
        *("CREATE TEMP TABLE mine ()", "LOCK TABLE logs_default", "SELECT nextval('consumer_generation')", INSERT),
        *("SELECT ensure_log_partition('2020-01-01')", "SELECT make_log_partition('2020-01-01')"),
        *("SELECT empty_log_day('2020-01-01')", "SELECT remove_log_day('2020-01-01')"),
        *("SET temp_file_limit = -1", "SET ROLE logs_owner"),
        *("COPY (SELECT 1) TO PROGRAM 'true'", "SELECT pg_read_file('postgresql.conf')"),
    ),
    "logs_consumer": (
        *(
            "DELETE FROM logs",
            "UPDATE logs SET message = ''",
            "TRUNCATE logs",
            "DROP TABLE logs",
            "CREATE TABLE mine ()",
        ),
        *(
            "ALTER TABLE logs ADD COLUMN mine int",
            "LOCK TABLE logs IN SHARE MODE",
            "TRUNCATE logs_default",
            "DELETE FROM logs_default_future",
            "SELECT FROM schema_migrations",
            "DELETE FROM schema_migrations",
            "SELECT gate_log_default('logs', '2020-01-01', '2020-01-02', 'true')",
            "SELECT open_log_gate('logs', '2020-01-01', '2020-01-02')",
            "SELECT move_from_log_default('2020-01-01')",
            "SELECT log_day_that_may_go('2020-01-01')",
            "DELETE FROM consumer_offsets",
            "INSERT INTO store_identity DEFAULT VALUES",
            "TRUNCATE writers",
            "SELECT FROM log_writers",
            "SELECT FROM tenant_dropped_days",
            "INSERT INTO dropped_days VALUES (0, 1, 1, '2020-01-01', 1, 1)",
            "SELECT nextval('logs_seq_seq')",
        ),
        *(
            "COPY logs FROM PROGRAM 'true'",
            "SET ROLE logs_owner",
            "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        ),
    ),
    "grafana_reader": (
        *(
            "SELECT FROM consumer_offsets",
            "SELECT FROM store_identity",
            "SELECT FROM log_writers",
            "SELECT FROM dropped_days",
            "SELECT FROM tenant_dropped_days",
            "SELECT FROM logs_default",
            "DELETE FROM logs",
            INSERT,
        ),
        *(
            "LOCK TABLE logs",
            "CREATE TEMP TABLE mine ()",
            "SET temp_file_limit = -1",
            "SELECT rolpassword FROM pg_authid",
        ),
    ),
    "logs_api": (
        *(
            "SELECT FROM consumer_offsets",
            "SELECT FROM writers",
            "SELECT FROM logs_seq_seq",
            "SELECT FROM dropped_days",
        ),
        *("DELETE FROM logs", INSERT, "CREATE TEMP TABLE mine ()"),
    ),
    "exporter": ("SELECT FROM logs", "SELECT FROM consumer_offsets", INSERT, "CREATE TEMP TABLE mine ()"),
}


@asynccontextmanager
async def connected(dsn: str, role: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(as_role(role, dsn))
    try:
        # A default, which a session may change.
        await connection.execute("SET default_transaction_read_only = off; SET statement_timeout = 0")
        yield connection
    finally:
        await connection.close()


@pytest.mark.parametrize("role", REFUSED)
async def test_a_role_may_do_no_more_than_it_must(role: str, postgres: str) -> None:
    await make_tables(postgres)

    async with connected(postgres, role) as connection:
        for statement in REFUSED[role]:
            # LOCK TABLE wants a transaction.
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute(statement)
        if role != "logs_consumer":
            await connection.execute("SELECT pg_advisory_unlock_all()")  # as pools do
            for lock in LOCKS:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(f"SELECT {lock}")


async def test_nobody_is_a_superuser_and_all_belongs_to_a_role_that_cannot_log_in(postgres: str) -> None:
    await make_tables(postgres)
    admin = await asyncpg.connect(postgres)
    roles = await admin.fetch(
        "SELECT rolname FROM pg_roles WHERE (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls) "
        "AND rolname <> current_user AND rolname !~ '^pg_'"
    )
    owners = await admin.fetch(
        "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'public'::regnamespace"
    )
    can_log_in = await admin.fetchval("SELECT rolcanlogin FROM pg_roles WHERE rolname = $1", OWNER)
    await admin.close()

    assert roles == []
    assert [owner for (owner,) in owners] == [OWNER]
    assert can_log_in is False


async def test_readers_see_the_events_and_people_all_tables(postgres: str) -> None:
    await make_tables(postgres)
    async with connected(postgres, "logs_consumer") as consumer:
        await consumer.execute(INSERT)
        await consumer.execute("SELECT ensure_log_partition('2020-01-01')")

    for role in ("logs", "grafana_reader"):
        async with connected(postgres, role) as connection:
            assert await connection.fetchval("SELECT count(*) FROM logs") == 1
    async with connected(postgres, "logs_api") as connection:
        async with connection.transaction():
            await connection.execute("SET LOCAL app.tenant = '0'")
            assert await connection.fetchval("SELECT count(*) FROM tenant_logs") == 1
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetchval("SELECT count(*) FROM logs")
    for role in ("logs", "grafana_reader", "logs_api", "exporter"):
        async with connected(postgres, role) as connection:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetchval("SELECT secret FROM tenant_secret")
    async with connected(postgres, "logs") as connection:
        assert await connection.fetchval("SELECT count(*) FROM logs_20200101") == 0
        assert await connection.fetchval("SELECT count(*) FROM consumer_offsets") == 0
    async with connected(postgres, "exporter") as connection:
        size = "SELECT sum(pg_total_relation_size(relid)) FROM pg_partition_tree(to_regclass('logs_default'))"
        assert await connection.fetchval(size) > 0
        assert await connection.fetchval("SELECT count(*) FROM pg_stat_activity WHERE query IS NOT NULL") > 0


async def test_a_reader_has_no_more_connections_than_are_his(postgres: str) -> None:
    await make_tables(postgres)
    limit = next(login.connections for login in LOGINS if login.name == "grafana_reader")
    held = [await asyncpg.connect(as_role("grafana_reader", postgres)) for _ in range(limit)]
    try:
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await asyncpg.connect(as_role("grafana_reader", postgres))
    finally:
        for connection in held:
            await connection.close()


async def test_a_sort_ends_before_the_disk_is_full(postgres: str) -> None:
    await make_tables(postgres)
    async with connected(postgres, "grafana_reader") as connection:
        with pytest.raises(asyncpg.ConfigurationLimitExceededError):
            await connection.fetchval(
                "SELECT count(*) FROM (SELECT n, repeat('x', 1000) FROM generate_series(1, 400000) AS n ORDER BY 2, 1 OFFSET 0) AS s"
            )


async def test_a_session_puts_no_table_of_its_own_in_the_place_of_ours(postgres: str) -> None:
    await make_tables(postgres)
    async with connected(postgres, "logs_consumer") as connection:
        await connection.execute("CREATE TEMP TABLE logs_default (event_time timestamptz)")
        await connection.execute("INSERT INTO pg_temp.logs_default VALUES ('2020-01-01 12:00:00+00')")
        await connection.execute("SELECT ensure_log_partition('2020-01-01')")
        assert await connection.fetchval("SELECT count(*) FROM pg_temp.logs_default") == 1


TODAY: Final = "(now() AT TIME ZONE 'UTC')::date"
YOUNG: Final = {
    "today": TODAY,
    "yesterday": f"{TODAY} - 1",
    "tomorrow": f"{TODAY} + 1",
    # PostgreSQL writes that day of the same name, and puts BC behind it.
    "long ago, of the same name": f"(({TODAY})::text || ' BC')::date",
    "no day": "NULL",
    "the end of time": "'infinity'",
    "the beginning of time": "'-infinity'",
}
DROPS: Final = ("take_log_day", "hold_log_day", "empty_log_day", "remove_log_day")


@pytest.mark.parametrize("day", YOUNG)
async def test_a_consumer_that_was_taken_over_cannot_drop_a_young_day(day: str, postgres: str) -> None:
    await make_tables(postgres)
    async with connected(postgres, "logs_consumer") as consumer:
        await consumer.execute(INSERT)
        # What it may set, and what it may put before the tables: none of it is looked at.
        await consumer.execute("SET timezone = 'EST-14'; SET datestyle = 'SQL, DMY'; SET search_path = pg_temp, public")
        await consumer.execute("CREATE TEMP TABLE pg_inherits (inhrelid oid, inhparent oid)")
        for function in DROPS:
            with pytest.raises((asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError)) as refused:
                await consumer.execute(f"SELECT {function}({YOUNG[day]})")
            assert any(said in str(refused.value) for said in ("is too young to be dropped", "has no partition"))
        await consumer.execute("SET search_path = public")
        assert await consumer.fetchval("SELECT count(*) FROM logs") == 1


async def test_a_table_with_the_name_of_an_old_day_and_the_rows_of_a_young_one_stays(postgres: str) -> None:
    await make_tables(postgres)
    admin = await asyncpg.connect(postgres)
    young = (datetime.now(UTC) + timedelta(days=5)).date()
    await admin.execute(
        f"CREATE TABLE logs_20200101 PARTITION OF logs FOR VALUES FROM ('{young}+00') TO ('{young + timedelta(days=1)}+00')"
    )
    await admin.close()
    async with connected(postgres, "logs_consumer") as consumer:
        for function in DROPS:
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="logs_20200101 is too young to be dropped"):
                await consumer.execute(f"SELECT {function}('2020-01-01')")


async def test_a_table_that_is_no_part_of_the_log_is_not_dropped(postgres: str) -> None:
    await make_tables(postgres)
    admin = await asyncpg.connect(postgres)
    await admin.execute("CREATE TABLE logs_20200101 (LIKE logs)")
    await admin.close()
    async with connected(postgres, "logs_consumer") as consumer:
        for function in DROPS:
            with pytest.raises(asyncpg.RaiseError, match="logs_20200101 is a table of its own"):
                await consumer.execute(f"SELECT {function}('2020-01-01')")


async def test_what_runs_with_the_rights_of_the_owner_takes_days_alone(postgres: str) -> None:
    await make_tables(postgres)
    admin = await asyncpg.connect(postgres)
    functions = await admin.fetch(
        "SELECT proname, oidvectortypes(proargtypes) AS arguments, proconfig FROM pg_proc "
        "WHERE pronamespace = 'public'::regnamespace AND prosecdef"
    )
    open_to_all = await admin.fetch(
        "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace AND provolatile = 'v' "
        "AND has_function_privilege('public', oid, 'EXECUTE')"
    )
    await admin.close()

    ours = [
        row for row in functions if row["proname"] != "stored_event_id"
    ]  # it takes a number and an id, and changes nothing
    assert {row["arguments"] for row in ours} <= {"date", "date, date"}
    assert all("search_path=public, pg_temp" in row["proconfig"] for row in functions)
    assert {*DROPS, "make_log_partition", "attach_log_default_part"} <= {row["proname"] for row in functions}
    assert [row["proname"] for row in open_to_all] == ["has_log_partition"], "it looks, and changes nothing"


async def test_who_reads_for_long_is_named_to_the_owner_of_the_tables_too(own_postgres: Server) -> None:
    dsn = await a_cluster_of_native_mode(own_postgres.address)
    admin = await connect_as_admin(dsn)
    await ensure_roles(admin, PASSWORDS)
    connection = await connect_as_owner(admin, dsn)
    blocked = in_order([parse("0001_a.sql", "CREATE TABLE logs ();"), parse("0002_b.sql", "LOCK TABLE logs;")])
    await migrate(connection, blocked[:1], wait_s=patience(60))
    reader = await asyncpg.connect(dsn)
    async with reader.transaction():
        await reader.execute("LOCK TABLE logs IN ACCESS SHARE MODE")
        await reader.execute("SELECT pg_sleep(1.1)")
        with pytest.raises(MigrationError, match=f"pid {reader.get_server_pid()}"):
            await migrate(connection, blocked, wait_s=0)
    await reader.close()
    await connection.close()
    await admin.close()


async def test_what_a_backup_brings_with_it_does_not_become_a_superuser(postgres: str) -> None:
    await make_tables(postgres)
    admin = await asyncpg.connect(postgres)
    superuser = await admin.fetchval("SELECT session_user")
    # As a file that was made for it, which `logs_migrator` restored; the one-shot calls this function for a day that is missing.
    await admin.execute(
        f"SET ROLE {OWNER}; CREATE OR REPLACE FUNCTION has_log_partition(day date) RETURNS boolean LANGUAGE plpgsql AS $$ "
        f"BEGIN SET ROLE {superuser}; CREATE ROLE taken_over; RETURN true; END $$; RESET ROLE"
    )
    await admin.execute(f"DROP TABLE logs_{datetime.now(UTC) + timedelta(days=1):%Y%m%d}")
    await make_tables(postgres)
    taken_over = await admin.fetchval("SELECT count(*) FROM pg_roles WHERE rolname = 'taken_over'")
    await admin.execute("DROP ROLE IF EXISTS taken_over")
    await admin.close()
    assert taken_over == 0


async def test_the_role_that_changes_tables_has_no_password_afterwards(postgres: str) -> None:
    await make_tables(postgres)
    admin = await asyncpg.connect(postgres)
    password = await admin.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'logs_migrator'")
    await admin.close()
    assert password is None


# ---------------------------------------------------------------- an earlier release


def of_the_fleet(dsn: str) -> str:
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(netloc=f"postgres:test@{parts.netloc.rpartition('@')[2]}", path="/logs"))


async def run(dsn: str, user: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn, user=user, password="test")
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


async def a_cluster_of_compose(dsn: str) -> str:
    """Make the cluster what the image made of `POSTGRES_USER: logs`: the user who was there first is called logs."""
    first = urlsplit(dsn).username or ""
    await run(dsn, first, "CREATE ROLE helper SUPERUSER LOGIN PASSWORD 'test'")
    await run(dsn, "helper", f"ALTER ROLE {first} RENAME TO logs")
    await run(dsn, "logs", "DROP ROLE helper", "CREATE DATABASE logs")
    return of_the_fleet(dsn)


async def a_cluster_of_native_mode(dsn: str) -> str:
    """Make the cluster what setup.sh made: an ordinary user logs, who owns the database and all that is in it."""
    first = urlsplit(dsn).username or ""
    await run(dsn, first, "CREATE ROLE postgres SUPERUSER LOGIN PASSWORD 'test'")
    await run(dsn, "postgres", "CREATE ROLE logs LOGIN PASSWORD 'test'", "CREATE DATABASE logs OWNER logs")
    return of_the_fleet(dsn)


@pytest.mark.parametrize("made", [a_cluster_of_compose, a_cluster_of_native_mode], ids=["compose", "native"])
@pytest.mark.parametrize("cut_off", [False, True], ids=["at once", "cut off before"])
async def test_a_database_of_an_earlier_release_is_moved_over_with_its_rows(
    made: Callable[[str], Awaitable[str]], *, cut_off: bool, own_postgres: Server, tmp_path: Path
) -> None:
    dsn = await made(own_postgres.address)
    old = await asyncpg.connect(dsn, user="logs", password="test")
    # As after a restore.
    await old.execute("DROP SCHEMA public; CREATE SCHEMA public")
    await old.execute((unpacked("b569f61", tmp_path) / "consumer/schema.sql").read_text())
    await old.execute("SELECT ensure_log_partition(current_date)")
    await old.execute("SELECT ensure_log_partition('2020-01-01')")
    await old.execute(INSERT.replace("now(), 's'", "'1999-01-01', 's'"))
    await old.execute(INSERT)
    await run(
        dsn,
        "postgres" if made is a_cluster_of_native_mode else "logs",
        *("CREATE ROLE logs_reader LOGIN", "GRANT pg_read_all_data, pg_monitor TO logs_reader"),
        "ALTER ROLE logs_reader SET default_transaction_read_only = on",
        *(["CREATE ROLE fleet_mover SUPERUSER LOGIN"] if cut_off else []),
    )

    # With a session of before still there, and twice.
    for _ in range(2):
        admin = await connect_as_admin(dsn)
        assert await ensure_roles(admin, PASSWORDS)
        connection = await connect_as_owner(admin, dsn)
        await ensure_schema(connection)
        await connection.close()
        roles = {
            row["rolname"]: row["rolsuper"]
            for row in await admin.fetch("SELECT * FROM pg_roles WHERE rolname !~ '^pg_'")
        }
        owners = await admin.fetch(
            "SELECT DISTINCT owner::text FROM (SELECT relowner::regrole FROM pg_class WHERE relnamespace = 'public'::regnamespace "
            "UNION SELECT proowner::regrole FROM pg_proc WHERE pronamespace = 'public'::regnamespace "
            "UNION SELECT datdba::regrole FROM pg_database WHERE datname = 'logs') AS o (owner)"
        )
        await admin.close()
        assert [owner for (owner,) in owners] == [OWNER]
        assert "logs_reader" not in roles
        assert "fleet_mover" not in roles
        assert {role for role, is_super in roles.items() if is_super} <= {
            "postgres",
            urlsplit(own_postgres.address).username,
        }
    await old.close()

    async with connected(dsn, "logs") as people:
        assert await people.fetchval("SELECT count(*) FROM logs") == 2
        assert await people.fetchval("SELECT count(*) FROM logs_default_past") == 1
        assert await people.fetchval("SELECT count(*) FROM schema_migrations") == len(released())
        refused = (
            "DELETE FROM logs",
            "DROP TABLE logs",
            "CREATE ROLE mine",
            "CREATE TABLE mine ()",
            "DROP SCHEMA public CASCADE",
        )
        for statement in refused:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await people.execute(statement)
    async with connected(dsn, "logs_consumer") as consumer:
        await consumer.execute(INSERT)
        # What it had was made by the user logs, and what it makes is its owner's.
        assert await DayMaker(31, 5, small_bytes=0, attempts=1).make_missing(consumer) == {}
        await consumer.execute("SELECT empty_log_day('2020-01-01')")
        assert await consumer.fetchval("SELECT remove_log_day('2020-01-01')")


async def test_who_logs_in_as_the_superuser_of_before_changes_the_tables_and_no_role(own_postgres: Server) -> None:
    dsn = await a_cluster_of_compose(own_postgres.address)
    session = await asyncpg.connect(dsn, user="logs", password="test")
    before = await session.fetch("SELECT * FROM pg_roles ORDER BY oid")
    assert not await ensure_roles(session, PASSWORDS)
    await ensure_schema(session)
    assert await session.fetch("SELECT * FROM pg_roles ORDER BY oid") == before
    assert await session.fetchval("SELECT count(*) FROM schema_migrations") == len(released())
    await session.close()


async def test_a_password_that_was_changed_is_changed_and_is_in_no_statement(own_postgres: Server) -> None:
    dsn = of_the_fleet(own_postgres.address)
    await a_cluster_of_native_mode(own_postgres.address)
    admin = await connect_as_admin(dsn)
    await ensure_roles(admin, {"exporter": "first"})
    first = await admin.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'exporter'")
    await ensure_roles(admin, {"exporter": "first"})
    same = await admin.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'exporter'")
    await ensure_roles(admin, {"exporter": "second"})
    second = await admin.fetchval("SELECT rolpassword FROM pg_authid WHERE rolname = 'exporter'")
    await admin.close()

    assert first == same != second
    assert first.startswith("SCRAM-SHA-256$")


async def test_without_a_superuser_the_tables_are_made_and_no_roles(postgres: str) -> None:
    admin = await asyncpg.connect(postgres)
    await admin.execute("DROP ROLE IF EXISTS lesser")
    await admin.execute("CREATE ROLE lesser LOGIN PASSWORD 'p'")
    await admin.execute("GRANT CREATE ON SCHEMA public TO lesser")
    parts = urlsplit(postgres)
    session = await asyncpg.connect(urlunsplit(parts._replace(netloc=f"lesser:p@{parts.netloc.rpartition('@')[2]}")))
    try:
        assert not await ensure_roles(session, PASSWORDS)
        await ensure_schema(session)
        assert await session.fetchval("SELECT count(*) FROM logs") == 0
    finally:
        await session.close()
        await admin.execute("DROP OWNED BY lesser; DROP ROLE lesser")
        await admin.close()
