"""The running fleet, from `curl` to row, in either mode; and with its parts dying under load."""

import asyncio
import json
import random
import subprocess
import uuid

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.structs import TopicPartition

from testbed.access import curl_options, to_kafka
from testbed.patience import eventually
from testbed.running_fleet import REGIONS, Fleet, an_event, in_order, steady_writers

pytestmark = pytest.mark.fleet


@pytest.mark.both_modes
@pytest.mark.parametrize("region", REGIONS)
async def test_the_curl_command_of_the_readme_ends_in_a_row_within_three_seconds(fleet: Fleet, region: str) -> None:
    correlation_id = f"trace-{uuid.uuid4()}"
    body = f'{{"serviceName":"my-svc","level":"INFO","message":"Hello","correlationId":"{correlation_id}"}}'
    curl = ["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}", "-X", "POST", f"{fleet.at.gateway}/api/logs"]
    headers = ["-H", "Content-Type: application/json", "-H", f"X-Region: {region}"]
    headers += curl_options("POST", f"{fleet.at.gateway}/api/logs")
    status = await asyncio.to_thread(subprocess.check_output, [*curl, *headers, "-d", body], text=True)

    assert status == "202"
    [row] = await eventually(
        lambda: fleet.query("SELECT * FROM logs WHERE correlation_id = $1", correlation_id), "the row", within_s=3
    )
    assert (row["service_name"], row["level"], row["message"]) == ("my-svc", "INFO", "Hello")
    assert row["origin_region"] == region


@pytest.mark.both_modes
async def test_an_event_goes_to_the_region_asked_for_and_the_answer_says_so(fleet: Fleet) -> None:
    for region in REGIONS:
        event = an_event()
        answer = await fleet.post(event, region=region)
        assert answer.status_code == 202
        assert answer.json()["eventId"] == event["eventId"]
        assert (answer.json()["region"], answer.json()["failover"]) == (region, False)
        assert (answer.headers["X-Served-Region"], answer.headers["X-Failover"]) == (region, "false")
        [row] = await fleet.rows([event["eventId"]])
        assert row["origin_region"] == region


async def test_without_a_region_the_preferred_one_is_used_and_an_unknown_one_is_refused(fleet: Fleet) -> None:
    assert (await fleet.post(an_event())).json()["region"] == "region-a"
    answer = await fleet.post(an_event(), region="region-z")
    assert answer.status_code == 400
    assert "region-a, region-b" in answer.json()["detail"]


@pytest.mark.both_modes
async def test_ten_thousand_events_with_repeats_and_disorder_become_one_row_each_in_order(fleet: Fleet) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    run = uuid.uuid4()
    sent: dict[str, dict[str, Any]] = {}

    async def write(region: str, batches: int) -> None:
        for _ in range(batches):
            batch = []
            for _ in range(250):
                disorder_ms = chance.randrange(800) if chance.random() < 0.1 else 0
                time = datetime.now(UTC) - timedelta(milliseconds=disorder_ms)
                batch.append(an_event(f"{run}-{chance.randrange(200)}", time=time, message=f"seed {seed}"))
            repeated = [event for event in batch if chance.random() < 0.1]
            answer = await fleet.post(batch + repeated, region=region, batch=True)
            assert answer.status_code == 202, answer.text
            assert answer.json()["accepted"] == len(batch) + len(repeated)
            sent.update({event["eventId"]: event for event in batch})
            # Some clients ask the other region again with the same identities.
            if chance.random() < 0.1:
                other = REGIONS[1 - REGIONS.index(region)]
                assert (await fleet.post(batch, region=other, batch=True)).status_code == 202

    await asyncio.gather(*(write(region, 20) for region in REGIONS))
    await fleet.rows(sent, within_s=60)
    rows = await fleet.query("SELECT * FROM logs WHERE correlation_id LIKE $1 || '%' ORDER BY seq", str(run))

    assert len(sent) == 10_000
    assert sorted(str(row["event_id"]) for row in rows) == sorted(sent), f"seed {seed}"
    assert in_order(rows), f"seed {seed}"
    late = [row for row in rows if row["late"]]
    for row in late:
        was_old = row["received_at"] - row["event_time"] > timedelta(seconds=1)
        assert (row["late_reason"] == "delayed") == was_old, f"{row}, seed {seed}"


async def test_the_same_event_posted_to_both_regions_is_stored_once(fleet: Fleet) -> None:
    events = [an_event(f"both-{i}") for i in range(50)]
    for region in (*REGIONS, *REGIONS):
        assert (await fleet.post(events, region=region, batch=True)).status_code == 202
    mark = an_event("mark")
    await fleet.post(mark, region="region-b")
    await fleet.rows([mark["eventId"]])
    rows = await fleet.rows([event["eventId"] for event in events])

    assert len(rows) == 50


async def test_a_late_event_is_flagged_with_how_late_and_why(fleet: Fleet) -> None:
    await fleet.post(an_event("on-time"))
    event = an_event("late", time=datetime.now(UTC) - timedelta(seconds=90))
    await eventually(lambda: fleet.post(an_event("on-time")), "traffic")
    before = await fleet.counter("consumer-a", "reorder_late_arrivals_total", reason="delayed")
    await fleet.post(event, region="region-a")
    [row] = await fleet.rows([event["eventId"]])

    assert (row["late"], row["late_reason"]) == (True, "delayed")
    # The watermark was somewhere between the event and the moment at which it was stored.
    assert 0 < row["late_by_ms"] <= (row["stored_at"] - row["event_time"]) / timedelta(milliseconds=1) + 1
    if row["stored_by"].startswith("region-a/"):
        # A consumer counts a row after it has committed it, so the row can be seen before.
        async def counted() -> bool:
            return await fleet.counter("consumer-a", "reorder_late_arrivals_total", reason="delayed") == before + 1

        await eventually(counted, "the late event is counted")


async def test_a_poison_record_reaches_the_dead_letter_topic_with_its_reason(fleet: Fleet) -> None:
    poison = f"poison {uuid.uuid4()}".encode()
    producer = AIOKafkaProducer(**to_kafka(fleet.at.kafka["region-a"]), acks="all")
    await producer.start()
    try:
        place = await producer.send_and_wait("logs", value=poison, key=b"poison")
    finally:
        await producer.stop()
    letter = await find_record(fleet.at.kafka["region-a"], "logs-dlq", poison)

    headers = dict(letter.headers)
    assert letter.key == b"poison"
    assert headers["reason"].startswith(b"malformed: not valid JSON")
    assert (headers["source-topic"], int(headers["source-offset"])) == (b"logs", place.offset)
    event = an_event("after-poison")
    await fleet.post(event, region="region-a")
    await fleet.rows([event["eventId"]])


TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


async def test_a_traceparent_is_a_header_of_the_record_of_its_copy_and_of_a_dead_letter(fleet: Fleet) -> None:
    event = an_event("traced")
    answer = await fleet.http.post(
        f"{fleet.at.gateway}/api/logs", json=event, headers={"X-Region": "region-a", "traceparent": TRACEPARENT}
    )
    assert answer.json()["region"] == "region-a"
    poison = f"poison {uuid.uuid4()}".encode()
    producer = AIOKafkaProducer(**to_kafka(fleet.at.kafka["region-a"]), acks="all")
    await producer.start()
    try:
        await producer.send_and_wait("logs", value=poison, headers=[("traceparent", TRACEPARENT.encode())])
    finally:
        await producer.stop()

    id_bytes = event["eventId"].encode()
    records = [
        await find_record(fleet.at.kafka["region-a"], "logs", id_bytes),
        await find_record(fleet.at.kafka["region-b"], "region-a.logs", id_bytes),
        await find_record(fleet.at.kafka["region-a"], "logs-dlq", poison),
    ]
    assert [dict(record.headers)["traceparent"] for record in records] == [TRACEPARENT.encode()] * 3


async def test_when_a_regions_producer_dies_the_other_region_serves_and_the_answer_says_so(fleet: Fleet) -> None:
    before = await fleet.counter("gateway", "gateway_routing_fallbacks_total", from_region="region-a")
    await fleet.control("stop", "producer-a")
    try:
        events = [an_event(f"failover-{i}") for i in range(20)]
        for event in events:
            answer = await fleet.post(event, region="region-a")
            assert answer.status_code == 202
            assert (answer.json()["region"], answer.json()["failover"]) == ("region-b", True)
            assert answer.headers["X-Failover"] == "true"
    finally:
        await fleet.control("start", "producer-a")
    after = await fleet.counter("gateway", "gateway_routing_fallbacks_total", from_region="region-a")
    rows = await fleet.rows([event["eventId"] for event in events])

    assert after - before == 20
    assert {row["origin_region"] for row in rows} == {"region-b"}

    async def home_again() -> bool:
        return bool((await fleet.post(an_event(), region="region-a")).json()["region"] == "region-a")

    await eventually(home_again, "region-a is used again")


async def test_events_of_a_region_whose_consumer_is_down_arrive_through_the_mirror(fleet: Fleet) -> None:
    await fleet.control("stop", "consumer-a")
    try:
        events = [an_event(f"mirrored-{i}") for i in range(20)]
        assert (await fleet.post(events, region="region-a", batch=True)).status_code == 202
        rows = await fleet.rows([event["eventId"] for event in events])
    finally:
        await fleet.control("start", "consumer-a")

    assert len(rows) == 20
    assert all(row["stored_by"].startswith("region-b/") for row in rows)
    assert {row["origin_region"] for row in rows} == {"region-a"}


PARTS = (
    "gateway",
    "producer-a",
    "producer-b",
    "consumer-a",
    "consumer-b",
    "kafka-a",
    "kafka-b",
    "mirror-to-a",
    "mirror-to-b",
    "postgres",
    "redis",
)


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("verb", ["kill", pytest.param("restart", marks=pytest.mark.compose)])
async def test_no_acknowledged_event_is_lost_or_doubled_when_a_part_dies(fleet: Fleet, part: str, verb: str) -> None:
    async with steady_writers(fleet) as acknowledged:
        await eventually(lambda: len(acknowledged) > 50, "events flow")
        await fleet.control(verb, part)
        count = len(acknowledged)
        await eventually(lambda: len(acknowledged) > count + 100, "events flow again", within_s=60)
        await fleet.all_ready()
    rows = await fleet.rows(acknowledged, within_s=90)

    assert len(rows) == len(acknowledged)
    assert in_order(rows)


SILENT_S = {
    # Longer than the gateway's patience with an attempt: it must go elsewhere meanwhile.
    "producer-a": 8,
    "kafka-a": 12,
    # Longer than the group's session: another consumer owns the partitions when it comes back as a zombie.
    "consumer-a": 15,
    "mirror-to-b": 8,
    "postgres": 8,
    "redis": 8,
}


# How a part is suspended depends on the mode; what comes of it does not.
ALSO_ON_COMPOSE = ("producer-a",)


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=[pytest.mark.both_modes] * (part in ALSO_ON_COMPOSE)) for part in SILENT_S]
)
async def test_no_acknowledged_event_is_lost_or_doubled_when_a_part_falls_silent(fleet: Fleet, part: str) -> None:
    """Worse than death: connections stay open, new ones are accepted, and none is answered."""
    async with steady_writers(fleet) as acknowledged:
        await eventually(lambda: len(acknowledged) > 50, "events flow")
        await fleet.control("suspend", part)
        try:
            count = len(acknowledged)
            await asyncio.sleep(SILENT_S[part])
            await eventually(lambda: len(acknowledged) > count + 20, "the other region serves")
        finally:
            await fleet.control("resume", part)
        await fleet.all_ready()
    rows = await fleet.rows(acknowledged, within_s=90)

    assert len(rows) == len(acknowledged)
    assert in_order(rows)


ODD_TEXTS = {
    "copy metacharacters": "\\. \\N \t tab, \\t no tab \b\f\v",
    "sql": "'); DROP TABLE logs; -- \" $1 %s {}",
    "line ends": "a\nb\r\nc\u2028d\u0085e",
    "terminal escapes": "\x1b[31mred\x1b[0m \x07 \x7f",
    "right to left": "\u202eabc\u202c \u2066x\u2069",
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f466 \U0001f1e9\U0001f1ea",
    "decomposed": "e\u0301 is not \u00e9",
    "noncharacters": "\uffff \ufdd0 \U0010ffff",
    "byte order mark": "\ufeffx\ufeff",
    "only blanks": "   ",
    "empty": "",
    "long": "x" * 200_000,
}


async def test_accepted_text_comes_back_bit_exact(fleet: Fleet) -> None:
    numbers = {"big": 2**63 - 1, "small": 5e-324, "float": 0.1, "null": None, "yes": True}
    sent = {
        name: an_event(f"odd {text[:50]}", message=text, attributes={"text": text[:1000], **numbers})
        for name, text in ODD_TEXTS.items()
    }
    for name, event in sent.items():
        answer = await fleet.post(event)
        assert answer.status_code == 202, (name, answer.text)
    await fleet.rows([event["eventId"] for event in sent.values()])

    for name, event in sent.items():
        [row] = await fleet.rows([event["eventId"]])
        assert row["message"] == event["message"], name
        assert row["correlation_id"] == event["correlationId"], name
        [stored] = await fleet.query("SELECT attributes FROM logs WHERE event_id = $1", row["event_id"])
        assert json.loads(stored["attributes"]) == event["attributes"], name


async def find_record(kafka: str, topic: str, part: bytes) -> Any:
    """Wait for a record whose value has this part."""
    consumer = AIOKafkaConsumer(**to_kafka(kafka), auto_offset_reset="earliest")
    await consumer.start()
    try:
        consumer.assign([TopicPartition(topic, n) for n in range(6)])

        async def look() -> Any:
            for records in (await consumer.getmany(timeout_ms=500)).values():
                for record in records:
                    if part in (record.value or b""):
                        return record
            return None

        return await eventually(look, f"a record on {topic}")
    finally:
        await consumer.stop()
