"""Hypothesis strategies for JSON as no encoder writes it, and for events made of it."""

import json

from hypothesis import strategies as st

from shared.event.levels import BY_NAME
from shared.event.times import format_time
from shared.tests import strategies

BOM = b"\xef\xbb\xbf"
USUAL = {"serviceName": '"checkout"', "level": '"INFO"', "message": '"Hello"', "correlationId": '"trace-1"'}
IDENTITY = {"eventId": '"019ab0c4-52a0-7c1a-9d53-0242ac120002"', "timestamp": '"2026-11-23T12:00:00.123456Z"'}
RECEIVED = IDENTITY | USUAL | {"attributes": "{}", "receivedAt": '"2026-11-23T12:00:01.000000Z"'}
RECORD = RECEIVED | {"originRegion": '"region-a"'}

_NUMBERS = """
0 -0 1 -1 0.0 -0.0 1.0 1e0 1E5 1.5e1 15e-1 1e-7 0.0000001 0.00000010 1e308 1e309 -1e309 1e999 1e-400 1e-1000 1e-1001
1e99999999999999999999 9007199254740993 9223372036854775807 9223372036854775808 -9223372036854775808 -9223372036854775809
18446744073709551615 18446744073709551616 1795435200 1795435200123 1795435200123.5 1795435200123456 1795435200123456.9
1.795435200123e12 100000000000 99999999999 7289654399999 7289654400000 NaN Infinity -Infinity 01 1. .5 +1 1e 0x10 -
"""
_LONG = ["9" * 64, "9" * 65, "9" * 400, "9" * 5000, "0." + "1" * 30, "0." + "1" * 1001, "1" * 30 + ".5"]
numbers = strategies.number_texts | st.sampled_from([*_NUMBERS.split(), *_LONG])
strings = st.sampled_from(
    [
        '""', '" "', '"x"', '" INFO"', '"\\u0041"', '"\\u0000"', '"\\\\u0000"', '"a\\u0000b"', '"\\u001b[0m"', '"\\ud83d"',
        '"\\udc00"', '"\\ud83d\\ude00"', '"\\ud83dx"', '"\\ude00\\ud83d"', '"\\n"', '"\\"q\\""', '"\\/"', '"\\x"', '"é"', '"\U0001f469"',
        '"e\\u0301"', '"\x01"', '"\x00"', '"\t"', '"unfinished', '"' + "x" * 256 + '"', '"' + "x" * 257 + '"', '"' + "é" * 256 + '"',
        '"' + "é" * 257 + '"', '"' + "\U0001f469" * 256 + '"',
    ]
)  # fmt: skip
levels = st.sampled_from(
    [
        *BY_NAME,
        "iNfO",
        "WARN\u0131NG",
        "\u0131NFO",
        "LOUD",
        "3",
        "30",
        "inf\\u006f",
        "\\u0049NFO",
        "\u0130NFO",
        "\ufb01ne",
        "INFO ",
    ]
).map(lambda name: f'"{name}"')
times = st.sampled_from(
    [
        "2026-11-23T12:00:00Z", "2026-11-23T12:00:00.Z", "2026-11-23T12:00:00.1Z", "2026-11-23T12:00:00.123Z",
        "2026-11-23T12:00:00.123456Z", "2026-11-23T12:00:00.1234567Z", "2026-11-23T12:00:00.123456789Z", "2026-11-23t12:00:00.1z",
        "2026-11-23T12:00:00,123Z", "2026-11-23 12:00:00.123456Z", "2026-11-23T12:00Z", "2026-11-23T12:00:00+01:00",
        "2026-11-23T12:00:00.123456+00:00", "2026-11-23T12:00:00", "2026-11-23T12:00:00X", "2026-02-30T12:00:00.000000Z",
        "2026-11-23T24:00:00.000000Z", "2026-11-23T12:00:61.000000Z", "2016-12-31T23:59:60Z", "2016-12-31T23:59:60.000000Z",
        "2016-12-31T23:59:60.5Z", "2026-11-23T12:00:00.1_0_12Z", "2026-11-23T12:00:00.     1Z", "2026-11-23T12:00:00.+00012Z",
        "2026-11-23T12:00:00.\u0660\u0660\u0660\u066012Z", "\uff12026-11-23T12:00:00.000000Z", "1969-12-31T23:59:59.999999Z",
        "1970-01-01T00:00:00.000000Z", "2200-12-31T23:59:59.999999Z", "2200-12-31T23:59:60.000000Z", "2201-01-01T00:00:00.000000Z",
        "2026-11-23T12:00:00.123456Z\\n", " 2026-11-23T12:00:00Z", "2026-11-23T12:00:00.12345\\u0036Z", "1795435200123", "1795435200",
        "1795435200123.5", "yesterday", "",
    ]
).map(lambda text: f'"{text}"') | strategies.times.map(lambda time: json.dumps(format_time(time)))  # fmt: skip
ids = st.sampled_from(
    [
        "019ab0c4-52a0-7c1a-9d53-0242ac120002", "019AB0C4-52A0-7C1A-9D53-0242AC120002", "019ab0c452a07c1a9d530242ac120002",
        "{019ab0c4-52a0-7c1a-9d53-0242ac12000}", "019ab0c4 52a0 7c1a 9d53 0242ac120002", "-" * 36, " 19ab0c4-52a0-7c1a-9d53-0242ac120002",
        "0-9ab0c4-52a0-7c1a-9d53-0242ac120002", "\u066019ab0c4-52a0-7c1a-9d53-0242ac120002", "019ab0c4-52a0-7c1a-9d53-0242ac12000g",
        "00000000-0000-0000-0000-000000000000", "",
    ]
).map(lambda text: f'"{text}"')  # fmt: skip
words = st.sampled_from(["null", "true", "false", "nul", "{}", "[]", "{", "]", ""])
deep = st.sampled_from([50, 1500, 30_000]).map(lambda depth: "[" * depth + "]" * depth)
scalars = st.one_of(numbers, strings, words, levels, times, ids)


def objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    """Objects that may have a key twice, and blanks anywhere."""
    keys = st.sampled_from(
        ['"k"', '"k"', '""', '"a"', '"\\u006b"', '"\\ud83d"', '"\\u0000"', '"' + "k" * 256 + '"', '"' + "k" * 257 + '"']
    )
    pairs = st.lists(st.tuples(keys, values), max_size=4)
    return pairs.map(lambda pairs: "{" + " , ".join(f"{key}:{value}" for key, value in pairs) + "}")


many = st.sampled_from([63, 64, 65, 200]).map(lambda n: "{" + ",".join(f'"{i}":{i}' for i in range(n)) + "}")
attributes = objects(scalars) | many | deep | words
values = st.one_of(scalars, deep, attributes, objects(objects(numbers)))
_OWN = {
    "level": levels, "timestamp": times | numbers, "receivedAt": times | numbers, "eventId": ids, "attributes": attributes,
}  # fmt: skip


@st.composite
def events(draw: st.DrawFn, usual: dict[str, str]) -> bytes:
    """A usual event of which some fields are odd, missing, unknown, or there twice."""
    pairs = list((usual | draw(st.sampled_from([{}, IDENTITY]))).items())
    names = st.sampled_from(
        [*RECORD, *RECORD, "unknown", "service_name", "", "Level", "lev\\u0065l", "\\ud83d", "u" * 100]
    )
    for _ in range(draw(st.integers(0, 3))):
        name = draw(names)
        if draw(st.integers(0, 5)) == 0:
            pairs = [pair for pair in pairs if pair[0] != name]
            continue
        # In place of the usual value, or before it, or after it.
        pair = (name, draw(_OWN.get(name, strings) | values))
        where = draw(st.integers(-1, len(pairs)))
        if where < 0:
            pairs = [pair if there[0] == name else there for there in pairs]
        else:
            pairs.insert(where, pair)
    comma, colon, end = draw(st.sampled_from([(",", ":", ""), (", ", ": ", ""), (",", ":", " \t"), (",\r", " :", "")]))
    text = "{" + comma.join(f'"{name}"{colon}{value}' for name, value in pairs) + "}" + end
    mark = draw(st.sampled_from([b"", b"", b"", BOM]))
    return mark + text.encode(errors="surrogatepass")
