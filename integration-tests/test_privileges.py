"""
The running fleet: who may do what, and who knows which password.

Each part gets what it needs and no more, so that one that is taken over gains little. What a role may do with the tables is
tested in `test_roles.py`, without a fleet.
"""

import asyncio
import itertools
import os
import re
import shutil
import stat
import subprocess

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

import asyncpg
import pytest

from redis.asyncio import Redis
from redis.exceptions import AuthenticationError, NoPermissionError, ResponseError

from chaos.fleet import Addresses, as_user
from consumer.roles import LOGINS, SERVICES
from testbed.access import setting
from testbed.running_fleet import ROOT, Fleet, an_event

pytestmark = pytest.mark.fleet

RUN: Final = ROOT / ".run"
SECRETS: Final = (*SERVICES, "redis_consumer", "redis_exporter", "redis_admin", "grafana_secret_key")
OF_A_CONSUMER: Final = {"logs_consumer", "redis_consumer"}
# By part, what its environment may hold.
KNOWN_TO: Final = {
    "consumer-a": OF_A_CONSUMER,
    "consumer-b": OF_A_CONSUMER,
    "console": {"logs_api"},
    "postgres-exporter": {"exporter"},
    "redis-exporter": {"redis_exporter"},
    "grafana": {"grafana_reader", "grafana_secret_key"},
}
CODE: Final = """
    CREATE TABLE consumer_offsets ();
    CREATE FUNCTION taken_over() RETURNS timestamptz LANGUAGE internal AS 'pg_postmaster_start_time';
"""
PROGRAM: Final = "COPY logs FROM PROGRAM 'true'"


async def secret(fleet: Fleet, name: str) -> str:
    status, output = await fleet.try_control("secret", name)
    assert status == 0, output
    return output.strip()


async def log_in(role: str, password: str) -> asyncpg.Connection:
    return await asyncpg.connect(as_user(role, Addresses().postgres), password=password)


# ---------------------------------------------------------------- PostgreSQL and Redis


@pytest.mark.both_modes
async def test_no_service_is_a_superuser_and_a_password_opens_one_role_alone(fleet: Fleet) -> None:
    passwords = {role: await secret(fleet, role) for role in SERVICES} | {"logs": setting("POSTGRES_PASSWORD", "logs")}

    for role, password in passwords.items():
        connection = await log_in(role, password)
        is_super = await connection.fetchval("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")
        await connection.close()
        assert not is_super, role
    for (_, password), other in itertools.product(passwords.items(), (*passwords, "postgres", "logs_migrator")):
        if passwords.get(other) != password:
            with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError):
                await log_in(other, password)


@pytest.mark.both_modes
async def test_a_consumer_that_is_taken_over_rewrites_nothing_and_runs_nothing(fleet: Fleet) -> None:
    event = an_event()
    await fleet.post(event)
    await fleet.rows([event["eventId"]])
    connection = await log_in("logs_consumer", await secret(fleet, "logs_consumer"))
    try:
        for statement in (
            "DELETE FROM logs",
            "UPDATE logs SET message = ''",
            "TRUNCATE logs",
            "DROP TABLE logs",
            PROGRAM,
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.both_modes
async def test_a_reader_stands_in_the_way_of_no_writer(fleet: Fleet) -> None:
    limit = next(login.connections for login in LOGINS if login.name == "logs_api")
    password = await secret(fleet, "logs_api")
    await fleet.control("stop", "console")  # it has some of them
    held: list[asyncpg.Connection] = []
    try:
        while len(held) < limit:
            held.append(await log_in("logs_api", password))
        with pytest.raises(asyncpg.TooManyConnectionsError):
            await log_in("logs_api", password)
        await held[0].execute("SET statement_timeout = 0; SET default_transaction_read_only = off")
        for statement in (
            *("SELECT pg_advisory_lock(hashtext('ensure_log_partition'))", "SELECT pg_try_advisory_lock(7160023104)"),
            *("SET temp_file_limit = -1", "SELECT FROM consumer_offsets", "CREATE TEMP TABLE mine ()"),
            *("SELECT FROM logs LIMIT 1", "SELECT FROM tenant_secret"),
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await held[0].execute(statement)
        async with held[1].transaction():
            await held[1].execute("SET LOCAL app.tenant = '0'")
            await held[1].execute("SELECT FROM tenant_logs LIMIT 1")
            event = an_event()
            await fleet.post(event)
            await fleet.rows([event["eventId"]])
    finally:
        for connection in held:
            await connection.close()
        await fleet.control("start", "console")


@pytest.mark.both_modes
async def test_redis_refuses_a_client_without_a_name_and_each_one_what_is_not_its_own(fleet: Fleet) -> None:
    url = Addresses().redis
    async with Redis.from_url(url) as stranger:
        with pytest.raises(AuthenticationError):
            await stranger.get("ids")
    async with Redis.from_url(url, username="consumer", password=await secret(fleet, "redis_consumer")) as consumer:
        assert await consumer.set("ids:of-a-test", "1", ex=1)
        for command in ("FLUSHALL", "CONFIG GET *", "KEYS *", "SET other 1", "ACL LIST", "REPLICAOF NO ONE"):
            with pytest.raises(NoPermissionError):
                await consumer.execute_command(*command.split())  # type: ignore[no-untyped-call]
        with pytest.raises(ResponseError, match=r"access (a key|at least one of the keys)"):
            await consumer.execute_command("EVAL", "return redis.call('GET', 'other')", 0)  # type: ignore[no-untyped-call]
    async with Redis.from_url(url, username="exporter", password=await secret(fleet, "redis_exporter")) as exporter:
        assert await exporter.info()
        with pytest.raises(NoPermissionError):
            await exporter.get("ids:of-a-test")


async def test_a_backup_with_code_in_it_restores_nothing(fleet: Fleet, postgres: str, tmp_path: Path) -> None:
    event = an_event()
    await fleet.post(event)
    await fleet.rows([event["eventId"]])
    connection = await asyncpg.connect(postgres)
    await connection.execute(CODE)
    await connection.close()
    backup = tmp_path / "logs.backup"
    dump = shutil.which("pg_dump")
    assert dump, "PostgreSQL's client programs are missing"
    await asyncio.to_thread(subprocess.run, [dump, "--format=custom", f"--file={backup}", postgres], check=True)

    status, output = await fleet.try_control("restore", str(backup))

    assert status == 1
    assert "nothing was restored" in output
    assert len(await fleet.rows([event["eventId"]])) == 1


# ---------------------------------------------------------------- processes and files of native mode


def parts() -> Mapping[str, int]:
    """Return the process of each part."""
    files = [
        file
        for file in (RUN / "pid").iterdir()
        if file.suffix != ".pace" and not file.name.startswith(("topics", "schema", "archive"))
    ]
    return {file.name: int(file.read_text().split()[0]) for file in files}


def read_all(pid: int, name: str) -> Iterator[str]:
    """Yield that file of a process, and of all that it has started; a session of PostgreSQL may end meanwhile."""
    yield Path(f"/proc/{pid}/{name}").read_text(errors="replace")
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in children.read_text().split():
            with suppress(FileNotFoundError, ProcessLookupError):
                yield from list(read_all(int(child), name))


def all_arguments() -> Iterator[str]:
    """Yield the arguments of every process of this machine."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            yield (process / "cmdline").read_text(errors="replace")


def field_of(status: str, name: str) -> list[str]:
    [line] = [line for line in status.splitlines() if line.startswith(f"{name}:")]
    return line.split()[1:]


async def test_a_secret_is_in_no_argument_and_in_no_environment_but_of_the_part_that_needs_it(fleet: Fleet) -> None:
    secrets = {name: (RUN / "secrets" / name).read_text().strip() for name in SECRETS}
    assert len(await secret(fleet, "logs_consumer")) >= 43

    found = parts()
    assert {"gateway", "kafka-a", "postgres", "consumer-a", "console", "redis"} <= found.keys()
    for arguments in all_arguments():
        assert not [name for name, text in secrets.items() if text in arguments], arguments
    for part, pid in found.items():
        for environment in read_all(pid, "environ"):
            held = {name for name, text in secrets.items() if text in environment}
            assert held <= KNOWN_TO.get(part, set()), f"{part} knows {held}"
            assert "GRAFANA_PASSWORD=" not in environment, part
            assert not re.search(r"(?<![A-Z_])POSTGRES_PASSWORD=", environment), part


async def test_no_file_that_the_fleet_writes_is_for_others_to_read(fleet: Fleet) -> None:
    await fleet.all_ready()
    places = [RUN / name for name in ("data", "logs", "secrets", "etc", "settings")]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*")) if file.is_file()]

    assert len(files) > 50
    assert [str(file) for file in files if is_open(file)] == []


def is_open(file: Path) -> bool:
    """Tell whether other users can read a file: its own mode, and those of the folders above it up to .run."""
    try:
        if not file.stat().st_mode & stat.S_IROTH:
            return False
    except FileNotFoundError:
        return False
    above = [folder for folder in file.parents if folder.is_relative_to(RUN)]
    return all(folder.stat().st_mode & stat.S_IXOTH for folder in above)


async def test_no_part_is_root_or_has_rights_beyond_those_of_its_user(fleet: Fleet) -> None:
    await fleet.all_ready()
    for part, pid in parts().items():
        for status in read_all(pid, "status"):
            assert field_of(status, "Uid")[:3] != ["0"] * 3, part
            for rights in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                assert int(field_of(status, rights)[0], 16) == 0, f"{part}: {rights}"


async def test_a_log_line_holds_no_secret(fleet: Fleet) -> None:
    await fleet.all_ready()
    secrets = [(RUN / "secrets" / name).read_text().strip() for name in SECRETS]
    texts = await asyncio.to_thread(
        lambda: {file: file.read_text(errors="replace") for file in (RUN / "logs").iterdir()}
    )

    assert [str(file) for file, text in texts.items() if any(one in text for one in secrets)] == []
    assert os.access(RUN / "logs", os.R_OK)
