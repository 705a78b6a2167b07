"""Tenants that send too much: 429 in each protocol's form, before anything is sent on; and syslog, which cannot be told."""

import asyncio
import gzip
import json

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from gateway.metrics import GatewayMetrics
from gateway.protocols.portions import PORTION_EVENTS
from gateway.quotas.limits import Limits
from gateway.quotas.meters import MAX_LABELS, OTHER, TenantMeters
from gateway.tests.fleet import AWAY, EVENT, FakeProducer, gateway, metric, producers
from gateway.tests.front_door import FINE_NS, NAMES, WAYS, Line, Way, send
from shared.access.watched import EVERY_S
from shared.ingest.quota import LARGE_BYTES
from shared.process.metrics import new_registry
from shared.wire.problem import TooManyRequestsError
from testbed.patience import eventually

BATCH = "/api/logs/batch"
ONE = "/api/logs"
JSON = {"content-type": "application/json"}


@pytest.fixture
def quota(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Returns settings of a gateway whose only tenant may do what these lines say."""

    def settings(lines: str, **more: Any) -> dict[str, Any]:
        file = tmp_path / "tenants.toml"
        file.write_text(f"[tenant.default]\n{lines}\n")
        return {"tenants_file": str(file), **more}

    return settings


@pytest.fixture(params=WAYS, ids=NAMES)
def way(request: pytest.FixtureRequest) -> Way:
    way: Way = request.param
    return way


Quota = Callable[..., dict[str, Any]]


def lines(number: int, size: int = 9) -> list[Line]:
    return [Line(f"{index:0{size}d}", FINE_NS + index) for index in range(number)]


def events(number: int, **changes: Any) -> list[dict[str, Any]]:
    return [{**EVENT, "message": f"message {index}", **changes} for index in range(number)]


def written(regions: dict[str, FakeProducer]) -> int:
    return sum(len(region.written) for region in regions.values())


async def test_a_batch_is_taken_whole_or_refused_whole_and_who_waits_succeeds(quota: Quota) -> None:
    regions = producers()
    async with gateway(regions, **quota("events_per_second = 10\nburst_seconds = 2")) as client:
        assert (await client.post(BATCH, json=events(15))).status_code == 202
        refused = await client.post(BATCH, json=events(15))

        assert refused.status_code == 429
        assert written(regions) == 15
        assert refused.headers["content-type"] == "application/problem+json"
        assert refused.headers["retry-after"] == "1"
        assert refused.headers["ratelimit"] == '"events";r=5;t=1'
        assert refused.headers["ratelimit-policy"] == '"events";q=20;w=2;qu="events"'
        told = refused.json()
        assert (told["status"], told["retryable"], told["tenant"], told["quota"]) == (429, True, "default", "events")
        assert "items" not in told

        await asyncio.sleep(int(refused.headers["retry-after"]))
        assert (await client.post(BATCH, json=events(15))).status_code == 202
        assert written(regions) == 30
        assert await metric(client, 'gateway_quota_refused_total{quota="events",tenant="default"}') == 1
        assert await metric(client, 'gateway_tenant_events_total{tenant="default"}') == 30


async def test_single_posts_have_the_rate_and_the_burst_and_no_more(quota: Quota) -> None:
    regions = producers()
    async with gateway(regions, **quota("events_per_second = 5\nburst_seconds = 2")) as client:
        taken = 0
        for _ in range(100):
            taken += (await client.post(ONE, json=EVENT)).status_code == 202
            await asyncio.sleep(0.1)

    assert 55 <= taken <= 61
    assert written(regions) == taken


async def test_what_is_spent_is_told_before_the_body_comes(quota: Quota) -> None:
    async with gateway(producers(), **quota("bytes_per_second = 1000\nburst_seconds = 10")) as client:
        one = json.dumps(events(1)).encode()
        assert (await client.post(BATCH, content=b" " * 9000 + one, headers=JSON)).status_code == 202
        was_read = False

        async def body() -> AsyncIterator[bytes]:
            nonlocal was_read
            was_read = True
            yield b" " * 5000

        large = await client.post(BATCH, content=body(), headers={**JSON, "content-length": "500000"})
        assert (large.status_code, was_read) == (429, False)
        headers = {**JSON, "content-length": "5000"}
        refused = await client.post(BATCH, content=body(), headers=headers)

    assert not was_read
    assert (refused.status_code, refused.json()["quota"]) == (429, "bytes")
    assert 3 <= int(refused.headers["retry-after"]) <= 5


async def test_a_large_body_is_refused_by_its_size_after_decompression_before_it_is_read(quota: Quota) -> None:
    async with gateway(producers(), **quota("bytes_per_second = 100_000\nburst_seconds = 10")) as client:
        large = gzip.compress(b"[" + b" " * 900_000 + b"x")
        headers = {**JSON, "content-encoding": "gzip"}
        # It is no JSON, and its client pays for that.
        assert (await client.post(BATCH, content=large, headers=headers)).status_code == 400
        refused = await client.post(BATCH, content=large, headers=headers)
        small = await client.post(ONE, json=EVENT)

    assert len(large) < LARGE_BYTES
    assert (refused.status_code, refused.json()["quota"]) == (429, "bytes")
    assert small.status_code == 202


async def test_requests_under_way_are_counted_from_their_heads_to_their_answers(quota: Quota) -> None:
    regions = producers("region-a")
    gate = regions["region-a"].hold()
    async with gateway(regions, health_interval_ms=3_600_000, **quota("requests_in_flight = 2")) as client:
        two = [asyncio.create_task(client.post(ONE, json=EVENT)) for _ in range(2)]
        await asyncio.sleep(0.1)
        third = await client.post(ONE, json=EVENT)
        gate.set()

        assert (third.status_code, third.json()["quota"], third.headers["retry-after"]) == (429, "requests", "1")
        assert third.headers["ratelimit-policy"] == '"requests";q=2;qu="concurrent-requests"'
        assert [(await post).status_code for post in two] == [202, 202]
        assert (await client.post(ONE, json=EVENT)).status_code == 202


async def test_a_request_beyond_the_burst_is_taken_when_the_burst_is_whole(quota: Quota) -> None:
    async with gateway(producers(), **quota("events_per_second = 10\nburst_seconds = 1")) as client:
        assert (await client.post(BATCH, json=events(50))).status_code == 202
        refused = await client.post(BATCH, json=events(50))
        assert refused.status_code == 429
        await asyncio.sleep(int(refused.headers["retry-after"]))
        again = await client.post(BATCH, json=events(50))
        if again.status_code == 429:  # before its body came, the number of events was not known
            await asyncio.sleep(int(again.headers["retry-after"]))
            again = await client.post(BATCH, json=events(50))
        assert again.status_code == 202


async def test_what_no_region_took_is_not_paid_for(quota: Quota) -> None:
    regions = producers()
    limits = quota(
        "events_per_second = 1\nburst_seconds = 20\nbytes_per_day = 4000", circuit_failures=100_000, deadline_ms=300
    )
    async with gateway(regions, **limits) as client:
        for region in regions.values():
            region.outcome = lambda _: AWAY
        for _ in range(3):
            assert (await client.post(BATCH, json=events(20))).status_code == 503
        for region in regions.values():
            region.recover()
        assert (await client.post(BATCH, json=events(20))).status_code == 202
        assert (await client.post(BATCH, json=events(20))).status_code == 429


async def test_a_days_bytes_end_at_midnight(quota: Quota, monkeypatch: pytest.MonkeyPatch) -> None:
    hour_left = 20_000 * 86_400 + 23 * 3600
    loop = asyncio.get_running_loop()
    began = loop.time()
    clocks = (loop.time, lambda: hour_left + loop.time() - began)
    monkeypatch.setattr(TenantMeters.__init__, "__defaults__", clocks)
    async with gateway(producers(), **quota("bytes_per_day = 100")) as client:
        assert (await client.post(ONE, json=EVENT)).status_code == 202
        refused = await client.post(ONE, json=EVENT)
        assert (refused.status_code, refused.json()["quota"]) == (429, "day")
        assert int(refused.headers["retry-after"]) == pytest.approx(3600, abs=1)
        await asyncio.sleep(int(refused.headers["retry-after"]))
        assert (await client.post(ONE, json=EVENT)).status_code == 202


async def test_events_that_are_too_old_or_too_new_are_refused_one_by_one(quota: Quota) -> None:
    regions = producers()
    now = datetime.now(UTC)
    old, new, fine = (
        {
            **EVENT,
            "timestamp": (now + timedelta(days=days)).isoformat(),
            "eventId": f"019a0000-0000-7000-8000-00000000000{place}",
        }
        for place, days in enumerate((-8, 1, -6))
    )
    async with gateway(regions, **quota('max_age = "7d"\nmax_future = "10m"')) as client:
        answer = await client.post(BATCH, json=[old, fine, new, EVENT])
        one = await client.post(ONE, json=old)

    assert [item["status"] for item in answer.json()["items"]] == [400, 202, 400, 202]
    assert "older than" in answer.json()["items"][0]["detail"]
    assert one.status_code == 400
    assert one.json()["errors"][0]["field"] == "timestamp"
    assert written(regions) == 2


# ---------------------------------------------------------------- log shippers


async def test_a_shipper_is_held_then_refused_in_its_own_form_and_nothing_is_sent_on(way: Way, quota: Quota) -> None:
    regions = producers()
    loop = asyncio.get_running_loop()
    async with gateway(regions, **quota("events_per_second = 10\nburst_seconds = 1")) as client:
        assert (await send(client, way, *lines(60))).status_code == way.success[0]
        sent = written(regions)
        began = loop.time()
        refused = await send(client, way, *lines(3))

        assert refused.status_code == 429
        assert 1.9 <= loop.time() - began <= 4.1
        assert (refused.headers["content-type"], refused.headers["retry-after"]) == (way.error_type, "2")
        assert int(refused.headers["ratelimit"].rpartition("t=")[2]) >= 3
        assert refused.content
        assert written(regions) == sent == 60

        await asyncio.sleep(3)
        assert (await send(client, way, *lines(3))).status_code == way.success[0]
        assert await metric(client, 'gateway_quota_waited_seconds_total{tenant="default"}') > 0


async def test_a_shipper_that_is_a_little_too_fast_is_slowed_and_never_refused(way: Way, quota: Quota) -> None:
    regions = producers()
    loop = asyncio.get_running_loop()
    async with gateway(regions, **quota("events_per_second = 10\nburst_seconds = 1")) as client:
        began = loop.time()
        for _ in range(8):
            assert (await send(client, way, *lines(10))).status_code == way.success[0]

    assert 6.5 <= loop.time() - began <= 7.6
    assert written(regions) == 80


async def test_requests_of_shippers_wait_for_a_place_among_their_tenants(way: Way, quota: Quota) -> None:
    regions = producers("region-a")
    gate = regions["region-a"].hold()
    async with gateway(regions, health_interval_ms=3_600_000, **quota("requests_in_flight = 1")) as client:
        posts = [asyncio.create_task(send(client, way, Line(f"message {index}"))) for index in range(4)]
        await asyncio.sleep(1)
        assert not any(post.done() for post in posts)
        gate.set()
        assert [(await post).status_code for post in posts] == [way.success[0]] * 4

        gate.clear()
        answers = await asyncio.gather(*(send(client, way, Line(f"later {index}")) for index in range(3)))
        assert sorted(answer.status_code for answer in answers) == [429, 429, 503]


async def test_once_a_portion_was_sent_on_the_rest_follows_and_is_paid_for_later(quota: Quota) -> None:
    way = next(way for way in WAYS if way.name == "ingest")
    regions = producers()
    number = 3 * PORTION_EVENTS
    async with gateway(regions, **quota(f"events_per_second = {PORTION_EVENTS}\nburst_seconds = 1")) as client:
        assert (await send(client, way, *lines(number))).status_code == 200
        assert written(regions) == number
        refused = await client.post(ONE, json=EVENT)

    assert (refused.status_code, refused.headers["retry-after"]) == (429, "2")


async def test_records_without_a_time_keep_it_while_their_request_is_refused(way: Way, quota: Quota) -> None:
    regions = producers()
    async with gateway(regions, **quota("events_per_second = 10\nburst_seconds = 1")) as client:
        for region in regions.values():
            region.behaviour = region.break_off  # written, and the answer is lost
        assert (await send(client, way, Line("beat", 0))).status_code == 503
        for region in regions.values():
            region.recover()
        assert (await send(client, way, *lines(60))).status_code == way.success[0]
        assert (await send(client, way, Line("beat", 0))).status_code == 429
        await asyncio.sleep(8)
        assert (await send(client, way, Line("beat", 0))).status_code == way.success[0]

    beats = [event for region in regions.values() for event in region.written if "beat" in event.message]
    assert len({(event.event_id, event.timestamp) for event in beats}) == 1


async def test_records_of_shippers_are_stored_however_old_they_are_and_counted(way: Way, quota: Quota) -> None:
    regions = producers()
    async with gateway(regions, **quota('max_age = "1d"\nmax_future = "1d"')) as client:
        assert (
            await send(client, way, Line("old", 1_500_000_000_123_456_789), Line("none", 0))
        ).status_code == way.success[0]
        assert await metric(client, 'gateway_records_outside_ages_total{tenant="default"}') == 1

    assert written(regions) == 2


# ---------------------------------------------------------------- the file


async def test_another_file_holds_within_a_second_and_one_that_cannot_be_used_does_not(
    quota: Quota, tmp_path: Path
) -> None:
    file = tmp_path / "tenants.toml"
    async with gateway(producers(), **quota("events_per_second = 1\nburst_seconds = 1")) as client:

        async def taken() -> list[int]:
            await asyncio.sleep(30)
            return [(await client.post(ONE, json=EVENT)).status_code for _ in range(3)]

        assert await taken() == [202, 429, 429]
        file.write_text("[tenant.default]\nevents_per_second = 1\nburst_seconds = 2\n")
        await eventually(lambda: in_force(client, 1), "the file is read", every_s=EVERY_S)
        assert await taken() == [202, 202, 429]
        file.write_text("[tenant.default]\nevents_per_second = 1\nburst_sec")
        await eventually(lambda: in_force(client, 0), "it is told", every_s=EVERY_S)
        ready = await client.get("/ready")
        assert "tenants.toml cannot be used, and what it said before stays in force: it is no TOML" in ready.text
        assert await taken() == [202, 202, 429]
        file.unlink()
        assert await taken() == [202, 202, 429]
        file.write_text("")
        await eventually(lambda: in_force(client, 1), "the file is read", every_s=EVERY_S)
        assert await taken() == [202, 202, 202]


async def in_force(client: httpx.AsyncClient, value: float) -> bool:
    return await metric(client, "gateway_tenants_file_in_force") == value


async def test_a_gateway_starts_with_a_file_that_cannot_be_used_and_tells(tmp_path: Path) -> None:
    file = tmp_path / "tenants.toml"
    file.write_text("[tenant.default]\nevents_per_secon = 1")
    async with gateway(producers(), tenants_file=str(file)) as client:
        assert (await client.post(ONE, json=EVENT)).status_code == 202
        assert await metric(client, "gateway_tenants_file_in_force") == 0
        ready = await client.get("/ready")

    assert ready.status_code == 200
    assert "did you mean events_per_second?" in ready.text


async def test_each_of_several_gateways_takes_its_share(quota: Quota) -> None:
    async with gateway(producers(), **quota("events_per_second = 10\nburst_seconds = 2", count=4)) as client:
        answers = [(await client.post(ONE, json=EVENT)).status_code for _ in range(7)]

    assert answers == [202] * 5 + [429] * 2


def test_at_most_so_many_tenants_have_a_label_of_their_own() -> None:
    metrics = GatewayMetrics(new_registry())
    current = ""
    meters = TenantMeters(lambda: current, metrics, lambda: 0.0, lambda: 0.0)
    meters.use({f"tenant-{number}": Limits(events_per_second=1, burst_s=1) for number in range(MAX_LABELS + 50)})
    for number in range(MAX_LABELS + 50):
        current = f"tenant-{number}"
        meter = meters.find()
        assert meter is not None
        meter.take(1, 1)
        with pytest.raises(TooManyRequestsError):
            meter.take(1, 1)
    current = "stranger"

    assert meters.find() is None
    [totals, _] = metrics.tenant_totals.collect()
    by_tenant = {sample.labels["tenant"]: sample.value for sample in totals.samples}
    assert len(by_tenant) == MAX_LABELS + 1
    assert by_tenant[OTHER] == 50


async def test_without_a_file_no_tenant_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TenantMeters, "find", lambda _: 1 / 0)
    async with gateway(producers()) as client:
        assert (await client.post(ONE, json=EVENT)).status_code == 202
        assert (await client.post("/ingest", content=b"text")).status_code == 200
