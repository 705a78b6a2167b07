"""Syslog's messages as events: RFC 5424, RFC 3164, and what is neither."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.protocols.syslog import FACILITIES
from gateway.protocols.syslog_events import batch
from shared.event.model import ReceivedEvent
from shared.event.opened import decode_received
from shared.event.times import format_time
from shared.ingest.turns import at_once

NOW = datetime(2026, 11, 27, 7, 0, 0, tzinfo=UTC)
HEAD = b"<165>1 2026-11-27T06:59:59.123456Z web-1 checkout 4711 ID47 "


def events(*sent: bytes, now: datetime = NOW, key: str = "key", length: int = 0) -> list[ReceivedEvent]:
    found = at_once(batch([(raw, length or len(raw)) for raw in sent], now=now, peer="10.0.0.7", key=key))
    return [decode_received(event.encoded) for event in found.events]


def one(raw: bytes, **known: object) -> ReceivedEvent:
    [event] = events(raw, **known)  # type: ignore[arg-type]
    return event


def test_a_message_of_rfc_5424_arrives_with_all_its_fields() -> None:
    event = one(
        HEAD + b'[origin@1 ip="10.0.0.1" software="a\\"b\\]"][meta sequenceId="29"] \xef\xbb\xbfpaid \xe2\x98\x83'
    )
    assert (event.service_name, event.level, event.message) == ("checkout", "INFO", "paid ☃")
    assert format_time(event.timestamp) == "2026-11-27T06:59:59.123456Z"
    assert event.attributes == {
        "facility": "local4",
        "severity_text": "notice",
        "procid": "4711",
        "msgid": "ID47",
        "sd.origin@1.ip": "10.0.0.1",
        "sd.origin@1.software": 'a"b]',
        "sd.meta.sequenceId": "29",
        "host": "web-1",
    }
    assert event.correlation_id.startswith("checkout/web-1/")


@pytest.mark.parametrize(
    ("rest", "message", "data"),
    [
        (b"- hello", "hello", {}),
        (b"-", "", {}),
        (b"- ", "", {}),
        (b"[a]", "", {"sd.a": ""}),
        (b"[a] hello", "hello", {"sd.a": ""}),
        (b'[a x="1" x="2"] hello', "hello", {"sd.a.x": "1", "sd.a.x_": "2"}),
        (b'[a x="1"][a y="2"] hello', "hello", {"sd.a.x": "1", "sd.a.y": "2"}),
        (b'[a x="1 hello', '[a x="1 hello', {}),
        (b"[a x=1] hello", "[a x=1] hello", {}),
        (b"no structured data", "no structured data", {}),
        (b"-hello", "-hello", {}),
        (b"- line\nline\n", "line\nline", {}),
    ],
)
def test_structured_data_is_read_where_it_is_some(rest: bytes, message: str, data: dict[str, str]) -> None:
    event = one(b"<14>1 - - - - - " + rest)
    assert event.message == message
    assert {name: value for name, value in event.attributes.items() if name.startswith("sd.")} == data


def test_what_is_not_said_is_not_there() -> None:
    event = one(b"<14>1 - - - - - - hello")
    assert (event.service_name, event.attributes) == ("unknown_service", {"facility": "user", "host": "10.0.0.7"})
    assert event.timestamp == NOW


@pytest.mark.parametrize(
    ("priority", "facility", "level", "word"),
    [
        (0, "kern", "FATAL", "emerg"),
        (9, "user", "FATAL", "alert"),
        (34, "auth", "FATAL", "crit"),
        (3, "kern", "ERROR", None),
        (12, "user", "WARN", None),
        (165, "local4", "INFO", "notice"),
        (190, "local7", "INFO", None),
        (191, "local7", "DEBUG", None),
    ],
)
def test_a_priority_is_a_facility_and_a_level(priority: int, facility: str, level: str, word: str | None) -> None:
    event = one(b"<%d>1 - - - - - - x" % priority)
    assert (event.level, event.attributes["facility"], event.attributes.get("severity_text")) == (level, facility, word)
    assert len(FACILITIES) == 24


@pytest.mark.parametrize(
    ("raw", "host", "service", "process", "message"),
    [
        (b"<34>Nov 27 06:14:15 mymachine su[12]: 'su root' failed", "mymachine", "su", "12", "'su root' failed"),
        (b"<34>Nov  7 06:14:15 mymachine su: failed: twice", "mymachine", "su", None, "failed: twice"),
        (b"<34>Nov 27 06:14:15 su[12]: failed", "10.0.0.7", "su", "12", "failed"),
        (b"<34>Nov 27 06:14:15 su: failed: twice", "10.0.0.7", "su", None, "failed: twice"),
        (b"<34>Nov 27 06:14:15 fe80::1 sshd[1]: hi", "fe80::1", "sshd", "1", "hi"),
        (b"<34>Nov 27 06:14:15 mymachine no tag here", "mymachine", "unknown_service", None, "no tag here"),
        (b"<34>Nov 27 06:14:15.250 m app: x", "m", "app", None, "x"),
        (b"<34>Nov 27 2026 06:14:15: m app: x", "m", "app", None, "x"),
        (b"<34>2026-11-27T06:14:15+00:00 m app[2]: x", "m", "app", "2", "x"),
        (b"<34>Nov 27 06:14:15 m postfix/smtpd[7]: x", "m", "postfix/smtpd", "7", "x"),
        (b"Nov 27 06:14:15 m app: without priority", "m", "app", None, "without priority"),
    ],
)
def test_messages_in_the_manner_of_rfc_3164_are_read(
    raw: bytes, host: str, service: str, process: str | None, message: str
) -> None:
    event = one(raw)
    assert (event.attributes["host"], event.service_name, event.attributes.get("procid"), event.message) == (
        host,
        service,
        process,
        message,
    )
    assert format_time(event.timestamp)[:13] == ("2026-11-07T06" if b" 7 " in raw else "2026-11-27T06")


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (
            b"<189>123: *Mar  1 18:48:50.483 UTC: %SYS-5-CONFIG_I: configured",
            "123: *Mar  1 18:48:50.483 UTC: %SYS-5-CONFIG_I: configured",
        ),
        (b"<34>Feb 30 06:14:15 m app: x", "Feb 30 06:14:15 m app: x"),
        (b"<34>Foo 27 06:14:15 m app: x", "Foo 27 06:14:15 m app: x"),
        (b"<999>text", "<999>text"),
        (b"<>text", "<>text"),
        (b"text", "text"),
        (b"<13>1 2 3 4 5 6 text", "1 2 3 4 5 6 text"),
        (b"<13>", ""),
        (b"<13>error: it said", "error: it said"),
    ],
)
def test_what_is_neither_is_a_line_of_text_with_the_time_of_its_receipt(raw: bytes, message: str) -> None:
    event = one(raw)
    assert (event.message, event.service_name, event.timestamp) == (message, "unknown_service", NOW)


@pytest.mark.parametrize(
    ("now", "written", "time"),
    [
        (NOW, b"Nov 27 06:14:15", "2026-11-27T06:14:15"),
        (datetime(2027, 1, 1, 0, 0, 5, tzinfo=UTC), b"Dec 31 23:59:59", "2026-12-31T23:59:59"),
        (datetime(2026, 12, 31, 23, 59, 58, tzinfo=UTC), b"Jan  1 00:00:01", "2027-01-01T00:00:01"),
        (NOW, b"Dec 27 08:00:00", "2026-12-27T08:00:00"),
        (NOW, b"Dec 29 08:00:00", "2025-12-29T08:00:00"),
        (NOW, b"Jun  1 00:00:00", "2026-06-01T00:00:00"),
        (datetime(2028, 3, 1, tzinfo=UTC), b"Feb 29 00:00:00", "2028-02-29T00:00:00"),
        (NOW.astimezone(timezone(timedelta(hours=2))), b"Nov 27 08:59:59", "2026-11-27T06:59:59"),
    ],
)
def test_a_time_without_year_and_zone_is_the_one_nearest_to_its_receipt(
    now: datetime, written: bytes, time: str
) -> None:
    event = one(b"<34>" + written + b" m app: x", now=now)
    assert format_time(event.timestamp)[:19] == time
    assert event.attributes["_time"] == written.decode()


def test_a_trace_in_structured_data_is_what_a_message_belongs_to() -> None:
    assert one(HEAD + b'[t@1 trace_id="' + b"AB" * 16 + b'"] x').correlation_id == "ab" * 16


def test_messages_of_one_process_have_one_key_and_those_of_another_another() -> None:
    keys = [
        event.correlation_id
        for event in events(
            b"<14>1 - h a 1 - - x",
            b"<14>1 - h a 1 - - y",
            b"<14>1 - h a 2 - - x",
            b"<14>1 - h b 1 - - x",
            b"<14>1 - i a 1 - - x",
        )
    ]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 4


def test_equal_messages_are_different_events_in_one_batch_and_in_two() -> None:
    ids = [event.event_id for key in ("one", "two") for event in events(HEAD + b"- x", HEAD + b"- x", key=key)]
    assert len(set(ids)) == 4


def test_a_message_that_was_cut_says_how_long_it_was() -> None:
    event = one(HEAD + b"- beginning", length=300_000)
    assert (event.message, event.attributes["_cut"], event.attributes["_repaired"]) == (
        "beginning",
        "message 300000",
        "cut",
    )


@given(raw=st.binary(max_size=100) | st.text('<>0123456789 -[]="\\:TZNov\0', max_size=60).map(str.encode))
def test_any_bytes_are_an_event(raw: bytes) -> None:
    assert len(events(raw, HEAD + raw, b"<34>Nov 27 06:14:15 m app: " + raw)) == 3


@given(text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_a_text_arrives_as_it_was_sent(text: str) -> None:
    wanted = text.removesuffix("\n").removesuffix("\r") if text.endswith("\n") else text
    assert one(HEAD + b"- \xef\xbb\xbf" + text.encode()).message == wanted


@given(value=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_a_value_of_structured_data_arrives_as_it_was_sent(value: str) -> None:
    escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("]", "\\]")
    event = one(HEAD + f'[a x="{escaped}"] m'.encode())
    assert (event.attributes["sd.a.x"], event.message) == (value, "m")
