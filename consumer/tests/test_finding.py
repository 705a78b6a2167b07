"""What a consumer tells of an event in its region's Kafka, within its bounds, and what it says that it could not look at."""

import asyncio
import json

from collections.abc import Callable
from uuid import UUID

import pytest

from hypothesis import given
from hypothesis import strategies as st

from consumer.adapters.kafka_records import PlainRecord
from consumer.copies import copy_of, letter_of
from consumer.envelope import Partition
from consumer.finding import AT_ONCE, Finder, TooManyQuestionsError
from consumer.ports import SourceUnavailableError
from consumer.tests.memory_logs import MemoryLogReader, MemoryLogs, partition_of
from shared.event.times import epoch_us, parse_time
from shared.wire.finding import MAX_RECORDS, Found, Question
from testbed.patience import eventually

ID = UUID("019ab0c4-0000-7000-8000-000000000001")
TIME = "2026-11-26T14:03:11.204117Z"
RECEIVED = "2026-11-26T14:03:11.206340Z"
KEY = "trace-1"
QUESTION = Question(event_id=ID, time_us=epoch_us(parse_time(TIME)), correlation_id=KEY, since_ms=0)


def record(event_id: UUID = ID, time: str = TIME, **changes: object) -> bytes:
    fields: dict[str, object] = {
        "eventId": str(event_id), "timestamp": time, "serviceName": "s", "level": "INFO", "message": "m",
        "correlationId": KEY, "attributes": {}, "receivedAt": RECEIVED, "originRegion": "region-a",
    }  # fmt: skip
    return json.dumps(fields | changes).encode()


def logs(partitions: int = 3) -> MemoryLogs:
    return MemoryLogs({topic: [[] for _ in range(partitions)] for topic in ("logs", "region-b.logs", "logs-dlq")})


def finder_of(
    kafka: MemoryLogs, stored: Callable[[Partition], int | None] = lambda _: None, limit_s: float = 60.0
) -> Finder:
    clock = asyncio.get_running_loop().time
    return Finder(
        "region-a", ["logs", "region-b.logs"], lambda: MemoryLogReader(kafka), stored, clock=clock, limit_s=limit_s
    )


async def ask(kafka: MemoryLogs, question: Question = QUESTION) -> Found:
    finder = finder_of(kafka)
    try:
        return await finder.find(question)
    finally:
        await finder.close()
        assert kafka.open == 0


def places(found: Found) -> list[tuple[str, int, int]]:
    return [(copy.topic, copy.partition, copy.offset) for copy in found.copies]


async def test_copies_are_found_in_the_regions_own_topic_and_in_the_mirrored_one() -> None:
    kafka, number = logs(), partition_of(KEY.encode(), 3)
    for topic in ("logs", "region-b.logs"):
        kafka.write(topic, record(UUID(int=5)), KEY.encode())
    kafka.write("logs", record(), KEY.encode(), headers=[("wanted-region", b"region-b")], at_ms=1234)
    kafka.write("region-b.logs", record(message="again"), KEY.encode())
    kafka.write("region-b.logs", record(time="2026-11-26T14:03:11.204118Z"), KEY.encode())
    kafka.write("logs", record(UUID(int=6), message=f"about {ID}", attributes={"of": str(ID)}), KEY.encode())

    found = await ask(kafka)

    assert places(found) == [("logs", number, 1), ("region-b.logs", number, 1)]
    own, _ = found.copies
    assert (own.wanted, own.at_ms, own.received_us, own.wrong) == (
        "region-b",
        1234,
        epoch_us(parse_time(RECEIVED)),
        None,
    )
    assert (found.letters, found.unseen) == ((), ())
    assert [(part.topic, part.partition, part.next, part.end) for part in found.looked] == [
        ("logs", number, 3, 3), ("logs-dlq", number, 0, 0), ("region-b.logs", number, 3, 3)
    ]  # fmt: skip


async def test_how_far_the_group_and_this_process_are_is_told() -> None:
    kafka, number = logs(), partition_of(KEY.encode(), 3)
    own, mirrored = Partition("logs", number), Partition("region-b.logs", number)
    kafka.commits = {own: 7, mirrored: 3}

    finder = finder_of(kafka, {own: 9}.get)
    found = await finder.find(QUESTION)

    positions = {part.topic: (part.committed, part.claimed, part.stored, part.done) for part in found.looked}
    assert positions["logs"] == (7, True, 9, 9)
    assert positions["region-b.logs"] == (3, False, None, 3)


async def test_positions_are_older_than_what_is_found() -> None:
    """A record that is passed while it is looked for would have no letter: that was looked for before."""
    kafka, position = logs(1), [0]
    kafka.write("logs", record(level=5), KEY.encode())
    kafka.slow = asyncio.Event()
    finder = finder_of(kafka, lambda _: position[0])
    asked = asyncio.create_task(finder.find(QUESTION))
    await eventually(lambda: kafka.asked == 1, "it reads")
    position[0] = 1
    kafka.write("logs-dlq", record(level=5), KEY.encode(), headers=letter_headers(0))
    kafka.slow.set()
    found = await asked
    await finder.close()

    assert [part.stored for part in found.looked if part.topic == "logs"] == [0]


@pytest.mark.parametrize(
    ("value", "is_found"),
    [
        (record(level=5), True),
        (record(level=5, time="2026-11-26T14:03:12Z"), False),
        (record(event_id=UUID(int=9), level=5, message=str(ID)), False),
        (record(eventId=str(ID).upper(), level=5), True),
        (record(timestamp="yesterday"), True),
        (record()[:-10], True),
        (json.dumps([str(ID)]).encode(), True),
        (b"\xff" + str(ID).encode(), True),
        (b"nonsense", False),
        (None, False),
    ],
)
async def test_a_record_that_cannot_be_read_counts_if_it_may_be_the_event(value: bytes | None, is_found: bool) -> None:  # noqa: FBT001
    kafka = logs()
    kafka.write("logs", value, KEY.encode())

    found = await ask(kafka)

    assert len(found.copies) == is_found
    assert all(copy.wrong for copy in found.copies)


def letter_headers(offset: int, first: int | None = None) -> list[tuple[str, bytes]]:
    headers = [
        ("reason", b"invalid: level"), ("source-topic", b"logs"), ("source-offset", b"%d" % offset),
        ("source-partition", b"%d" % partition_of(KEY.encode(), 3)),
    ]  # fmt: skip
    return headers if first is None else [*headers, ("source-first-offset", b"%d" % first)]


async def test_letters_are_found_by_what_they_hold_and_by_where_it_came_from() -> None:
    kafka = logs()
    poison = record(level=5)
    for _ in range(12):
        kafka.write("logs", record(UUID(int=5)), KEY.encode())
    offset = kafka.write("logs", poison, KEY.encode())
    kafka.write("logs-dlq", b"other", KEY.encode(), headers=letter_headers(offset - 1))
    kafka.write("logs-dlq", poison, KEY.encode(), headers=letter_headers(offset))
    kafka.write("logs-dlq", None, KEY.encode(), headers=letter_headers(offset))  # too large, so without its value
    kafka.write("logs-dlq", b"a batch", KEY.encode(), headers=letter_headers(offset, first=offset - 3))
    kafka.write("logs-dlq", poison, KEY.encode())  # no letter of this fleet

    found = await ask(kafka)

    assert [letter.offset for letter in found.letters] == [1, 2, 3]
    assert {(letter.source_topic, letter.source_offset, letter.reason) for letter in found.letters} == {
        ("logs", offset, "invalid: level")
    }


async def test_without_a_key_all_partitions_are_looked_at() -> None:
    kafka = logs()
    kafka.write("logs", record(level=5), None, partition=2)
    kafka.write("region-b.logs", record(), None, partition=1)

    found = await ask(kafka, QUESTION.model_copy(update={"correlation_id": None}))

    assert places(found) == [("logs", 2, 0), ("region-b.logs", 1, 0)]
    assert len(found.looked) == 9


async def test_a_partition_is_read_up_to_a_number_of_records_and_the_rest_is_named() -> None:
    kafka = logs(1)
    for _ in range(MAX_RECORDS + 50):
        kafka.write("logs", b"x", KEY.encode())
    kafka.write("logs", record(), KEY.encode())

    found = await ask(kafka)

    assert found.copies == ()
    assert kafka.read == MAX_RECORDS
    assert [(part.topic, part.why) for part in found.unseen] == [
        ("logs", f"of offsets 0 to {MAX_RECORDS + 50} only those up to {MAX_RECORDS - 1} were looked at")
    ]


async def test_older_records_are_not_read() -> None:
    kafka = logs(1)
    for at_ms in range(100):
        kafka.write("logs", record(), KEY.encode(), at_ms=at_ms)

    found = await ask(kafka, QUESTION.model_copy(update={"since_ms": 95}))

    assert [copy.offset for copy in found.copies] == [95, 96, 97, 98, 99]
    assert [(part.first, part.end) for part in found.looked if part.topic == "logs"] == [(95, 100)]


async def test_what_is_not_stored_is_looked_for_among_what_no_consumer_has_stored() -> None:
    kafka = logs(1)
    for _ in range(5):
        kafka.write("logs", record(), KEY.encode())
    kafka.commits = {Partition("logs", 0): 3}

    stored = await ask(kafka, QUESTION.model_copy(update={"since_ms": 10_000}))
    unstored = await ask(kafka, QUESTION.model_copy(update={"since_ms": 10_000, "stored": False}))

    assert ([c.offset for c in stored.copies], [c.offset for c in unstored.copies]) == ([], [3, 4])


async def test_when_the_time_is_over_there_is_an_answer_of_what_was_found_until_then() -> None:
    kafka = logs(1)
    kafka.write("logs", record(), KEY.encode())
    kafka.write("region-b.logs", record(), KEY.encode())
    kafka.slow = asyncio.Event()
    finder = finder_of(kafka, limit_s=1.0)

    found = await finder.find(QUESTION)

    assert found.copies == ()
    assert [(part.topic, part.why) for part in found.unseen] == [
        (topic, "there was no time for it") for topic in ("logs", "logs-dlq", "region-b.logs")
    ]
    await finder.close()


async def test_what_has_no_leader_is_named_and_the_others_are_looked_at() -> None:
    kafka = logs(1)
    kafka.write("region-b.logs", record(), KEY.encode())
    kafka.leaderless = {Partition("logs", 0)}

    found = await ask(kafka)

    assert places(found) == [("region-b.logs", 0, 0)]
    assert [(part.topic, part.why) for part in found.unseen] == [("logs", "no leader")]


async def test_a_topic_that_does_not_exist_holds_nothing_and_is_not_unseen() -> None:
    kafka = MemoryLogs({"logs": [[]]})

    found = await ask(kafka)

    assert (found.unseen, [part.topic for part in found.looked]) == ((), ["logs"])


async def test_kafka_away_is_an_error_and_no_answer() -> None:
    kafka = logs()
    kafka.away = True

    with pytest.raises(SourceUnavailableError, match="refused"):
        await ask(kafka)


async def test_only_so_many_questions_are_under_way() -> None:
    kafka = logs(1)
    kafka.write("logs", record(), KEY.encode())
    kafka.slow = asyncio.Event()
    finder = finder_of(kafka)
    questions = [asyncio.create_task(finder.find(QUESTION)) for _ in range(AT_ONCE)]
    await eventually(lambda: kafka.open == AT_ONCE, "all are under way")

    with pytest.raises(TooManyQuestionsError):
        await finder.find(QUESTION)
    kafka.slow.set()
    answers = await asyncio.gather(*questions)
    await finder.close()

    assert [places(found) for found in answers] == [[("logs", 0, 0)]] * AT_ONCE
    assert places(await finder.find(QUESTION)) == [("logs", 0, 0)]


async def test_a_question_that_is_given_up_leaves_nothing_open() -> None:
    kafka = logs(1)
    kafka.write("logs", record(), KEY.encode())
    kafka.slow = asyncio.Event()
    finder = finder_of(kafka)
    question = asyncio.create_task(finder.find(QUESTION))
    await eventually(lambda: kafka.open == 1, "it is under way")

    question.cancel()
    await asyncio.wait([question])
    await finder.close()

    assert kafka.open == 0
    kafka.slow.set()
    assert len((await finder.find(QUESTION)).copies) == 1


@given(st.binary(max_size=60), st.lists(st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=8)), max_size=3))
def test_no_record_ends_a_search(value: bytes, headers: list[tuple[str, bytes | None]]) -> None:
    odd = PlainRecord(0, 0, None, value + str(ID).encode(), headers)

    copy_of(Partition("logs", 0), odd, QUESTION)
    letter_of(Partition("logs-dlq", 0), odd, QUESTION, [])


@pytest.mark.parametrize("tenant", [None, "acme", "beta"])
def test_a_record_of_another_tenant_is_no_answer(tenant: str | None) -> None:
    question = QUESTION.model_copy(update={"tenant": tenant})
    partition = Partition("logs", 0)
    for number, owner in enumerate((None, "acme")):
        key = KEY.encode() if owner is None else f"{owner}\0{KEY}".encode()
        whole = record() if owner is None else record(tenant=owner)
        for value in (whole, whole[:-1], whole.replace(b'"INFO"', b'"?"')):
            found = copy_of(partition, PlainRecord(number, 0, key, value, ()), question)
            assert (found is not None) is (owner == tenant), value


async def test_a_tenants_record_is_looked_for_where_its_key_is() -> None:
    kafka = logs()
    number = partition_of(f"acme\0{KEY}".encode(), 3)
    kafka.write("logs", record(tenant="acme"), f"acme\0{KEY}".encode())

    found = await ask(kafka, QUESTION.model_copy(update={"tenant": "acme"}))

    assert [copy.partition for copy in found.copies] == [number]
