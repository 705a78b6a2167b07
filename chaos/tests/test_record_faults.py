"""The notes that the faults of records and of load make for the checker."""

from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import AsyncMock
from uuid import UUID

import pytest

from pydantic_core import to_json

from chaos import load_faults
from chaos.checker import Place
from chaos.faults import Scene
from chaos.fleet import REGIONS, Addresses
from chaos.protocols import MARK
from chaos.record_faults import _beside, _event_of, _odd, _write
from chaos.traffic import Traffic
from shared.event.model import MAX_EVENT_BYTES
from testbed.raw_kafka import RawKafka, RawRecord


async def a_scene(folder: Path, **changes: Any) -> Scene:
    return Scene(Addresses(), AsyncMock(), Random(1), REGIONS[0], folder, AsyncMock(), **changes)


async def test_each_record_that_is_no_event_is_noted_and_no_other(tmp_path: Path) -> None:
    scene, raw, good = await a_scene(tmp_path), AsyncMock(RawKafka), list[str]()
    raw.produce.side_effect = [10, 20, 30]
    await _write(scene, raw, "logs", 2, [RawRecord(None), RawRecord(_beside(scene, good)), RawRecord(b"[")])
    await _write(scene, raw, "logs", 2, [RawRecord(_beside(scene, good), headers=[(b"\xff", b"1")])])
    await _write(scene, raw, "logs", 2, [RawRecord(b"0" * 100)], codec="gzip")

    place = Place("region-a", "logs", 2)
    assert scene.unreadable == [(place, 10), (place, 12), (place, 30)]
    assert scene.impassable == [(place, 20), (place, 30)]
    assert len(set(good)) == 2


async def test_what_the_library_cannot_read_shares_no_batch_with_another_event(tmp_path: Path) -> None:
    scene = await a_scene(tmp_path)
    for records in _odd(scene, []):
        assert all(scene.service.encode() not in (record.value or b"") for record in records)


@pytest.mark.parametrize("value", [None, b"", b"[", b'{"eventId": "of another client"}'])
def test_a_record_that_is_no_event_of_the_run_belongs_to_no_event(value: bytes | None) -> None:
    assert _event_of("run-7", value) is None


def test_an_event_of_the_run_is_known_by_its_id_or_by_its_mark() -> None:
    named = b'{"eventId":"00000000-0000-0000-0000-000000000001","serviceName":"run-7","attributes":{%s}}'
    mark = UUID(int=2)

    assert _event_of("run-7", named % b"") == UUID(int=1).bytes
    assert _event_of("run-7", named % f'"{MARK}":"{mark.hex}"'.encode()) == mark.bytes


def test_large_events_are_as_large_as_asked_and_the_next_ones_are_not() -> None:
    random = Random(1)
    traffic = Traffic("run", random, lambda: UUID(bytes=random.randbytes(16)))

    large = traffic.large(1_700_000_000_000_000, 200 * 1024)

    assert all(made.valid and made.named for made in large)
    assert all(200 * 1024 <= len(to_json(made.body)) < MAX_EVENT_BYTES for made in large)
    assert all(len(made.body["message"]) <= 300 for made in traffic.batch(50, 1_700_000_000_000_000))


@pytest.mark.parametrize(
    ("held", "resident", "strange"),
    [(128, 300, 0), (160, 356, 0), (161, 300, 1), (100, 357, 1), (161, 357, 2)],
)
async def test_a_consumer_that_holds_more_than_it_may_is_a_finding(
    tmp_path: Path, held: int, resident: int, strange: int
) -> None:
    mib, scene, memory = 2**20, await a_scene(tmp_path), load_faults._Memory()
    memory.idle = {"consumer-a": 100.0 * mib}
    memory.resident = {"consumer-a": float(resident * mib)}
    memory.held = {"consumer-a": float(held * mib)}

    load_faults._tell(scene, memory, 128 * mib)

    assert len(scene.strange) == strange
    assert scene.remarks == [f"consumer-a held {held} MiB of 128, grew by {resident - 100} MiB"]


async def test_as_many_large_events_are_sent_as_the_fault_says(tmp_path: Path) -> None:
    sent: list[str] = []

    async def send(region: str, _event_bytes: int) -> int:
        sent.append(region)
        return 4

    await load_faults._send_all(await a_scene(tmp_path, send_large=send))

    assert len(sent) * 4 == load_faults._LARGE_EVENTS
    assert set(sent) <= set(REGIONS)
