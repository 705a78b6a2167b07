"""A day in a Parquet file is what was in the table, whatever is in it and however much; and what goes wrong leaves no file."""

import asyncio
import json
import os
import resource
import subprocess
import sys

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from pyarrow import parquet
from shell import copy_of_the_checkout, environment, run_bash
from surroundings import PASSWORDS, Surroundings, as_consumer, as_role
from test_days import a_store, named, places
from test_ports import an_envelope, query, rows_of
from test_retention import a_table_with_days, gone

from consumer.adapters.archive_process import ArchiveProcess
from consumer.adapters.parquet import COLUMNS, read_back
from consumer.adapters.postgres_retention import DayDropper, PostgresRetention
from consumer.retention import ArchiveError
from testbed.consumer_process import ROOT
from testbed.patience import eventually

pytestmark = pytest.mark.services

NOW = datetime.now(UTC)
YESTERDAY, OLD = (NOW - timedelta(days=n) for n in (1, 10))
MANY = """
    INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes, origin_region,
                      received_at, stored_by, late, late_by_ms, late_reason)
    SELECT gen_random_uuid(), $1::timestamptz + n * interval '1 microsecond', 'svc' || n % 20, 'INFO', 'message ' || md5(n::text),
           'c' || n / 5, jsonb_build_object('n', n, 'user', md5(n::text)), 'region-a', now(), 'region-a/one/1',
           n % 2 = 0, CASE WHEN n % 2 = 0 THEN n END, CASE WHEN n % 2 = 0 THEN 'delayed' END
    FROM generate_series(1, $2::int) AS n
"""
ODD = [
    "",
    r"\N",
    "NULL",
    '"',
    '""',
    ",",
    "a\nb",
    "a\r\nb",
    "\r",
    "日本\U0001f600",
    "x" * 200_000,
    " a ",
    "t",
    "\\",
    "\ta",
]


async def run(dsn: str, *arguments: str, **how: Any) -> tuple[int, str, str, int]:
    """Run the program as user logs; return its exit status, what it says and complains, and the most memory that it had, in MiB."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        # Its own peak. What getrusage says of a process begins with the size of the one that started it.
        "import atexit, re, runpy, sys; sys.argv[0] = 'x'; atexit.register(lambda: sys.stderr.write("
        "'\\npeak ' + str(int(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1]) // 1024))); "
        "runpy.run_module('consumer.archive', run_name='__main__', alter_sys=False)",
        *arguments,
        cwd=ROOT,
        env=os.environ | {"CONSUMER_POSTGRES_DSN": as_role("logs", dsn)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        **how,
    )
    out, err = await process.communicate()
    said, _, peak = err.decode().rpartition("\npeak ")
    return process.returncode or 0, out.decode(), said.strip(), int(peak)


async def fill(dsn: str, time: datetime, rows: int) -> None:
    async with a_store(dsn):
        pass
    connection = await asyncpg.connect(dsn)
    await connection.execute("SELECT make_log_partition($1) WHERE NOT has_log_partition($1)", time.date())
    await connection.execute(MANY, time.replace(hour=0, minute=0, second=0, microsecond=0), rows)
    await connection.close()


def as_written(row: asyncpg.Record) -> dict[str, Any]:
    return {name: str(row[name]) if name == "event_id" else row[name] for name in COLUMNS}


def left(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


def in_file(path: Path) -> Sequence[Mapping[str, Any]]:
    rows: Sequence[Mapping[str, Any]] = parquet.read_table(path).to_pylist()
    return rows


async def test_the_file_has_what_the_table_has(postgres: str, tmp_path: Path) -> None:
    path = tmp_path / "day.parquet"
    async with a_store(postgres) as (store, generation):
        events = [an_envelope(n, time=YESTERDAY, message=text) for n, text in enumerate(ODD)]
        await store.store(rows_of(*events), {}, generation)
    await query(
        postgres, f"UPDATE {named(YESTERDAY)} SET attributes = jsonb_build_object('a', message, 'n', 1.50, 'z', NULL)"
    )
    await query(
        postgres, f"UPDATE {named(YESTERDAY)} SET late = true, late_by_ms = -3, late_reason = '' WHERE seq % 2 = 0"
    )
    status, out, said, _ = await run(postgres, str(YESTERDAY.date()), str(path))
    rows = await query(postgres, f"SELECT * FROM {named(YESTERDAY)}")

    assert (status, said) == (0, "")
    assert json.loads(out)["rows"] == len(ODD)
    assert sorted(in_file(path), key=lambda row: row["seq"]) == sorted(
        map(as_written, rows), key=lambda row: row["seq"]
    )
    assert left(tmp_path) == ["day.parquet"]


async def test_a_day_without_rows_is_a_file_without_rows(postgres: str, tmp_path: Path) -> None:
    async with a_store(postgres):
        pass
    status, out, _, _ = await run(postgres, str(YESTERDAY.date()), str(tmp_path / "day.parquet"))
    assert (status, json.loads(out)["rows"]) == (0, 0)
    assert in_file(tmp_path / "day.parquet") == []


# Of 10,000,000 rows see docs/decisions/0032-days-that-go.md, too.
@pytest.mark.parametrize("rows", [400_000, pytest.param(10_000_000, marks=pytest.mark.deep)])
async def test_memory_does_not_grow_with_the_day(postgres: str, tmp_path: Path, rows: int) -> None:
    few, many = NOW - timedelta(days=2), NOW - timedelta(days=3)
    await fill(postgres, few, 100_000)
    await fill(postgres, many, rows)
    peaks = []
    for time in (few, many):
        status, _, said, peak = await run(postgres, str(time.date()), str(tmp_path / named(time)))
        assert (status, said) == (0, "")
        peaks.append(peak)
    with (tmp_path / named(many)).open("rb") as file:
        assert read_back(file).rows == rows
    assert max(peaks) < 300
    # What a row costs is to be nothing: 100,000 of them are some 30 MB, and more than the first groups are not held.
    assert peaks[1] - peaks[0] < 60, peaks


@pytest.mark.parametrize(
    ("day", "file", "said"),
    [
        (NOW.date(), "day", "is not over: in UTC it is"),
        (NOW.date() + timedelta(days=1), "day", "is not over"),
        (date(1999, 1, 1), "day", "1999-01-01 has no partition: those that are over go from"),
        (YESTERDAY.date(), "there", "there is there already: name another file"),
        (YESTERDAY.date(), "nowhere/day", "there is no folder"),
        ("yesterday", "day", "'yesterday' is no day: write it like 2026-11-23"),
    ],
)
async def test_what_cannot_be_archived_gets_a_sentence_and_no_file(
    postgres: str, tmp_path: Path, day: date | str, file: str, said: str
) -> None:
    async with a_store(postgres):
        pass
    (tmp_path / "there").write_text("before")
    status, out, complaint, _ = await run(postgres, str(day), str(tmp_path / file))
    assert status != 0
    assert out == ""
    assert said in complaint
    assert "Traceback" not in complaint
    assert left(tmp_path) == ["there"]
    assert (tmp_path / "there").read_text() == "before"


async def test_a_database_that_does_not_answer_gets_a_sentence_and_no_file(tmp_path: Path) -> None:
    status, _, said, _ = await run("postgresql://x@127.0.0.1:1/x", str(YESTERDAY.date()), str(tmp_path / "day"))
    assert status == 1
    assert "PostgreSQL cannot be asked" in said
    assert left(tmp_path) == []


async def test_a_file_that_may_not_grow_gets_a_sentence_and_leaves_nothing(postgres: str, tmp_path: Path) -> None:
    await fill(postgres, YESTERDAY, 50_000)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # noqa: E731
    status, _, said, _ = await run(postgres, str(YESTERDAY.date()), str(tmp_path / "day"), preexec_fn=limit)
    assert status == 1
    assert said.endswith("cannot be written: File too large")
    assert left(tmp_path) == []
    [found] = await query(postgres, f"SELECT count(*) FROM {named(YESTERDAY)}")
    assert found["count"] == 50_000


async def test_a_day_that_is_in_a_file_already_is_not_written_again_unless_it_changed(
    postgres: str, tmp_path: Path
) -> None:
    archive = ArchiveProcess(tmp_path, as_consumer(postgres))
    await fill(postgres, OLD, 100)
    first, second = await archive(OLD.date()), await archive(OLD.date())
    async with a_store(postgres) as (store, generation):
        await store.store(rows_of(an_envelope(1, time=OLD)), {}, generation)
    third = await archive(OLD.date())
    # A file that was harmed since is no archive, whatever it says of itself.
    with (tmp_path / f"{named(OLD)}.2.parquet").open("r+b") as file:
        file.seek(500)
        file.write(b"\xff" * 50)
    fourth = await archive(OLD.date())

    assert first == second
    assert fourth.file == str(tmp_path / f"{named(OLD)}.3.parquet")
    assert first.file == str(tmp_path / f"{named(OLD)}.parquet")
    assert third.file == str(tmp_path / f"{named(OLD)}.2.parquet")
    assert (first.rows, third.rows) == (100, 101)


async def test_an_archive_logs_in_as_its_consumer_however_that_was_told_the_password(
    postgres: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await fill(postgres, OLD, 10)
    for name in ("CONSUMER_POSTGRES_DSN_FILE", "CONSUMER_POSTGRES_PASSWORD_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "of-the-consumer"))
    assert (await ArchiveProcess(tmp_path, as_consumer(postgres))(OLD.date())).rows == 10


async def test_an_archive_that_failed_is_not_tried_at_once_again(postgres: str, tmp_path: Path) -> None:
    now = 0.0
    archive = ArchiveProcess(tmp_path / "later", as_consumer(postgres), clock=lambda: now)
    await fill(postgres, OLD, 10)
    with pytest.raises(ArchiveError, match="there is no folder"):
        await archive(OLD.date())
    (tmp_path / "later").mkdir()
    with pytest.raises(ArchiveError, match="there is no folder"):
        await archive(OLD.date())
    now = 601.0
    assert (await archive(OLD.date())).rows == 10


async def test_a_file_that_cannot_be_looked_for_gets_a_sentence(postgres: str, tmp_path: Path) -> None:
    await fill(postgres, OLD, 10)
    # As in a folder that this user may not enter, which is a folder like any other where root runs the tests.
    with pytest.raises(ArchiveError, match="cannot be looked for: File name too long"):
        await ArchiveProcess(tmp_path / ("x" * 300), as_consumer(postgres))(OLD.date())


async def test_retention_drops_what_is_in_a_file_and_nothing_else(postgres: str, tmp_path: Path) -> None:
    older = OLD - timedelta(days=1)
    await a_table_with_days(postgres, OLD, OLD, older, NOW)
    kept = tmp_path / f"{named(older)}.parquet.partial"
    kept.mkdir()  # in the way of one of them
    before = await query(postgres, f"SELECT * FROM {named(OLD)}")
    port = PostgresRetention(
        as_consumer(postgres), name="test", dropper=DayDropper(7, ArchiveProcess(tmp_path, as_consumer(postgres)))
    )
    failed = await port.look_after()
    await port.close()

    assert list(failed) == [older.date()]
    assert "cannot be written: Is a directory" in failed[older.date()]
    assert sorted(await places(postgres)) == [named(older), named(NOW)]
    assert in_file(tmp_path / f"{named(OLD)}.parquet") == list(map(as_written, before))


async def test_a_consumer_archives_before_it_drops(around: Surroundings, tmp_path: Path) -> None:
    await around.prepare()
    await fill(around.postgres, OLD, 100)
    async with around.consumer(retention_days=7, archive_dir=str(tmp_path)) as service:
        await eventually(lambda: gone(around, named(OLD)), "the day is gone")
        await eventually(lambda: not service.readiness().degraded, "all is well")
    assert len(in_file(tmp_path / f"{named(OLD)}.parquet")) == 100


async def test_setup_archives_a_day_in_native_mode(postgres: str, tmp_path: Path) -> None:
    await fill(postgres, YESTERDAY, 100)
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    (checkout / ".run/etc").mkdir(parents=True)
    (checkout / ".run/logs").mkdir()
    virtual = Path(sys.executable).parent.parent
    run_env = f"ROOT={checkout}\nRUN_DIR={checkout}/.run\nVENV={virtual}\nBIND_ADDRESS=127.0.0.1\nFLEET_FAULTS=off\n"
    (checkout / ".run/etc/run.env").write_text(run_env)
    # The superuser's file is not for it.
    (checkout / ".run/etc/schema.env").write_text("CONSUMER_POSTGRES_DSN=postgresql://x@127.0.0.1:1/x\n")
    user = as_role("logs", postgres).replace(f":{quote(PASSWORDS['logs'], safe='')}@", "@")
    (checkout / ".run/etc/archive.env").write_text(
        f"CONSUMER_POSTGRES_DSN={user}\nCONSUMER_POSTGRES_PASSWORD={PASSWORDS['logs']}\n"
    )

    def archive() -> subprocess.CompletedProcess[str]:
        script = f'VENV={virtual}; native_archive "$1" "$(from_caller "$2")"'
        return run_bash(script, str(YESTERDAY.date()), str(tmp_path / "day.parquet"), root=checkout)

    first, second = await asyncio.to_thread(archive), await asyncio.to_thread(archive)
    assert first.returncode == 0, first.stderr
    assert f"{YESTERDAY.date()} is in {tmp_path}/day.parquet" in first.stdout + first.stderr
    assert len(in_file(tmp_path / "day.parquet")) == 100
    assert second.returncode != 0
    assert "day.parquet is there already" in second.stderr
    assert "the day is as it was" in second.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["archive"], "archive takes a DAY, like 2026-11-23, and a FILE"),
        (["archive", "2026-11-23"], "archive takes a DAY, like 2026-11-23, and a FILE"),
        (["archive", "23.11.2026", "day.parquet"], "'23.11.2026' is no day: write it like 2026-11-23"),
        (["archive", "2026-11-23", "day.parquet"], "there is no fleet here yet"),
    ],
)
def test_setup_says_how_to_archive(tmp_path: Path, arguments: Sequence[str], said: str) -> None:
    checkout = copy_of_the_checkout(tmp_path / "checkout")
    done = subprocess.run(
        [checkout / "setup.sh", *arguments], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    assert said in done.stderr
