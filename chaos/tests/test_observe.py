"""The observer's results from answers of services and of Kafka."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest

from aiokafka.structs import TopicPartition
from pydantic_core import to_json
from uuid_utils.compat import uuid7

from chaos.checker import Place
from chaos.fleet import Addresses
from chaos.observe import Observer, RunRecords
from shared.process.http_client import http_client

SKIPPED = 'consumer_skipped_records_total{{reason="{}",region="region-a",topic="logs"}}'


@pytest.mark.parametrize(("second_process", "told"), [(1.0, 9), (2.0, 14)])
async def test_a_process_that_was_started_again_counts_from_zero_however_far_it_has_come(
    second_process: float, told: float
) -> None:
    shown = [
        {"process_start_time_seconds": 1.0, SKIPPED.format("retention"): 5.0, SKIPPED.format("truncated"): 0.0},
        {
            "process_start_time_seconds": second_process,
            SKIPPED.format("retention"): 7.0,
            SKIPPED.format("truncated"): 2.0,
        },
    ]

    async def counters(*_: object) -> Mapping[str, float]:
        return shown.pop(0)

    async def readiness(*_: object) -> None:
        return

    async with http_client(1) as http:
        observer = Observer(Addresses(), http)
        with patch("chaos.observe.counters", counters), patch("chaos.observe.readiness", readiness):
            for _ in range(2):
                await observer._look_at("consumer-a", "nowhere")

    assert observer.told == {("region-a", "logs"): told}


class Log:
    """A client of one partition. Like Kafka's, it returns no record at all of a fetch with one that it cannot read."""

    def __init__(self, values: Sequence[bytes | None], impassable: set[int]) -> None:
        self._values = values
        self._impassable = impassable
        self._at = 0

    async def position(self, _: TopicPartition) -> int:
        return self._at

    def seek(self, _: TopicPartition, offset: int) -> None:
        self._at = offset

    async def getmany(self, tp: TopicPartition, *, max_records: int, **_: Any) -> dict[TopicPartition, list[Any]]:
        offsets = range(self._at, min(self._at + max_records, len(self._values), self._at + 2))
        if self._impassable & set(offsets):
            raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "as the client says it")
        self._at = offsets.stop
        return {tp: [SimpleNamespace(offset=offset, value=self._values[offset]) for offset in offsets]}


async def test_a_batch_that_the_client_cannot_read_is_passed_over_and_nothing_else() -> None:
    place = Place("region-a", "logs", 0)
    ids = [uuid7() for _ in range(4)]
    values = [to_json({"eventId": str(one), "attributes": {}, "serviceName": "run"}) for one in ids]
    log: Any = Log([*values[:3], b"no text", values[3]], {3})
    records = RunRecords(Addresses(), "run", {})

    await records._pass_over(log, place, 3)

    assert await log.position(TopicPartition("logs", 0)) == 4
    assert [record.event_id for record in records.records] == [one.bytes for one in ids[:3]]


def test_a_letter_names_the_place_that_it_comes_from() -> None:
    headers = [("source-topic", b"region-b.logs"), ("source-partition", b"3"), ("source-offset", b"17")]
    records = RunRecords(Addresses(), "run", {})

    records._take(Place("region-a", "logs-dlq", 0), [SimpleNamespace(value=None, headers=headers)])

    assert records.set_aside == [(Place("region-a", "region-b.logs", 3), 17)]
    assert records.dead_letters == []
