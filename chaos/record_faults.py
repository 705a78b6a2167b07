"""Faults of records in Kafka: records that are removed before a consumer has read them, and unreadable records."""

import time

from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition
from pydantic_core import from_json, to_json
from uuid_utils.compat import uuid7

from chaos.checker import Gone, Place
from chaos.faults import Scene, fault, pulled
from chaos.observe import known_by, reader, stored_up_to
from shared.event.model import format_time, from_epoch_us
from shared.wire.regions import LOGS, mirrored_topic
from testbed.access import to_kafka
from testbed.patience import eventually
from testbed.raw_kafka import RawKafka, RawRecord, raw_batch

# Some kilobytes decompress to this size. No consumer may hold so much for one batch.
_BOMB_BYTES: Final = 80 * 2**20


# -- retention, which does not wait for consumers


@fault(
    "retention passes a consumer",
    "a region's consumer is stopped for 6 s, and all records of its own that it has not stored are removed",
    "the copies in the other region bring the events; each record is told as skipped",
)
async def _passes_consumer(scene: Scene) -> None:
    await _pass(scene)


@fault(
    "retention passes consumer and mirror",
    "the same, and the region's link is cut since 3 s before: no consumer and no mirror has read the records",
    "the events are lost, and each record is told as skipped, no more and no less",
)
async def _passes_both(scene: Scene) -> None:
    async with pulled("cut", scene.link(), back=("heal", scene.link())):
        await scene.hold(3)
        await _pass(scene)


@fault(
    "retention passes a suspended consumer",
    "SIGSTOP for 6 s, and all records of its own that it has not stored are removed",
    "it stores what it had read, and tells the rest as skipped, which the copies bring",
)
async def _passes_suspended(scene: Scene) -> None:
    part = scene.part("consumer")
    async with pulled("suspend", part, back=("resume", part)):
        await scene.hold(6)
        await _remove_unstored(scene, unread=False)


async def _pass(scene: Scene) -> None:
    part = scene.part("consumer")
    async with pulled("stop", part, back=("start", part)):
        await scene.hold(6)
        await _remove_unstored(scene, unread=True)


async def _remove_unstored(scene: Scene, *, unread: bool) -> None:
    """Remove all records of the region's own log, and note those that the region's consumer has not stored."""
    connection = await asyncpg.connect(scene.at.postgres)
    try:
        noted = {sample.place: sample.offset for sample in await stored_up_to(connection)}
    finally:
        await connection.close()
    places = [place for place in noted if (place.region, place.topic) == (scene.region, LOGS)]
    tps = [TopicPartition(place.topic, place.partition) for place in places]
    gone: list[Gone] = []
    async with reader(scene.at.kafka[scene.region]) as consumer:
        ends = await consumer.end_offsets(tps)
        left = [tp for tp, place in zip(tps, places, strict=True) if noted[place] < ends[tp]]
        consumer.assign(left)
        for tp in left:
            consumer.seek(tp, noted[Place(scene.region, *tp)])
        while left:
            for tp, records in (await consumer.getmany(*left, timeout_ms=1000)).items():
                place = Place(scene.region, *tp)
                below = [record for record in records if record.offset < ends[tp]]
                gone += [Gone(place, r.offset, _event_of(scene.service, r.value), unread) for r in below]
            left = [tp for tp in left if await consumer.position(tp) < ends[tp]]
    admin = AIOKafkaAdminClient(**to_kafka(scene.at.kafka[scene.region]))
    await admin.start()
    try:
        await admin.delete_records({tp: RecordsToDelete(end) for tp, end in ends.items()})
    finally:
        await admin.close()
    scene.gone += gone
    scene.remarks.append(f"{len(gone)} records removed that it had not stored")


def _event_of(service: str, value: bytes | None) -> bytes | None:
    if value is None or service.encode() not in value:
        return None
    event = from_json(value)
    return known_by(UUID(event["eventId"]), event["attributes"])


# -- records that no well-behaved client writes


@fault(
    "records that nobody can read",
    "no value, no JSON, no UTF-8, a header whose name is no text, 80 MiB in some kilobytes: into `logs` and into the copy",
    "each is set aside with a reason; the good events beside them are stored, and the stream goes on",
)
async def _unreadable(scene: Scene) -> None:
    topics = [LOGS, mirrored_topic(scene.other)]
    good: list[str] = []
    async with RawKafka.connected(scene.at.kafka[scene.region], topics) as raw:
        for topic in topics:
            partition = scene.random.randrange(6)
            batches = [
                [RawRecord(_beside(scene, good))],
                *_odd(scene, good),
                [RawRecord(_beside(scene, good), key=None)],
            ]
            for records in batches:
                await _write(scene, raw, topic, partition, records)
            if topic != LOGS:
                # A mirror decompresses the records it copies, and an event of that size would stop it.
                await _write(scene, raw, topic, partition, [RawRecord(b"0" * _BOMB_BYTES)], codec="gzip")
            await _write(scene, raw, topic, partition, [RawRecord(_beside(scene, good))])
    await _are_stored(scene, good)
    scene.remarks.append(f"{len(scene.unreadable)} unreadable records, {len(good)} good events beside them stored")


def _odd(scene: Scene, good: list[str]) -> list[list[RawRecord]]:
    name = scene.random.choice([b"\xff\xfe", b"\xed\xa0\x80", b"\xc3\x28"])
    return [
        [RawRecord(None)],
        [RawRecord(None, key=None)],
        [RawRecord(b""), RawRecord(b"[" * 5000), RawRecord(b"\xff\xfe"), RawRecord(_beside(scene, good))],
        [RawRecord(scene.random.randbytes(3000), key=None), RawRecord(b'{"serviceName": 1}', key=b"\xff")],
        [RawRecord(_beside(scene, good), headers=[(name, b"1")]), RawRecord(b"null", headers=[(name, None)])],
    ]


async def _write(
    scene: Scene, raw: RawKafka, topic: str, partition: int, records: Sequence[RawRecord], *, codec: str = "none"
) -> None:
    batch = raw_batch(records, codec=codec, timestamp=time.time_ns() // 1_000_000)
    first = await raw.produce(topic, partition, batch)
    place = Place(scene.region, topic, partition)
    offsets = [(place, first + n) for n in range(len(records))]
    scene.unreadable += [at for at, record in zip(offsets, records, strict=True) if not _is_event(record)]
    if codec != "none" or any(record.headers for record in records):
        scene.impassable += offsets


def _is_event(record: RawRecord) -> bool:
    return record.value is not None and b'"eventId"' in record.value


def _beside(scene: Scene, good: list[str]) -> bytes:
    """Return a valid event as it is in Kafka, without an entry in the ledger."""
    identity, now = str(uuid7()), format_time(from_epoch_us(time.time_ns() // 1000))
    good.append(identity)
    event = {
        "eventId": identity,
        "timestamp": now,
        "serviceName": "beside-unreadable-records",
        "level": "INFO",
        "message": "m",
        "correlationId": f"c{len(good)}",
        "attributes": {},
        "receivedAt": now,
        "originRegion": scene.region,
    }
    return to_json(event)


async def _are_stored(scene: Scene, good: Sequence[str]) -> None:
    connection = await asyncpg.connect(scene.at.postgres)

    async def are_all_there() -> bool:
        found = await connection.fetchval("SELECT count(*) FROM logs WHERE event_id = ANY($1::uuid[])", good)
        return bool(found == len(good))

    try:
        await eventually(
            are_all_there, "the good events beside unreadable records are stored", within_s=60, every_s=0.5
        )
    except AssertionError as exc:
        scene.strange.append(str(exc))
    finally:
        await connection.close()
