"""
Whatever is in Kafka, the consumer reads on: each good event around it is stored, each bad record has a letter.

Each test of the fuzzing kind prints its seed; `UNREADABLE_SEED` repeats one, `UNREADABLE_ROUNDS` makes a longer run of it.
"""

import contextlib
import os
import random

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import cramjam
import pytest

from aiokafka.errors import KafkaError
from surroundings import LOCAL, MIRRORED, Surroundings, an_event, committed_offsets, ids, read_all

from consumer.adapters import kafka_screen
from consumer.adapters.kafka_batches import is_plain
from consumer.adapters.kafka_codecs import UNFOLDED_MAX
from consumer.adapters.kafka_unfold import unfold
from consumer.envelope import DEAD_LETTER_REASONS
from testbed.patience import eventually
from testbed.raw_kafka import RawKafka, RawRecord, compress, raw_batch, raw_record, seal, varint

pytestmark = pytest.mark.services

ROUNDS = int(os.environ.get("UNREADABLE_ROUNDS", "60"))
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def milliseconds() -> int:
    return int(datetime.now(UTC).timestamp() * 1000)


@dataclass
class Written:
    """What went into Kafka, and the outcome that each record must have."""

    events: set[object] = field(default_factory=set)
    letters: set[tuple[str, int, int]] = field(default_factory=set)

    def good(self) -> bytes:
        event = an_event(datetime.now(UTC), correlation_id=f"c{len(self.events)}")
        self.events.add(event.event_id)
        return event.encode()


class Fuzz:
    """Makes records that a client may write and a broker takes, however odd."""

    def __init__(self, chance: random.Random, written: Written) -> None:
        self._chance = chance
        self._written = written

    def noise(self, most: int) -> bytes:
        return self._chance.randbytes(self._chance.randrange(most))

    def headers(self) -> Sequence[tuple[bytes, bytes | None]]:
        names = [b"\xff\xfe", b"", b"traceparent", b"a" * 300, b"\xed\xa0\x80", b"\x00", self.noise(20)]
        values = [None, b"", b"\xff" * 10, self.noise(50)]
        return [(self._chance.choice(names), self._chance.choice(values)) for _ in range(self._chance.randrange(4))]

    def record(self) -> tuple[RawRecord, bool]:
        """Return a record, and whether it is an event."""
        keys = [None, b"", b"k", b"\xff\xfe", self.noise(2000)]
        is_good = self._chance.random() < 0.5
        bad = [None, b"", b"null", b"[]", b"{", b"\xff\xfe", b'{"serviceName": 1}', self.noise(5000), b"[" * 5000]
        value = self._written.good() if is_good else self._chance.choice(bad)
        return RawRecord(value, self._chance.choice(keys), self.headers()), is_good

    async def write(self, raw: RawKafka) -> None:
        """Write one batch somewhere."""
        topic, partition = self._chance.choice([LOCAL, MIRRORED]), self._chance.randrange(6)
        made = [self.record() for _ in range(self._chance.randrange(1, 6))]
        batch = raw_batch([record for record, _ in made], codec=self._chance.choice(CODECS), timestamp=milliseconds())
        base = await raw.produce(topic, partition, batch)
        self._written.letters |= {(topic, partition, base + n) for n, (_, is_good) in enumerate(made) if not is_good}


async def letters_of(around: Surroundings) -> list[tuple[tuple[str, int, int], bytes | None, str]]:
    """Return where each letter is from, what it holds, and why."""
    found = []
    for letter in await read_all(around.kafka, "logs-dlq"):
        headers = dict(letter.headers)
        place = (headers["source-topic"].decode(), int(headers["source-partition"]), int(headers["source-offset"]))
        found.append((place, letter.value, headers["reason"].decode()))
    return found


def set_aside(around: Surroundings) -> float:
    return sum(around.counted("consumer_dead_letters_total", reason=reason) for reason in DEAD_LETTER_REASONS)


async def all_is_done(around: Surroundings, written: Written) -> None:
    async def done() -> bool:
        return set(ids(await around.query("SELECT event_id FROM logs"))) == written.events

    await eventually(done, f"{len(written.events)} good events are stored", within_s=60)
    await eventually(lambda: set_aside(around) >= len(written.letters), "the others are set aside", within_s=60)
    assert {place for place, _, _ in await letters_of(around)} == written.letters


async def test_records_of_every_kind_are_stored_or_set_aside(around: Surroundings) -> None:
    seed = int(os.environ.get("UNREADABLE_SEED") or random.randrange(2**32))
    print(f"UNREADABLE_SEED={seed}")  # noqa: T201 - shown with a failure
    written = Written()
    fuzz = Fuzz(random.Random(seed), written)

    async with RawKafka.connected(around.kafka, [LOCAL, MIRRORED]) as raw, around.consumer() as service:
        for _ in range(ROUNDS):
            await fuzz.write(raw)
        await all_is_done(around, written)
        assert service.readiness().ready


async def test_an_event_under_a_header_with_a_name_that_is_no_text_is_stored(around: Surroundings) -> None:
    """The other region stores it too: MirrorMaker corrects the name."""
    written = Written()
    odd = [
        RawRecord(written.good()),
        RawRecord(written.good(), headers=[(b"\xff\xfe", b"1")]),
        RawRecord(written.good()),
    ]

    async with RawKafka.connected(around.kafka, [LOCAL]) as raw, around.consumer():
        for records in (odd, [RawRecord(written.good())]):
            await raw.produce(LOCAL, 0, raw_batch(records, timestamp=milliseconds()))
        await all_is_done(around, written)


@pytest.mark.parametrize("codec", ["gzip", "zstd"])
async def test_a_batch_that_unfolds_to_more_than_anybody_holds_is_set_aside_whole(
    around: Surroundings, codec: str
) -> None:
    written = Written()
    bomb = raw_batch([RawRecord(b"0" * (UNFOLDED_MAX + 1))], codec=codec, timestamp=milliseconds())

    async with RawKafka.connected(around.kafka, [LOCAL]) as raw, around.consumer():
        await raw.produce(LOCAL, 0, raw_batch([RawRecord(written.good())], timestamp=milliseconds()))
        offset = await raw.produce(LOCAL, 0, bomb)
        written.letters.add((LOCAL, 0, offset))
        await raw.produce(LOCAL, 0, raw_batch([RawRecord(written.good())], timestamp=milliseconds()))
        await all_is_done(around, written)

    [(_, value, reason)] = await letters_of(around)
    assert value is not None
    assert bomb[21:] in value, "nothing of it is lost"
    assert reason.startswith("unreadable: unfolds to more than")


async def test_a_damaged_batch_is_set_aside_and_what_is_behind_it_is_read(
    around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a disk may damage it; a broker sends what it has, without a look at the checksum."""
    written = Written()

    def damaged(data: bytes) -> bytes:
        return data.replace(b"damage here", b"damage Here")

    monkeypatch.setattr(kafka_screen, "is_plain", lambda data: b"damage here" not in data and is_plain(data))
    monkeypatch.setattr(
        kafka_screen,
        "unfold",
        lambda data, position, end, thorough: unfold(damaged(data), position, end, thorough=thorough),
    )
    async with RawKafka.connected(around.kafka, [LOCAL]) as raw, around.consumer():
        for sent in (written.good(), b"damage here", written.good()):
            offset = await raw.produce(LOCAL, 0, raw_batch([RawRecord(sent)], timestamp=milliseconds()))
            if sent == b"damage here":
                written.letters.add((LOCAL, 0, offset))
        await all_is_done(around, written)

    [(_, value, reason)] = await letters_of(around)
    assert b"damage Here" in (value or b"")
    assert "checksum" in reason


@pytest.mark.parametrize("size", [1_500_000, 3_000_000])
async def test_of_a_record_that_no_letter_holds_place_size_and_hash_are_set_aside(
    kafka: str, postgres: str, redis_url: str, size: int
) -> None:
    """The dead-letter topic here takes what topics take by default, `logs` takes more."""
    around = Surroundings(kafka, postgres, redis_url)
    await around.prepare()
    await around.configure(LOCAL, {"max.message.bytes": str(10 * 1024 * 1024)})
    written = Written()

    async with RawKafka.connected(around.kafka, [LOCAL]) as raw, around.consumer():
        offset = await raw.produce(LOCAL, 0, raw_batch([RawRecord(b"x" * size)], timestamp=milliseconds()))
        written.letters.add((LOCAL, 0, offset))
        await raw.produce(LOCAL, 0, raw_batch([RawRecord(written.good())], timestamp=milliseconds()))
        await all_is_done(around, written)

    [(_, value, reason)] = await letters_of(around)
    assert value is None
    assert f"a value of {size} bytes, sha256" in reason


async def test_while_nobody_takes_dead_letters_the_stream_goes_on_and_the_letters_wait(
    kafka: str, postgres: str, redis_url: str
) -> None:
    around = Surroundings(kafka, postgres, redis_url)
    await around.prepare()
    # Not even a dead letter without its value.
    await around.configure("logs-dlq", {"max.message.bytes": "100"})

    async with around.consumer() as service:
        await around.send([b"no event", an_event(datetime.now(UTC))])
        await around.rows(1)
        await eventually(lambda: not service.readiness().ready, "it is said", within_s=60)
        assert service.readiness().reasons[0].startswith("dead letters: ")
        await around.send([an_event(datetime.now(UTC)) for _ in range(20)])
        await around.rows(21)
        assert sum((await committed_offsets(around)).values()) == 0, "the record is read again if anything happens now"
        assert set_aside(around) == 0
        await around.configure("logs-dlq", {"max.message.bytes": "1048588"})
        await eventually(lambda: set_aside(around) == 1, "it is set aside", within_s=60)
        await eventually(lambda: service.readiness().ready, "all is well")

    # Refused with its value, the next attempt is made without; the limit may be raised in between.
    assert {value for _, value, _ in await letters_of(around)} in ({b"no event"}, {None})


async def test_a_dead_letter_topic_that_is_gone_is_made_again(around: Surroundings) -> None:
    written = Written()

    async with around.consumer() as service:
        await around.send([b"the first one makes a client"])
        await eventually(lambda: set_aside(around) == 1, "it is set aside")
        await around.delete_topic("logs-dlq")
        await around.send([b"no event"])
        await eventually(lambda: set_aside(around) == 2, "it is set aside, too", within_s=60)
        await around.send([an_event(datetime.now(UTC))])
        await around.rows(1)
        await eventually(lambda: service.readiness().ready, "all is well")

    assert [value for _, value, _ in await letters_of(around)] == [b"no event"]
    assert not written.letters


REFUSED: dict[str, Callable[[], bytes]] = {
    "an unknown codec": lambda: seal(raw_record(RawRecord(b"v"), 0), 1, attributes=5, timestamp=milliseconds()),
    "a control batch": lambda: seal(raw_record(RawRecord(b"v"), 0), 1, attributes=0x20, timestamp=milliseconds()),
    "rubbish inside": lambda: seal(varint(40) + b"x" * 40, 1, timestamp=milliseconds()),
    "compressed rubbish": lambda: seal(compress(b"x" * 40, "lz4"), 1, attributes=3, timestamp=milliseconds()),
    "what cannot be decompressed": lambda: seal(b"no lz4", 1, attributes=3, timestamp=milliseconds()),
    "a wrong count": lambda: seal(raw_record(RawRecord(b"v"), 0), 3, timestamp=milliseconds()),
    "half a frame": lambda: seal(
        bytes(cramjam.zstd.compress(b"x" * 999))[:20], 1, attributes=4, timestamp=milliseconds()
    ),
}


@pytest.mark.parametrize("kind", sorted(REFUSED))
async def test_what_the_broker_itself_may_refuse_does_no_harm_if_it_does_not(around: Surroundings, kind: str) -> None:
    written = Written()

    async with RawKafka.connected(around.kafka, [LOCAL]) as raw, around.consumer():
        with contextlib.suppress(KafkaError):
            written.letters.add((LOCAL, 0, await raw.produce(LOCAL, 0, REFUSED[kind]())))
        await raw.produce(LOCAL, 0, raw_batch([RawRecord(written.good())], timestamp=milliseconds()))
        await all_is_done(around, written)
