"""Replication: how the gateway asks the consumers, and shows the answers in metrics, log lines and its API."""

import asyncio

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

import httpx
import pytest

from asgi_lifespan import LifespanManager
from structlog.testing import capture_logs

from gateway.app import create_app
from gateway.tests.fleet import metric, producers, settings
from shared.wire.replication import Copies, OffsetRange, RegionReport
from testbed.patience import eventually

LINK = '{source="region-a",target="region-b"}'


class FakeConsumer(httpx.AsyncBaseTransport):
    """A region's consumer that answers the gateway's questions."""

    def __init__(self, region: str, other: str) -> None:
        self.region = region
        self.other = other
        self.spans = {"logs/0": OffsetRange(beginning=0, end=0), "heartbeats/0": OffsetRange(beginning=0, end=0)}
        self.copied: dict[str, int] = {}
        self.age_s = 0.0
        self.took_s = 0.0
        self.alive = True
        self.answers = 0
        self.topic_ids = {"logs": "first"}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer as the real consumer does."""
        assert request.url.path == "/internal/replication"
        if not self.alive:
            raise httpx.ConnectError("refused")
        self.answers += 1
        copies = Copies(copied=self.copied, noted=self.copied, heartbeat_age_s=0.5)
        report = RegionReport(
            region=self.region,
            age_s=self.age_s,
            took_s=self.took_s,
            spans=self.spans,
            copies={self.other: copies},
            topic_ids=self.topic_ids,
        )
        return httpx.Response(200, content=report.encode())

    def accept(self, events: int) -> None:
        """Add events to the region's log."""
        self.spans["logs/0"] = OffsetRange(beginning=0, end=self.spans["logs/0"].end + events)


@asynccontextmanager
async def watching(
    consumers: Mapping[str, httpx.AsyncBaseTransport], /, **changes: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A gateway that asks these consumers often."""
    quick = {"health_interval_ms": 5, "consumers": {region: f"http://{region}.test" for region in consumers}}
    regions = producers()
    app = create_app(
        settings(regions, **quick | changes),
        transports=regions,
        consumer_transports={f"http://{region}.test/": fake for region, fake in consumers.items()},
        clock=lambda: asyncio.get_running_loop().time(),
    )
    async with LifespanManager(app) as manager:
        transport = httpx.ASGITransport(manager.app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway.test") as client:
            yield client


@pytest.fixture
def consumers() -> dict[str, FakeConsumer]:
    return {
        "region-a": FakeConsumer("region-a", "region-b"),
        "region-b": FakeConsumer("region-b", "region-a"),
    }


async def link(client: httpx.AsyncClient, source: str = "region-a") -> dict[str, Any]:
    answer = await client.get("/api/replication")
    assert answer.status_code == 200
    [found] = [link for link in answer.json()["links"] if link["source"] == source]
    return dict(found)


async def test_each_direction_is_told_with_what_would_be_lost(consumers: dict[str, FakeConsumer]) -> None:
    consumers["region-a"].accept(12)
    consumers["region-b"].copied = {"logs/0": 5}
    async with watching(consumers) as client:

        async def seen() -> bool:
            return bool((await link(client))["lagRecords"] == 7)

        await eventually(seen, "the lag is known")
        there, back = await link(client), await link(client, "region-b")

    assert (there["target"], there["exposedRecords"]) == ("region-b", 7)
    assert datetime.fromisoformat(there["exposedAsOf"]).tzinfo is not None
    assert there["heartbeatAgeSeconds"] == pytest.approx(0.5, abs=0.3)
    assert "7 events behind" in there["detail"]
    assert (back["target"], back["up"], back["exposedRecords"], back["splitSince"]) == ("region-a", True, 0, None)


async def test_the_metrics_say_the_same(consumers: dict[str, FakeConsumer]) -> None:
    consumers["region-a"].accept(12)
    consumers["region-b"].copied = {"logs/0": 5}
    async with watching(consumers) as client:

        async def seen() -> bool:
            return await metric(client, f"replication_lag_records{LINK}") == 7

        await eventually(seen, "the lag is known")
        consumers["region-b"].copied = {"logs/0": 12}

        async def all_copied() -> bool:
            return await metric(client, f"replication_up{LINK}") == 1

        await eventually(all_copied, "it is up")
        assert await metric(client, f"replication_lag_seconds{LINK}") < 1
        assert await metric(client, f"replication_heartbeat_age_seconds{LINK}") < 10
        text = (await client.get("/metrics")).text

    assert f"replication_gap_records_total{LINK} 0.0" in text
    assert f"replication_resets_total{LINK} 0.0" in text


async def test_a_consumer_that_does_not_answer_is_named_and_ages(consumers: dict[str, FakeConsumer]) -> None:
    consumers["region-a"].age_s = 60
    async with watching(consumers) as client:
        await eventually(lambda: _answered(consumers["region-a"]), "it was asked")
        consumers["region-a"].alive = False

        async def seen() -> bool:
            regions = (await client.get("/api/replication")).json()["regions"]
            return bool(regions[0]["trouble"])

        await eventually(seen, "the trouble is told")
        there = await link(client)

    assert not there["up"]
    assert there["lagSeconds"] >= 60
    assert there["splitSince"]
    assert "what region-a holds was last seen 60 s ago (no connection: refused)" in there["detail"]


async def test_before_anything_was_seen_it_says_so(consumers: dict[str, FakeConsumer]) -> None:
    consumers["region-a"].alive = False
    async with watching(consumers) as client:
        there = await link(client)
        lag = await metric(client, f"replication_lag_records{LINK}")

    assert (there["up"], there["lagRecords"], there["exposedRecords"]) == (False, None, None)
    assert "what region-a holds was never seen" in there["detail"]
    assert lag != lag  # noqa: PLR0124 - not a number


async def test_there_is_one_line_a_direction_for_people(consumers: dict[str, FakeConsumer]) -> None:
    consumers["region-a"].alive = False
    async with watching(consumers) as client:

        async def told() -> bool:
            text = (await client.get("/api/replication", headers={"Accept": "text/plain"})).text
            return "region-b -> region-a  DOWN since " in text and text.count("\n") == 2

        await eventually(told, "both lines")
        consumers["region-a"].alive = True

        async def up() -> bool:
            text = (await client.get("/api/replication", headers={"Accept": "text/plain"})).text
            return "region-b -> region-a  up, 0." in text

        await eventually(up, "it is up")


async def test_events_that_are_gone_are_counted_and_a_line_says_which(consumers: dict[str, FakeConsumer]) -> None:
    consumers["region-a"].accept(12)
    consumers["region-b"].copied = {"logs/0": 5}
    with capture_logs() as lines:
        async with watching(consumers) as client:
            await eventually(lambda: _answered(consumers["region-b"]), "positions are known")
            consumers["region-a"].spans["logs/0"] = OffsetRange(beginning=9, end=12)

            async def counted() -> bool:
                return await metric(client, f"replication_gap_records_total{LINK}") == 4

            await eventually(counted, "the gap is counted")
            consumers["region-b"].copied = {"logs/0": 2}

            async def reset() -> bool:
                return await metric(client, f"replication_resets_total{LINK}") == 1

            await eventually(reset, "the reset is counted")

    [gap] = [line for line in lines if line["event"] == "events were removed before they were copied"]
    assert (gap["log_level"], gap["partition"], gap["first"], gap["count"]) == ("error", "logs/0", 5, 4)
    [back] = [line for line in lines if line["event"] == "copying begins anew"]
    assert (back["partition"], back["before"], back["after"]) == ("logs/0", 5, 2)


async def test_what_is_copied_while_a_consumer_reads_its_report_is_no_sign_of_a_new_log(
    consumers: dict[str, FakeConsumer],
) -> None:
    """A busy consumer read the positions 29 s after it began, and the source's end was read between."""
    source, target = consumers["region-a"], consumers["region-b"]
    source.accept(7)
    source.age_s = 1000
    target.copied = {"logs/0": 8}
    target.age_s, target.took_s = 1010, 1009
    async with watching(consumers) as client:
        await eventually(lambda: _more(source, 5), "it was asked several times")
        await eventually(lambda: _more(target, 5), "it was asked several times")
        assert await metric(client, f"replication_rewritten_total{LINK}") == 0
        source.accept(1)
        source.age_s = target.age_s = target.took_s = 0

        async def up() -> bool:
            return bool((await link(client))["exposedRecords"] == 0)

        await eventually(up, "all is copied")
        assert await metric(client, f"replication_rewritten_total{LINK}") == 0
        assert await metric(client, f"replication_gap_records_total{LINK}") == 0


async def test_the_consumer_of_another_region_is_no_witness(consumers: dict[str, FakeConsumer]) -> None:
    swapped = {"region-a": consumers["region-b"], "region-b": consumers["region-a"]}
    async with watching(swapped) as client:

        async def told() -> bool:
            regions = (await client.get("/api/replication")).json()["regions"]
            return bool(regions[0]["trouble"] == "it is the consumer of region-b")

        await eventually(told, "the mistake is told")


async def test_what_is_no_report_is_told_as_trouble(consumers: dict[str, FakeConsumer]) -> None:
    nonsense = httpx.MockTransport(lambda _: httpx.Response(200, text="<html>"))
    async with watching({**consumers, "region-a": nonsense}) as client:

        async def told() -> bool:
            regions = (await client.get("/api/replication")).json()["regions"]
            return "out of contract" in (regions[0]["trouble"] or "")

        await eventually(told, "the mistake is told")


async def test_without_consumers_there_is_nothing_to_tell() -> None:
    async with watching({}) as client:
        assert (await client.get("/api/replication")).json() == {"regions": [], "links": []}


async def test_the_answer_is_documented(consumers: dict[str, FakeConsumer]) -> None:
    async with watching(consumers) as client:
        schema = (await client.get("/openapi.json")).json()
    fields = schema["components"]["schemas"]["LinkView"]["properties"]

    assert "/api/replication" in schema["paths"]
    assert {"up", "lagSeconds", "lagRecords", "splitSince", "exposedRecords", "heartbeatAgeSeconds"} <= fields.keys()


async def test_a_topic_that_was_made_anew_is_counted_and_a_line_says_which(consumers: dict[str, FakeConsumer]) -> None:
    consumers["region-a"].accept(12)
    consumers["region-b"].copied = {"logs/0": 12}
    with capture_logs() as lines:
        async with watching(consumers) as client:
            await eventually(lambda: _answered(consumers["region-b"]), "positions are known")
            consumers["region-a"].topic_ids = {"logs": "second"}
            consumers["region-a"].accept(8)

            async def counted() -> bool:
                return await metric(client, f"replication_rewritten_total{LINK}") == 1

            await eventually(counted, "it is counted")
            assert (await link(client))["lagRecords"] == 20

    [line] = [line for line in lines if line["event"] == "the log is not the one that was copied"]
    assert (line["log_level"], line["partition"], line["copied"], line["end"]) == ("error", "logs/0", 12, 20)


def two_of_b(consumers: Mapping[str, FakeConsumer]) -> tuple[dict[str, FakeConsumer], dict[str, Any]]:
    """Give region-b a second consumer. Return all of them by name, and the setting that names their addresses."""
    fakes = {**consumers, "other": FakeConsumer("region-b", "region-a")}
    names = "region-a=http://region-a.test,region-b=http://region-b.test,region-b=http://other.test"
    return fakes, {"consumers": names}


async def test_of_several_consumers_of_a_region_none_hides_what_another_has_seen(
    consumers: dict[str, FakeConsumer],
) -> None:
    """One consumer has not read the newest position yet. That is no position that went back, and hides no gap."""
    fakes, setting = two_of_b(consumers)
    fakes["region-a"].accept(20)
    fakes["region-b"].copied, fakes["other"].copied = {"logs/0": 15}, {"logs/0": 11}
    async with watching(fakes, **setting) as client:

        async def seen() -> bool:
            return bool((await link(client))["lagRecords"] == 5)

        await eventually(seen, "the furthest position")
        answers = fakes["other"].answers
        await eventually(lambda: _more(fakes["other"], answers + 10), "both answer again and again")
        fakes["region-a"].spans["logs/0"] = OffsetRange(beginning=18, end=20)

        async def counted() -> bool:
            return await metric(client, f"replication_gap_records_total{LINK}") == 3

        await eventually(counted, "the gap")
        assert await metric(client, f"replication_resets_total{LINK}") == 0
        assert await seen_as(client, "region-b") is None


async def test_one_of_several_consumers_is_enough(consumers: dict[str, FakeConsumer]) -> None:
    fakes, setting = two_of_b(consumers)
    fakes["region-a"].accept(20)
    fakes["other"].copied = {"logs/0": 15}
    fakes["region-b"].alive = False
    async with watching(fakes, **setting) as client:

        async def seen() -> bool:
            return bool((await link(client))["lagRecords"] == 5)

        await eventually(seen, "the position of the one that answers")
        assert await seen_as(client, "region-b") is None
        fakes["other"].alive = False

        async def silent() -> bool:
            return "refused" in (await seen_as(client, "region-b") or "")

        await eventually(silent, "none answers")


async def seen_as(client: httpx.AsyncClient, region: str) -> str | None:
    regions = (await client.get("/api/replication")).json()["regions"]
    return next((str(seen["trouble"]) if seen["trouble"] else None) for seen in regions if seen["region"] == region)


def test_a_region_may_be_named_as_often_as_it_has_consumers() -> None:
    named = settings(producers(), consumers="region-a=http://a:1,region-b=http://b:1,region-b=http://c:1").consumers

    assert {region: [str(url) for url in urls] for region, urls in named.items()} == {
        "region-a": ["http://a:1/"],
        "region-b": ["http://b:1/", "http://c:1/"],
    }
    with pytest.raises(ValueError, match="must be written as NAME=URL"):
        settings(producers(), consumers="http://a:1")


def test_a_consumer_of_no_region_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="consumers names region-z, which regions does not"):
        settings(producers(), consumers={"region-z": "http://z.test"})


async def _more(consumer: FakeConsumer, answers: int) -> bool:
    return consumer.answers > answers


async def _answered(consumer: FakeConsumer) -> bool:
    return consumer.answers > 2


async def test_a_record_that_holds_up_its_partition_is_told_wherever_the_link_is(
    consumers: dict[str, FakeConsumer],
) -> None:
    source, target = consumers["region-a"], consumers["region-b"]
    source.accept(12)
    target.copied = {"logs/0": 5, "heartbeats/0": 0}
    async with watching(consumers, health_interval_ms=1000) as client:
        with capture_logs() as lines:

            async def told() -> bool:
                target.copied = target.copied | {"heartbeats/0": target.copied["heartbeats/0"] + 1}
                return bool((await link(client))["stoppedAt"])

            await eventually(told, "it is told", within_s=120)
        found = await link(client)
        line = (await client.get("/api/replication", headers={"accept": "text/plain"})).text
        assert await metric(client, f"replication_stopped_partitions{LINK}") == 1
        assert await metric(client, f"replication_up{LINK}") == 0

    assert (found["up"], found["stoppedAt"], bool(found["splitSince"])) == (False, {"logs/0": 5}, True)
    assert "DOWN since" in line
    assert "holds up logs/0 at offset 5" in line
    [error] = [entry for entry in lines if entry["log_level"] == "error"]
    assert (error["partition"], error["offset"]) == ("logs/0", 5)
