"""The levers of `./setup.sh` that break the running fleet and mend it, in either mode: links, and the database's backups."""

import asyncio
import uuid

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from shared.process.topic_admin import TopicAdmin
from shared.wire.topic_needs import RETENTION, Change
from testbed.access import kafka_access
from testbed.patience import eventually
from testbed.running_fleet import Fleet, an_event, in_order, steady_writers

pytestmark = pytest.mark.fleet

# link: source, target
LINKS: Final = {"a-to-b": ("region-a", "region-b"), "b-to-a": ("region-b", "region-a")}
# The mirror still writes what it had read when the cut came. So many later events are not copied.
NO_MORE_COPIES: Final = 200
# Longer than the Kafka clients' patience with a silent connection: what is copied afterwards comes over a new one.
CUT_S: Final = 35.0


@pytest.mark.parametrize("link", ["a-to-b", pytest.param("b-to-a", marks=pytest.mark.compose)])
async def test_a_cut_link_stops_its_own_direction_alone_and_catches_up_when_healed(fleet: Fleet, link: str) -> None:
    source, target = LINKS[link]
    copies = partial(fleet.end_offsets, target, f"{source}.logs")
    other_copies = partial(fleet.end_offsets, source, f"{target}.logs")

    async with steady_writers(fleet) as acknowledged:
        await eventually(lambda: len(acknowledged) > 50, "events flow")
        await fleet.control("cut", link)
        try:
            await fleet.control("cut", link)
            copied = await settled(copies, acknowledged)
            other, count = await other_copies(), len(acknowledged)
            await asyncio.sleep(CUT_S)
            assert await copies() == copied
            await eventually(lambda: len(acknowledged) > count, "events flow on")
            await eventually(partial(grows, other_copies, other), "the other direction copies on")
            await fleet.all_ready(within_s=5)
        finally:
            await fleet.control("heal", link)
        await fleet.control("heal", link)

    async def caught_up() -> bool:
        return await copies() >= await fleet.end_offsets(source, "logs")

    await eventually(caught_up, "all events of the source are in the target", within_s=60, every_s=0.5)
    rows = await fleet.rows(acknowledged)

    assert len(rows) == len(acknowledged)
    assert in_order(rows)


async def settled(count: Callable[[], Awaitable[int]], acknowledged: Sequence[str]) -> int:
    """Wait until the count has stayed the same while many more events were acknowledged; return it."""
    last, since = await count(), len(acknowledged)

    async def stays() -> bool:
        nonlocal last, since
        now = await count()
        if now != last:
            last, since = now, len(acknowledged)
        return len(acknowledged) > since + NO_MORE_COPIES

    await eventually(stays, "no more copies come")
    return last


async def grows(count: Callable[[], Awaitable[int]], before: int) -> bool:
    return await count() > before


@pytest.mark.compose
async def test_a_mirror_that_started_while_its_link_was_cut_copies_once_it_is_healed(fleet: Fleet) -> None:
    await fleet.control("cut", "a-to-b")
    try:
        await fleet.control("kill", "mirror-to-b")
        events = [an_event(f"restarted-{i}") for i in range(50)]
        assert (await fleet.post(events, region="region-a", batch=True)).status_code == 202
        # Long enough for it to find that its source cannot be reached.
        await asyncio.sleep(CUT_S)
    finally:
        await fleet.control("heal", "a-to-b")

    async def caught_up() -> bool:
        return await fleet.end_offsets("region-b", "region-a.logs") >= await fleet.end_offsets("region-a", "logs")

    await eventually(caught_up, "all events of region-a are in region-b", within_s=120, every_s=0.5)


@pytest.mark.both_modes
async def test_a_database_that_is_set_back_gets_what_it_lost_from_kafka(fleet: Fleet, tmp_path: Path) -> None:
    backup = str(tmp_path / "logs.backup")
    by_hand = uuid.uuid4()

    async with steady_writers(fleet) as acknowledged:
        await eventually(lambda: len(acknowledged) > 100, "events before the backup")
        await fleet.control("backup", backup)
        count = len(acknowledged)
        await eventually(lambda: len(acknowledged) > count + 200, "events after the backup")
        await fleet.rows(acknowledged[: count + 200])
        # Kafka has no record of this row, so no replay can bring it back.
        await fleet.control(
            *("psql", "--no-psqlrc", "--command"),
            "INSERT INTO logs (event_id, event_time, service_name, level, message, correlation_id, attributes,"
            " origin_region, received_at, stored_by, late)"
            f" VALUES ('{by_hand}', now(), 'by hand', 'INFO', '', 'by hand', '{{}}', 'region-a', now(), 'by hand', false)",
        )
        await fleet.control("restore", backup)
        count = len(acknowledged)
        await eventually(lambda: len(acknowledged) > count + 100, "events after the restore")
    rows = await fleet.rows(acknowledged, within_s=60)

    assert len(rows) == len(acknowledged)
    assert in_order(rows)
    assert await fleet.query("SELECT FROM logs WHERE event_id = $1", by_hand) == []


async def test_an_idle_fleet_notices_too_that_its_database_was_set_back(fleet: Fleet, tmp_path: Path) -> None:
    backup = str(tmp_path / "logs.backup")
    await fleet.control("backup", backup)
    events = [an_event(f"lost-{i}") for i in range(100)]
    assert (await fleet.post(events, batch=True)).status_code == 202
    await fleet.rows([event["eventId"] for event in events])
    await fleet.control("restore", backup)

    rows = await fleet.rows([event["eventId"] for event in events])
    assert len(rows) == 100


@pytest.mark.both_modes
async def test_a_restore_that_fails_leaves_the_database_as_it_was(fleet: Fleet, tmp_path: Path) -> None:
    events = [an_event(message="x" * 10_000) for _ in range(50)]
    assert (await fleet.post(events, batch=True)).status_code == 202
    await fleet.rows([event["eventId"] for event in events])
    whole, half = tmp_path / "whole.backup", tmp_path / "half.backup"
    await fleet.control("backup", str(whole))
    event = an_event()
    await fleet.post(event)
    await fleet.rows([event["eventId"]])
    half.write_bytes(whole.read_bytes()[:-500])

    status, output = await fleet.try_control("restore", str(half))

    assert status == 1
    assert "nothing was restored" in output or "is no backup" in output
    assert len(await fleet.query("SELECT FROM logs WHERE event_id = $1", uuid.UUID(event["eventId"]))) == 1


@pytest.mark.both_modes
async def test_a_file_that_is_no_backup_is_refused_with_a_sentence(fleet: Fleet, tmp_path: Path) -> None:
    file = tmp_path / "note.txt"
    file.write_text("no backup")

    status, output = await fleet.try_control("restore", str(file))

    assert status == 1
    assert "is no backup of this database" in output


@pytest.mark.both_modes
async def test_status_tells_a_topic_that_is_not_what_the_settings_say(fleet: Fleet) -> None:
    async def says(region: str, state: str) -> bool:
        _, told = await fleet.try_control("status")
        return f"topics-{region}           {state}" in told

    async with TopicAdmin(fleet.at.kafka["region-a"], kafka_access(fleet.at.kafka["region-a"])) as admin:
        kept = (await admin.read(["logs"]))["logs"].config[RETENTION]
        longer = str(int(kept) + 1)
        await admin.alter("logs", [Change(RETENTION, kept, longer)])
        try:
            await eventually(lambda: says("a", "ILL"), "the difference is told", within_s=60)
            status, told = await fleet.try_control("status")
        finally:
            await admin.alter("logs", [Change(RETENTION, longer, kept)])

    assert status == 1
    assert f"ILL  topic logs has retention.ms={longer}, and {kept} is needed: " in told
    await eventually(lambda: says("a", "ok"), "it is as the settings say again", within_s=60)
    assert await says("b", "ok")
