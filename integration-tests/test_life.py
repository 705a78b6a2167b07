"""The life of an event in the running fleet: nine verdicts, and what is said while a region is away."""

import asyncio

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import pytest

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from pydantic_core import to_json

from testbed.access import to_kafka
from testbed.patience import eventually, patience
from testbed.running_fleet import REGIONS, ROOT, Fleet, an_event

pytestmark = pytest.mark.fleet

Life = dict[str, Any]
# The console's promise, for a quiet machine.
ANSWER_S = 1.5


@pytest.fixture(autouse=True)
async def _all_is_well(fleet: Fleet) -> None:
    """Wait until what the test before broke is mended, replication included."""
    await fleet.all_ready()
    for region in REGIONS:
        await become(fleet, await sent(fleet, region), is_copied, "it is copied and stored")


async def trace(fleet: Fleet, event: Mapping[str, Any], *, key: bool = True, at: str | None = None) -> Life:
    """Ask where an event is."""
    given = {"timestamp": event["timestamp"]} | ({"correlationId": event["correlationId"]} if key else {})
    path = f"/api/logs/{event['eventId']}/trace"

    async def ask() -> Life:
        answer = await fleet.http.get(f"{at or fleet.at.console}{path}", params=given)
        assert answer.status_code == 200, answer.text
        life: Life = answer.json()
        return life

    life: Life = await eventually(ask, "the console answers", within_s=30, every_s=0.2)
    return life


async def become(
    fleet: Fleet, event: Mapping[str, Any], holds: Callable[[Life], bool], what: str, within_s: float = 60
) -> Life:
    """Ask until it is so, and return the answer."""
    seen: list[Life] = []

    async def look() -> bool:
        seen.append(await trace(fleet, event))
        assert holds(seen[-1]), seen[-1]
        return True

    await eventually(look, what, within_s=within_s, every_s=0.2)
    return seen[-1]


def is_copied(life: Life) -> bool:
    """Tell whether all is done with an event and was seen: stored, copied, and its copies recognised."""
    records = steps(life, "kafka")
    own, mirrored = ([one for one in records if (one["topic"] == "logs") == is_own] for is_own in (True, False))
    is_everywhere = len(own) == len(mirrored) == len(records) / 2 and not life["unseen"]
    return is_everywhere and "stored" in life["kinds"] and len(steps(life, "duplicate")) == len(records) - 1


def only_b_is_unseen(life: Life) -> bool:
    """On a busy machine the region that is there may not answer in time either."""
    return [part["region"] for part in life["unseen"]] == ["region-b"]


def steps(life: Life, what: str) -> list[dict[str, Any]]:
    return [step for step in life["steps"] if step["what"] == what]


def told(life: Life) -> tuple[list[str], str]:
    """Return kinds and verdict, without lateness: on a busy machine any event may be late."""
    clauses = [clause for clause in life["verdict"].split("; ") if not clause.startswith("late by ")]
    return [kind for kind in life["kinds"] if kind != "late"], "; ".join(clauses)


async def post(fleet: Fleet, event: Mapping[str, Any], region: str) -> bool:
    """Tell whether this region took the event; on a busy machine another one may."""
    answer = await fleet.post(event, region=region)
    return answer.status_code == 202 and bool(answer.json()["region"] == region)


async def sent(fleet: Fleet, region: str, key: str | None = None) -> dict[str, Any]:
    """Post events until this region took one at the first try, and return that one."""
    events: list[dict[str, Any]] = []

    async def try_one() -> bool:
        events.append(an_event(key or f"life-{uuid4()}"))
        return await post(fleet, events[-1], region)

    await eventually(try_one, f"{region} takes an event", within_s=60, every_s=0.2)
    return events[-1]


async def all_taken(fleet: Fleet, events: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether a region took all of these; again and again they are the same events."""
    return (await fleet.post(events, region="region-a", batch=True)).status_code == 202


@asynccontextmanager
async def pulled(fleet: Fleet, verb: str, back: str, *parts: str) -> AsyncIterator[None]:
    """Break parts of the fleet meanwhile."""
    try:
        for part in parts:
            await fleet.control(verb, part)
        yield
    finally:
        for part in parts:
            await fleet.control(back, part)


@pytest.mark.both_modes
@pytest.mark.parametrize("region", REGIONS)
async def test_plain(fleet: Fleet, region: str) -> None:
    event = await sent(fleet, region)

    life = await become(fleet, event, is_copied, "it is stored and copied")

    assert told(life) == (["stored"], "stored once; 1 copy recognised as a duplicate")
    assert [step["what"] for step in life["steps"]] == ["happened", "received", "kafka", "kafka", "stored", "duplicate"]
    own, copied = steps(life, "kafka")
    assert (own["region"], own["topic"], copied["topic"]) == (region, "logs", f"{region}.logs")
    assert copied["copyOf"] == f"{region} logs/{own['partition']}@{own['offset']}"
    [received] = steps(life, "received")
    assert (received["servedBy"], "wanted" in received) == (region, False)
    assert (life["exposed"], life["unseen"]) == ({"region-a": False, "region-b": False}, [])
    through_the_gateway = await trace(fleet, event, at=fleet.at.gateway)
    assert through_the_gateway | {"tookMs": 0} == life | {"tookMs": 0}


async def test_failed_over(fleet: Fleet) -> None:
    event = an_event(f"over-{uuid4()}")

    async def taken() -> bool:
        answer = await fleet.post(event, region="region-a")
        assert answer.status_code == 202, answer.text
        return (answer.json()["region"], answer.json()["failover"]) == ("region-b", True)

    async with pulled(fleet, "stop", "start", "producer-a"):
        await eventually(taken, "the other region takes it", within_s=60)

    life = await become(fleet, event, is_copied, "it is stored and copied")

    assert told(life)[0] == ["stored", "failed-over"]
    assert told(life)[1].startswith("stored once; region-a was wanted, region-b took it")
    [received] = steps(life, "received")
    assert (received["servedBy"], received["wanted"]) == ("region-b", "region-a")


async def test_retried_to_both_regions(fleet: Fleet) -> None:
    event = await sent(fleet, "region-a")
    await eventually(partial(post, fleet, event, "region-b"), "the other region takes it, too", within_s=60)

    life = await become(fleet, event, lambda life: is_copied(life) and len(steps(life, "kafka")) >= 4, "all is read")

    kinds, verdict = told(life)
    assert kinds == ["stored", "retried"]
    assert verdict.startswith("stored once; sent to region-a and region-b; ")
    assert verdict.endswith(" copies recognised as duplicates")
    assert "a client's retry to the other region" in [step.get("note") for step in steps(life, "kafka")]


@pytest.mark.parametrize(
    ("reason", "ago", "unit"), [("delayed", timedelta(minutes=5), "min"), ("clock_skew", timedelta(hours=-3), "h")]
)
async def test_late(fleet: Fleet, reason: str, ago: timedelta, unit: str) -> None:
    key = f"late-{uuid4()}"
    await sent(fleet, "region-a", key)
    event = an_event(key, time=datetime.now(UTC) - ago)
    await eventually(partial(post, fleet, event, "region-a"), "it is taken", within_s=60)

    life = await become(fleet, event, is_copied, "it is stored and copied")

    assert life["kinds"] == ["stored", "late"]
    assert f" {unit}, {reason}: " in life["verdict"]


async def test_late_through_the_mirror_after_a_split(fleet: Fleet) -> None:
    """The source's own consumer is stopped, so that only the copy can bring it."""
    async with pulled(fleet, "stop", "start", "consumer-a"):
        async with pulled(fleet, "cut", "heal", "a-to-b"):
            await asyncio.sleep(2)  # what was on its way when the cut came
            event = await sent(fleet, "region-a")

            async def newer_are_stored() -> bool:
                newer = await sent(fleet, "region-b")
                [row] = await fleet.rows([newer["eventId"]])
                return bool(row["event_time"] - datetime.fromisoformat(event["timestamp"]) > timedelta(seconds=5))

            await eventually(newer_are_stored, "the other region goes on", within_s=60, every_s=0.5)
        await fleet.rows([event["eventId"]], within_s=120)

    life = await become(fleet, event, is_copied, "its own region has read it, too")
    [stored] = steps(life, "stored")
    assert stored["by"].startswith("region-b/")
    # In an order of its own, as each region that is read has; late on a busy machine alone.
    assert told(life)[0] == ["stored"]


@pytest.mark.parametrize("key", [True, False], ids=["with its key", "without"])
async def test_poisoned(fleet: Fleet, *, key: bool) -> None:
    event = an_event(f"poison-{uuid4()}", level=5)
    producer = AIOKafkaProducer(**to_kafka(fleet.at.kafka["region-a"]), acks="all")
    await producer.start()
    try:
        await producer.send_and_wait("logs", to_json(event), event["correlationId"].encode())
    finally:
        await producer.stop()

    await become(fleet, event, lambda life: len(steps(life, "set aside")) == 2, "both regions set it aside")
    life = await trace(fleet, event, key=key)

    assert life["kinds"] == ["poisoned"]
    assert life["verdict"].startswith("not stored, set aside in region-a's logs-dlq: invalid: ")
    [own, copied] = steps(life, "kafka")
    assert (own["topic"], copied["topic"]) == ("logs", "region-a.logs")
    assert "level" in own["wrong"]
    assert {step["of"] for step in steps(life, "set aside")} == {
        f"{one['region']} {one['topic']}/{one['partition']}@{one['offset']}" for one in (own, copied)
    }


async def test_another_event_of_its_identity_was_set_aside(fleet: Fleet) -> None:
    event = await sent(fleet, "region-a")
    await become(fleet, event, is_copied, "it is stored and copied")
    other = event | {"message": "something else"}
    await eventually(partial(post, fleet, other, "region-a"), "the other one is taken", within_s=60)

    life = await become(fleet, event, lambda life: len(steps(life, "set aside")) >= 2, "the other is set aside")

    assert told(life)[0] == ["stored", "poisoned"]
    assert "another record with its identity was set aside in region-a: conflict: " in life["verdict"]


async def test_waiting_while_no_consumer_can_store(fleet: Fleet) -> None:
    event = an_event(f"waiting-{uuid4()}")
    holding = await asyncio.create_subprocess_exec(
        ROOT / "setup.sh", "psql", "--no-psqlrc", "--quiet", "--file", "-", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )  # fmt: skip
    assert holding.stdin is not None
    assert holding.stdout is not None
    try:
        # Readers are not stopped by it.
        holding.stdin.write(b"BEGIN; LOCK TABLE logs IN EXCLUSIVE MODE; SELECT 'held';\n")
        while b"held" not in await holding.stdout.readline():
            pass
        before = [an_event(event["correlationId"]) for _ in range(20)]
        await eventually(partial(all_taken, fleet, before), "those before it are taken", within_s=60)
        await eventually(partial(post, fleet, event, "region-a"), "it is taken", within_s=60)
        life = await become(fleet, event, lambda life: len(steps(life, "kafka")) >= 2, "it is copied")
    finally:
        holding.stdin.write(b"ROLLBACK;\n")
        holding.stdin.close()
        await holding.wait()

    assert life["kinds"] == ["waiting"]
    assert all(step["before"] >= 20 for step in steps(life, "waiting"))
    assert {step["region"] for step in steps(life, "waiting")} == {*REGIONS}
    assert "waits in region-a logs/" in life["verdict"]
    assert "waits in region-b region-a.logs/" in life["verdict"]
    await become(fleet, event, is_copied, "it is stored and copied once the table is free")


async def test_exposed_in_a_split(fleet: Fleet) -> None:
    async with pulled(fleet, "cut", "heal", "a-to-b"):
        await asyncio.sleep(2)  # what was on its way when the cut came
        event = await sent(fleet, "region-a")
        await fleet.rows([event["eventId"]])
        life = await trace(fleet, event)

    assert told(life) == (["stored", "exposed"], "stored once; exposed: only region-a's Kafka has it")
    assert life["exposed"] == {"region-a": True, "region-b": False}
    healed = await become(fleet, event, is_copied, "it is copied", within_s=120)
    assert healed["exposed"] == {"region-a": False, "region-b": False}


async def test_gone_from_kafka(fleet: Fleet) -> None:
    event = await sent(fleet, "region-b")
    life = await become(fleet, event, is_copied, "it is stored and copied")
    for record in steps(life, "kafka"):
        admin = AIOKafkaAdminClient(**to_kafka(fleet.at.kafka[record["region"]]))
        await admin.start()
        try:
            place = TopicPartition(record["topic"], record["partition"])
            await admin.delete_records({place: RecordsToDelete(record["offset"] + 1)})
        finally:
            await admin.close()

    life = await become(
        fleet, event, lambda life: not [one for one in steps(life, "kafka") if one["stillThere"]], "it is gone"
    )

    assert told(life) == (["stored", "gone"], "stored once; no Kafka has a copy any more")
    assert life["exposed"] == {"region-a": False, "region-b": False}


@pytest.mark.both_modes
async def test_never_sent(fleet: Fleet) -> None:
    event = an_event(f"never-{uuid4()}")

    life = await trace(fleet, event)
    without_key = await trace(fleet, event, key=False)

    assert life["kinds"] == without_key["kinds"] == ["absent"]
    assert life["verdict"].startswith("not in the fleet: never acknowledged")
    assert [step["what"] for step in life["steps"]] == ["happened"]


AWAY = [
    ("suspend", "resume", ["consumer-b"], "its consumer does not answer in time"),
    ("suspend", "resume", ["kafka-b"], "its consumer "),
    ("stop", "start", ["consumer-b", "kafka-b", "producer-b"], "its consumer cannot be reached"),
]


@pytest.mark.parametrize(("verb", "back", "parts", "why"), AWAY, ids=["consumer silent", "kafka silent", "region away"])
async def test_a_region_that_is_away_is_unseen_and_never_missing(
    fleet: Fleet, verb: str, back: str, parts: Collection[str], why: str
) -> None:
    event, never = await sent(fleet, "region-a"), an_event(f"never-{uuid4()}")
    await become(fleet, event, is_copied, "it is stored and copied")
    async with pulled(fleet, verb, back, *parts):
        lives = [await become(fleet, one, only_b_is_unseen, "the other region answers") for one in (event, never)]

    for life in lives:
        assert life["tookMs"] < patience(ANSWER_S) * 1000
        assert life["unseen"][0]["why"].startswith(why)
        assert life["verdict"].endswith("region-b was not seen, its copies are unknown")
        assert life["exposed"]["region-b"] is None
        assert not [step for step in life["steps"] if step.get("region") == "region-b"]
    assert [told(life)[0] for life in lives] == [["stored"], ["unknown"]]
    assert lives[0]["exposed"]["region-a"] is None


async def test_what_only_a_region_that_is_away_has_is_unknown_and_found_later(fleet: Fleet) -> None:
    async with pulled(fleet, "cut", "heal", "b-to-a"):
        await asyncio.sleep(2)  # what was on its way when the cut came
        async with pulled(fleet, "stop", "start", "consumer-b"):
            event = await sent(fleet, "region-b")
            life = await become(fleet, event, only_b_is_unseen, "the other region answers")
        await fleet.rows([event["eventId"]], within_s=60)

    assert life["kinds"] == ["unknown"]
    assert life["verdict"] == (
        "not stored, and not found where it was looked for; region-b was not seen, its copies are unknown"
    )
    await become(fleet, event, is_copied, "it is stored and copied", within_s=120)


async def test_both_regions_away_leaves_what_is_stored(fleet: Fleet) -> None:
    event = await sent(fleet, "region-a")
    await fleet.rows([event["eventId"]])
    async with pulled(fleet, "suspend", "resume", "consumer-a", "consumer-b"):
        life = await trace(fleet, event)

    assert told(life)[0] == ["stored"]
    assert [part["region"] for part in life["unseen"]] == list(REGIONS)


async def test_what_is_asked_of_a_busy_fleet_costs_no_event(fleet: Fleet) -> None:
    """Traces read Kafka beside the consumers' work; each event is stored, and each trace has an answer or a refusal."""
    events = [an_event(f"busy-{number}") for number in range(2000)]
    portions = [events[start : start + 200] for start in range(0, len(events), 200)]
    posting = [
        asyncio.create_task(eventually(partial(all_taken, fleet, portion), "they are taken", within_s=60))
        for portion in portions
    ]
    statuses = await asyncio.gather(*(status_of(fleet, event) for event in events[::100]))
    await asyncio.gather(*posting)
    rows = await fleet.rows([event["eventId"] for event in events], within_s=60)

    assert len(rows) == len(events)
    assert set(statuses) <= {200, 429, 503}


async def status_of(fleet: Fleet, event: Mapping[str, Any]) -> int:
    time = quote(event["timestamp"])
    asked: Awaitable[Any] = fleet.http.get(f"{fleet.at.console}/api/logs/{event['eventId']}/trace?timestamp={time}")
    return int((await asked).status_code)
