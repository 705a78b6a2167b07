"""
Every mistake that a client can make gets its status and its sentence, and none ends in a 5xx.

A mistake in a batch leaves the other events alone. Accepted events are carried unchanged.
"""

import asyncio
import gzip
import json
import zlib

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.tests.fleet import EVENT, FakeProducer, gateway, producers
from shared.event.model import MAX_BATCH_EVENTS, MAX_EVENT_BYTES, ReceivedEvent
from shared.event.opened import decode_record
from shared.ingest import turns
from shared.ingest.logs_api import MAX_BATCH_BYTES
from shared.tests import profiles, strategies

JSON = "application/json"
NDJSON = "application/x-ndjson"


pytestmark = pytest.mark.asyncio(loop_scope="module")
Opened = tuple[dict[str, FakeProducer], httpx.AsyncClient]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened() -> AsyncIterator[Opened]:
    """One gateway for all cases, so that a mistake which spoils later requests shows."""
    regions = producers()
    async with gateway(regions) as client:
        yield regions, client


@pytest.fixture
def regions(opened: Opened) -> dict[str, FakeProducer]:
    regions, _ = opened
    for producer in regions.values():
        producer.written.clear()
        producer.requests.clear()
    return regions


@pytest.fixture
def client(opened: Opened) -> httpx.AsyncClient:
    _, client = opened
    return client


def written(regions: dict[str, FakeProducer]) -> list[ReceivedEvent]:
    return [event for producer in regions.values() for event in producer.written]


def with_field(raw: bytes) -> bytes:
    """A valid event with this text in front of its closing brace."""
    return json.dumps(EVENT).encode()[:-1] + b"," + raw + b"}"


def with_message(raw: bytes) -> bytes:
    return json.dumps(EVENT).encode().replace(b'"Hello"', b'"' + raw + b'"')


def with_attribute(raw: bytes) -> bytes:
    return with_field(b'"attributes":{"k":' + raw + b"}")


def with_time(raw: str | int) -> bytes:
    return with_field(b'"timestamp":' + json.dumps(raw).encode())


def with_id(event_id: str, *, timestamp: str | None = "2026-11-23T12:00:00Z") -> bytes:
    identity = {"eventId": event_id} | ({"timestamp": timestamp} if timestamp else {})
    return json.dumps(EVENT | identity).encode()


# Valid JSON, or close to it, that is no valid event. It is refused alone, and its batch is accepted.
BAD_EVENTS: dict[str, tuple[bytes, str]] = {
    "NUL in the message": (with_message(b"a\\u0000b"), "message: must not contain the character U+0000"),
    "NUL in a name": (with_field(b'"serviceName":"\\u0000"'), "serviceName: must not contain the character U+0000"),
    "NUL in an attribute": (with_attribute(b'"\\u0000"'), "value of 'k' must not contain the character U+0000"),
    "NUL in an attribute's key": (with_field(b'"attributes":{"\\u0000":1}'), "must not contain the character U+0000"),
    "lone high surrogate": (with_message(b"\\ud800"), ""),
    "lone low surrogate": (with_message(b"\\udc00x"), ""),
    "surrogates the wrong way round": (with_message(b"\\ude00\\ud83d"), ""),
    "lone surrogate in a key": (with_field(b'"attributes":{"\\ud800":1}'), ""),
    "lone surrogate in an unknown field": (with_field(b'"\\ud800":1'), ""),
    "NaN": (with_attribute(b"NaN"), "value of 'k' must be a finite number"),
    "Infinity": (with_attribute(b"-Infinity"), "value of 'k' must be a finite number"),
    "NaN in an unknown field": (with_field(b'"x":NaN'), "x: is not a field of an event"),
    "NaN as time": (with_field(b'"timestamp":NaN'), "timestamp: must be an RFC 3339 string"),
    "1e400": (with_attribute(b"1e400"), "must be a finite number"),
    "5000 digits": (with_attribute(b"9" * 5000), ""),
    "65 bits": (with_attribute(str(2**64).encode()), "value of 'k' must fit into 64 bits"),
    "unknown field": (with_field(b'"tenant":"x"'), "tenant: is not a field of an event"),
    "field in snake case": (with_field(b'"service_name":"x"'), "service_name: is not a field of an event"),
    "missing field": (b'{"serviceName":"a","level":"INFO","message":"m"}', "correlationId: is required"),
    "no object": (b'"text"', "must be a JSON object"),
    "null": (b"null", "must be a JSON object"),
    "number": (b"42", "must be a JSON object"),
    "array in a batch": (b"[]", "must be a JSON object"),
    "message null": (with_field(b'"message":null'), "message: must be a string"),
    "message number": (with_field(b'"message":1'), "message: must be a string"),
    "empty name": (with_field(b'"serviceName":""'), "serviceName: must not be empty"),
    "empty correlation id": (with_field(b'"correlationId":""'), "correlationId: must not be empty"),
    "long correlation id": (with_field(b'"correlationId":"' + b"c" * 257 + b'"'), "must have at most 256 characters"),
    "unknown level": (with_field(b'"level":"LOUD"'), "level: must be one of TRACE"),
    "level with a dotless i": (with_field('"level":"\u0131nfo"'.encode()), "level: must be one of"),
    "eventId empty": (with_id(""), "eventId: must be a UUID of 36 characters"),
    "eventId of 10 kB": (with_id("e" * 10_000), "eventId: must be a UUID"),
    "eventId no UUID": (with_id("trace-1"), "eventId: must be a UUID"),
    "eventId in braces": (with_id("{019ab0c4-52a0-7c1a-9d53-0242ac120002}"), "eventId: must be a UUID"),
    "eventId as URN": (with_id("urn:uuid:019ab0c4-52a0-7c1a-9d53-0242ac120002"), "eventId: must be a UUID"),
    "eventId without hyphens": (with_id("019ab0c452a07c1a9d530242ac120002"), "eventId: must be a UUID"),
    "eventId in fullwidth digits": (with_id("\uff1019ab0c4-52a0-7c1a-9d53-0242ac120002"), "eventId: must be a UUID"),
    "eventId with a Cyrillic letter": (with_id("019\u0430b0c4-52a0-7c1a-9d53-0242ac12000"), "eventId: must be a UUID"),
    "eventId with a line break": (with_id("019ab0c4-52a0-7c1a-9d53-0242ac120002\n"), "eventId: must be a UUID"),
    "eventId without timestamp": (
        with_id("019ab0c4-52a0-7c1a-9d53-0242ac120002", timestamp=None),
        "timestamp: is required when eventId is sent",
    ),
    "time naive": (with_time("2026-11-23T12:00:00"), "timestamp: must be RFC 3339 with a time zone"),
    "date only": (with_time("2026-11-23"), "timestamp: must be RFC 3339"),
    "hour 24": (with_time("2026-11-23T24:00:00Z"), "timestamp: must be RFC 3339"),
    "30 February": (with_time("2026-02-30T00:00:00Z"), "timestamp: is no date that exists"),
    "29 February of a common year": (with_time("2026-02-29T00:00:00Z"), "timestamp: is no date that exists"),
    "month 13": (with_time("2026-13-01T00:00:00Z"), "timestamp: is no date that exists"),
    "year 0": (with_time("0000-01-01T00:00:00Z"), "timestamp: is no date that exists"),
    "year 1": (with_time("0001-01-01T00:00:00+23:59"), "timestamp: "),
    "year 9999": (with_time("9999-12-31T23:59:59-23:59"), "timestamp: "),
    "year 10000": (with_time("10000-01-01T00:00:00Z"), "timestamp: must be RFC 3339"),
    "year 1969": (with_time("1969-12-31T23:59:59.999999Z"), "timestamp: must lie in the years 1970 to 2200"),
    "year 2201": (with_time("2201-01-01T00:00:00Z"), "timestamp: must lie in the years 1970 to 2200"),
    "infinity": (with_time("infinity"), "timestamp: must be RFC 3339"),
    "minus infinity": (with_time("-infinity"), "timestamp: must be RFC 3339"),
    "time empty": (with_time(""), "timestamp: must be RFC 3339"),
    "digits that are not ASCII": (with_time("\uff12\uff10\uff12\uff16-11-23T12:00:00Z"), "timestamp: must be RFC 3339"),
    "epoch seconds": (with_time(1_795_435_200), "timestamp: looks like epoch seconds"),
    "negative epoch": (with_time(-1), "timestamp: must lie in the years 1970 to 2200"),
    "epoch of 400 digits": (with_time(10**400), "timestamp: must lie in the years 1970 to 2200"),
    "time true": (with_field(b'"timestamp":true'), "timestamp: must be an RFC 3339 string"),
    "attributes nested": (with_attribute(b'{"deep":1}'), "value of 'k' must be a string, a number"),
    "attributes with a list": (with_attribute(b"[1]"), "value of 'k' must be a string, a number"),
    "attributes a list": (with_field(b'"attributes":[1]'), "attributes: must be a JSON object"),
    "too many attributes": (
        with_field(b'"attributes":' + json.dumps({str(i): i for i in range(129)}).encode()),
        "attributes: must have at most 128 entries, has 129",
    ),
    "long key": (
        with_field(b'"attributes":{"' + b"k" * 257 + b'":1}'),
        "attributes: keys must have at most 256 characters",
    ),
}  # fmt: skip

# No JSON: it breaks the whole array that holds it. On a line of its own (NDJSON) it is refused alone.
NO_JSON: dict[str, bytes] = {
    "raw surrogate": with_message(b"\xed\xa0\x80"),
    "invalid UTF-8": with_message(b"\xff"),
    "Latin-1": with_message("é".encode("latin-1")),
    "overlong": with_message(b"\xc0\xaf"),
    "beyond Unicode": with_message(b"\xf4\x90\x80\x80"),
    "truncated": json.dumps(EVENT).encode()[:-10],
    "control character": with_message(b"\x01"),
    "raw NUL": with_message(b"\x00"),
    "single quotes": b"{'serviceName':'a'}",
    "trailing comma": json.dumps(EVENT).encode()[:-1] + b",}",
    "trailing garbage": json.dumps(EVENT).encode() + b"x",
    "depth 100,000": with_attribute(b"[" * 100_000 + b"]" * 100_000),
    "depth 100,000 unclosed": with_attribute(b"[" * 100_000),
    "two BOMs": 2 * b"\xef\xbb\xbf" + json.dumps(EVENT).encode(),
    "UTF-16": json.dumps(EVENT).encode("utf-16"),
    "not a number": with_attribute(b"0x10"),
    "comment": json.dumps(EVENT).encode() + b"// hello",
}

# Odd, but valid: accepted and carried unchanged.
VERBATIM: dict[str, str] = {
    "SQL": "'); DROP TABLE logs; --",
    "COPY end": "\\.",
    "COPY null": "\\N",
    "tabs and backslashes": "a\tb\\tc\\\\",
    "CSV": '"a","b""c",=1+1',
    "ANSI escape": "\x1b[31mred\x1b[0m\x1b]0;title\x07",
    "CRLF": "first\r\nSet-Cookie: x=1\r\n\r\nsecond",
    "right-to-left override": "\u202egnp.exe",
    "emoji with joiners": "\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308",
    "beyond the basic plane": "\U0001d4b3\U0010ffff",
    "composed": "\u00e9",
    "decomposed": "e\u0301",
    "noncharacters": "\ufffe\uffff\ufdd0",
    "BOM inside": "\ufeffx\ufeff",
    "line separators": "\u2028\u2029\x85",
    "every control character but NUL": "".join(map(chr, range(1, 32))) + "\x7f",
    "format strings": "%s %n ${jndi:ldap://x} {{7*7}} {0.__class__}",
    "empty": "",
    "blank": "   ",
}


def as_array(*events: bytes) -> tuple[bytes, str]:
    return b"[" + b",".join(events) + b"]", JSON


def as_lines(*events: bytes) -> tuple[bytes, str]:
    return b"\n".join(events), NDJSON


async def post_one(client: httpx.AsyncClient, body: bytes, **headers: str) -> httpx.Response:
    return await client.post("/api/logs", content=body, headers={"Content-Type": JSON} | headers)


async def post_batch(client: httpx.AsyncClient, batch: tuple[bytes, str], **headers: str) -> httpx.Response:
    body, kind = batch
    return await client.post("/api/logs/batch", content=body, headers={"Content-Type": kind} | headers)


def is_problem(answer: httpx.Response, status: int, fragment: str = "") -> bool:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status
    assert fragment in answer.json()["detail"]
    assert 0 < len(answer.text) < 3000
    return True


@pytest.mark.parametrize("name", BAD_EVENTS)
async def test_a_bad_event_is_refused_with_its_sentence(
    client: httpx.AsyncClient, regions: dict[str, FakeProducer], name: str
) -> None:
    body, fragment = BAD_EVENTS[name]

    assert is_problem(await post_one(client, body), 400, fragment)
    assert written(regions) == []


@pytest.mark.parametrize("form", [as_array, as_lines])
@pytest.mark.parametrize("name", BAD_EVENTS)
async def test_a_bad_event_does_not_spoil_its_batch(
    client: httpx.AsyncClient, regions: dict[str, FakeProducer], name: str, form: Any
) -> None:
    body, fragment = BAD_EVENTS[name]
    good = json.dumps(EVENT).encode()

    answer = await post_batch(client, form(good, body, good))
    items = answer.json()["items"]

    assert answer.status_code == 207
    assert [item["status"] for item in items] == [202, 400, 202]
    assert fragment in items[1]["detail"]
    assert items[1]["retryable"] is False
    assert len(written(regions)) == 2


@pytest.mark.parametrize("name", NO_JSON)
async def test_what_is_no_json_is_refused(
    client: httpx.AsyncClient, regions: dict[str, FakeProducer], name: str
) -> None:
    body = NO_JSON[name]
    good = json.dumps(EVENT).encode()

    assert is_problem(await post_one(client, body), 400, "not valid JSON")
    assert is_problem(await post_batch(client, as_array(good, body)), 400, "not valid JSON")
    assert written(regions) == []


@pytest.mark.parametrize("name", [name for name in NO_JSON if name != "UTF-16"])
async def test_what_is_no_json_spoils_its_own_line_only(client: httpx.AsyncClient, name: str) -> None:
    good = json.dumps(EVENT).encode()

    answer = await post_batch(client, as_lines(good, NO_JSON[name], good))

    assert answer.status_code == 207
    assert [item["status"] for item in answer.json()["items"]] == [202, 400, 202]


@pytest.mark.parametrize("body", [b"", b" ", b"\n", b"\x00"])
async def test_an_empty_body_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    assert is_problem(await post_one(client, body), 400)
    assert is_problem(await post_batch(client, (body, JSON)), 400)


@pytest.mark.parametrize("body", [b"", b"\n\n \r\n"])
async def test_a_batch_without_lines_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    assert is_problem(await post_batch(client, (body, NDJSON)), 400, "the batch has no events")


@pytest.mark.parametrize(
    ("body", "fragment"),
    [
        (b"[]", "the batch has no events"),
        (b"null", "must be a JSON array"),
        (b"{}", "must be a JSON array"),
        (json.dumps(EVENT).encode(), "must be a JSON array"),
        (b"[" + json.dumps(EVENT).encode(), "not valid JSON"),
        (b"[" * 100_000, "not valid JSON"),
    ],
)
async def test_what_is_no_batch_is_refused(client: httpx.AsyncClient, body: bytes, fragment: str) -> None:
    assert is_problem(await post_batch(client, (body, JSON)), 400, fragment)


@pytest.mark.parametrize("name", VERBATIM)
async def test_odd_text_is_taken_verbatim(
    client: httpx.AsyncClient, regions: dict[str, FakeProducer], name: str
) -> None:
    text = VERBATIM[name]
    event = EVENT | {"message": text, "correlationId": "c" + text, "attributes": {"k" + text: text}}

    for escape in (True, False):
        body = json.dumps(event, ensure_ascii=escape).encode()
        assert (await post_one(client, body)).status_code == 202
        assert (await post_batch(client, as_array(body))).status_code == 202
        assert (await post_batch(client, as_lines(body))).status_code == 202

    assert len(written(regions)) == 6
    for stored in written(regions):
        assert stored.message == text
        assert stored.correlation_id == "c" + text
        assert stored.attributes == {"k" + text: text}


async def test_the_last_of_two_equal_keys_wins(client: httpx.AsyncClient, regions: dict[str, FakeProducer]) -> None:
    body = with_field(b'"message":"second"')

    for answer in (
        await post_one(client, body),
        await post_batch(client, as_array(body)),
        await post_batch(client, as_lines(body)),
    ):
        assert answer.status_code == 202

    assert [event.message for event in written(regions)] == ["second"] * 3


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data", "é", "x" * 9000]
)  # fmt: skip
async def test_other_content_types_are_refused(client: httpx.AsyncClient, kind: str) -> None:
    headers = {b"Content-Type": kind.encode("latin-1")}

    for path in ("/api/logs", "/api/logs/batch"):
        answer = await client.post(path, content=json.dumps(EVENT), headers=headers)
        assert is_problem(answer, 415, "Content-Type must be application/json")


async def test_lines_are_no_single_event(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/logs", content=json.dumps(EVENT), headers={"Content-Type": NDJSON})

    assert is_problem(answer, 415, "Content-Type must be application/json")


@pytest.mark.parametrize("charset", ["utf-16", "UTF-16LE", "iso-8859-1", '"utf-7"'])
async def test_other_charsets_are_refused(client: httpx.AsyncClient, charset: str) -> None:
    body = json.dumps(EVENT).encode("utf-16")

    answer = await post_one(client, body, **{"Content-Type": f"application/json; charset={charset}"})

    assert is_problem(answer, 415, "send UTF-8")


@pytest.mark.parametrize("coding", ["br", "lzma", "gzip, gzip"])
async def test_other_codings_are_refused(client: httpx.AsyncClient, coding: str) -> None:
    answer = await post_one(client, b"x", **{"Content-Encoding": coding})

    assert is_problem(answer, 415, "is not supported; send gzip")


async def test_a_body_of_100_mb_is_refused_by_its_length(client: httpx.AsyncClient) -> None:
    length = {"Content-Length": str(100 * 1024 * 1024)}

    assert is_problem(await post_one(client, b"{}", **length), 413, f"at most {MAX_EVENT_BYTES} bytes")
    assert is_problem(await post_batch(client, (b"[]", JSON), **length), 413, f"at most {MAX_BATCH_BYTES} bytes")


async def test_a_body_of_100_mb_in_chunks_is_refused_where_the_limit_is(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(100 * 16):
            sent += 65536
            yield b" " * 65536

    answer = await client.post("/api/logs", content=endless(), headers={"Content-Type": JSON})

    assert is_problem(answer, 413, "before and after decompression")
    assert sent <= MAX_EVENT_BYTES + 2 * 65536


async def test_a_line_of_1_mb_is_too_large_for_an_event_and_does_not_spoil_its_batch(client: httpx.AsyncClient) -> None:
    large = with_message(b"x" * 1024 * 1024)
    good = json.dumps(EVENT).encode()

    assert is_problem(await post_one(client, large), 413, f"at most {MAX_EVENT_BYTES} bytes")
    for batch in (as_array(good, large), as_lines(good, large)):
        answer = await post_batch(client, batch)
        assert [item["status"] for item in answer.json()["items"]] == [202, 400]
        assert f"an event may have {MAX_EVENT_BYTES} bytes" in answer.json()["items"][1]["detail"]


async def test_one_bad_event_among_10_000_is_the_only_one_refused(
    client: httpx.AsyncClient, regions: dict[str, FakeProducer]
) -> None:
    bodies = [json.dumps(EVENT).encode()] * MAX_BATCH_EVENTS
    bodies[4321] = with_message(b"\\ud800")

    answer = await post_batch(client, as_array(*bodies))
    result = answer.json()

    assert answer.status_code == 207
    assert (result["accepted"], result["rejected"]) == (MAX_BATCH_EVENTS - 1, 1)
    assert [item["index"] for item in result["items"] if item["status"] != 202] == [4321]
    assert len(written(regions)) == MAX_BATCH_EVENTS - 1


@pytest.mark.parametrize("form", [as_array, as_lines])
async def test_more_than_10_000_events_are_refused_as_a_whole(
    client: httpx.AsyncClient, regions: dict[str, FakeProducer], form: Any
) -> None:
    answer = await post_batch(client, form(*[json.dumps(EVENT).encode()] * (MAX_BATCH_EVENTS + 1)))

    assert is_problem(answer, 400, "a batch may have 10000 events, this one has 10001; split it")
    assert written(regions) == []


@pytest.mark.parametrize("form", [as_array, as_lines])
async def test_a_large_batch_lets_other_requests_go_on(
    client: httpx.AsyncClient,
    regions: dict[str, FakeProducer],
    form: Callable[..., tuple[bytes, str]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turns, "TURN_S", 0)  # each piece is a turn, however fast the machine is
    batch = form(*[with_message(b"\\u00e9" * 100)] * MAX_BATCH_EVENTS)
    posting = asyncio.create_task(post_batch(client, batch))
    rounds = 0
    while not regions["region-a"].requests:
        rounds += 1
        await asyncio.sleep(0)
    await posting

    assert rounds > MAX_BATCH_EVENTS / 100


@pytest.mark.parametrize("event", [b"{}", b"0", b'{"' + b"f" * 700 + b'":0}', with_message(b"\\u0001\\u0000")])
async def test_the_answer_to_bad_events_has_at_most_1_mib(client: httpx.AsyncClient, event: bytes) -> None:
    answer = await post_batch(client, as_array(*[event] * MAX_BATCH_EVENTS))

    assert answer.status_code == 400
    assert len(answer.json()["items"]) == MAX_BATCH_EVENTS
    assert len(answer.content) <= 1024 * 1024


@pytest.mark.parametrize("body", [b"[" + b"0," * 4_000_000 + b"0]", b"[" * 8_000_000])
async def test_what_unfolds_to_millions_of_elements_is_refused(client: httpx.AsyncClient, body: bytes) -> None:
    answer = await post_batch(client, (gzip.compress(body), JSON), **{"Content-Encoding": "gzip"})

    assert is_problem(answer, 400)


async def test_a_gzip_bomb_is_refused(client: httpx.AsyncClient) -> None:
    bomb = gzip.compress(b" " * (128 * 1024 * 1024))

    assert len(bomb) < 200_000
    for path in ("/api/logs", "/api/logs/batch"):
        answer = await client.post(path, content=bomb, headers={"Content-Type": JSON, "Content-Encoding": "gzip"})
        assert is_problem(answer, 413, "before and after decompression")


async def test_gzip_in_several_members_is_accepted(client: httpx.AsyncClient, regions: dict[str, FakeProducer]) -> None:
    members = b"".join(gzip.compress(json.dumps(EVENT).encode() + b"\n") for _ in range(100))

    answer = await post_batch(client, (members, NDJSON), **{"Content-Encoding": "gzip"})

    assert answer.status_code == 202
    assert len(written(regions)) == 100


@pytest.mark.parametrize(
    ("body", "fragment"),
    [
        (gzip.compress(json.dumps(EVENT).encode())[:-9], "cut off"),
        (b"", "cut off"),
        (json.dumps(EVENT).encode(), "not valid gzip"),
        (zlib.compress(json.dumps(EVENT).encode()), "not valid gzip"),
        (gzip.compress(json.dumps(EVENT).encode()) + b"trailing", "not valid gzip"),
    ],
    ids=["truncated", "empty", "plain", "zlib", "trailing garbage"],
)
async def test_broken_gzip_is_refused(client: httpx.AsyncClient, body: bytes, fragment: str) -> None:
    assert is_problem(await post_one(client, body, **{"Content-Encoding": "gzip"}), 400, fragment)


@pytest.mark.parametrize(
    "region",
    [
        b"",
        b"region-c",
        b"REGION-A",
        b"region-a ,region-b",
        b"region-a\r\nX-Evil: 1",
        b"region-a\x00",
        b"http://169.254.169.254/latest/meta-data",
        b"region-a.evil.test",
        b"../region-a",
        b"region-a/..%00",
        b"\xff\xfe",
        b"r" * 100_000,
    ],
)
async def test_a_region_that_is_none_is_refused(
    client: httpx.AsyncClient, regions: dict[str, FakeProducer], region: bytes
) -> None:
    for path in ("/api/logs", "/api/logs/batch"):
        headers = [(b"Content-Type", b"application/json"), (b"X-Region", region)]
        answer = await client.post(path, content=json.dumps(EVENT), headers=headers)

        assert is_problem(answer, 400, "X-Region must be one of region-a, region-b, sent once")
        assert answer.json()["regions"] == ["region-a", "region-b"]
    assert written(regions) == []


@pytest.mark.parametrize("second", [b"region-a", b"region-b"])
async def test_two_regions_are_refused(client: httpx.AsyncClient, second: bytes) -> None:
    headers = [(b"Content-Type", b"application/json"), (b"X-Region", b"region-a"), (b"X-Region", second)]

    answer = await client.post("/api/logs", content=json.dumps(EVENT), headers=headers)

    assert is_problem(answer, 400, "sent once")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/api/logs", 503),
        ("GET", "/api/logs/../ready", 404),
        ("GET", "/api/logs/batch", 405),
        ("PUT", "/api/logs", 405),
        ("DELETE", "/api/logs/batch", 405),
        ("POST", "/api/logs/", 404),
        ("POST", "/api/logs/batch/", 404),
        ("POST", "/api/logs%00", 404),
        ("POST", "/api//logs", 404),
        ("POST", "/internal/records", 404),
        ("GET", "/%ff%fe", 404),
    ],
)
async def test_other_ways_in_are_closed_with_a_problem(
    client: httpx.AsyncClient, method: str, path: str, status: int
) -> None:
    assert is_problem(await client.request(method, path, json=EVENT), status)


mutations = st.tuples(st.integers(0, 400), st.sampled_from(["replace", "insert", "delete"]), st.binary(max_size=4))


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Random bytes, or an event with some bytes changed."""
    if draw(st.booleans()):
        return draw(st.binary(max_size=300))
    event = draw(strategies.client_events() | strategies.spoilt_events())
    raw = bytearray(json.dumps(event, ensure_ascii=draw(st.booleans())).encode(errors="surrogatepass"))
    for position, kind, data in draw(st.lists(mutations, max_size=3)):
        end = position + len(data) if kind == "replace" else position + 1 if kind == "delete" else position
        raw[position:end] = b"" if kind == "delete" else data
    return bytes(raw)


@settings(profiles.times(6), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies(), kind=st.sampled_from([JSON, NDJSON]), in_array=st.booleans())
async def test_no_bytes_make_a_fault_and_what_is_accepted_can_be_read_by_the_consumer(
    client: httpx.AsyncClient, regions: dict[str, FakeProducer], *, body: bytes, kind: str, in_array: bool
) -> None:
    for producer in regions.values():
        producer.written.clear()
        producer.requests.clear()
    batch = (b"[" + body + b"]" if in_array and kind == JSON else body, kind)

    answers = [await post_one(client, body), await post_batch(client, batch)]

    assert {answer.status_code for answer in answers} <= {202, 207, 400}
    accepted = sum(a.json().get("accepted", a.status_code == 202) for a in answers)
    assert accepted == len(written(regions))
    for event in written(regions):
        record = event.to_record("region-a")
        assert decode_record(record.encode()) == record
        text = [event.message, event.service_name, event.correlation_id, *event.attributes]
        text += [value for value in event.attributes.values() if isinstance(value, str)]
        # PostgreSQL's text and jsonb refuse exactly these.
        assert all("\x00" not in value and value.encode() is not None for value in text)
