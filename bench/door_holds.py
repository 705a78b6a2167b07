"""
What bodies of 64 MiB ask of a gateway: how long one step of reading them holds the event loop, and how much memory many take.

The first is processor time of each step that `shared.ingest.turns` does not interrupt. Only the steps in the loop count, not
those that a thread does. A body with millions of records is read for a while and not to its end.
"""

import asyncio
import gzip
import time

from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from bench import door_bodies
from shared.event.outcome import Accepted
from shared.ingest.head import Head
from shared.ingest.protocol import Submission
from shared.ingest.receipt import example
from shared.ingest.routes import Routes
from shared.wire.problem import ProblemError

_MIB: Final = 1024 * 1024
_BYTES: Final = 62 * _MIB
_READ_FOR_S: Final = 3.0
_TAG: Final = 8
_CONTINUED: Final = 128
_SAMPLE_S: Final = 0.02
_REGION: Final = "region-a"
BODIES_AT_ONCE: Final = 32


class Large(NamedTuple):
    """A body, as its path and its content type."""

    path: str
    kind: str
    make: Callable[[], bytes]


def bodies() -> Mapping[str, Large]:
    """Return usual bodies and the worst ones, by name."""
    otlp, loki = ("/v1/logs", "application/x-protobuf"), ("/loki/api/v1/push", "application/x-protobuf")
    otlp_json, loki_json = ("/v1/logs", "application/json"), ("/loki/api/v1/push", "application/json")
    bulk, ingest = ("/_bulk", "application/x-ndjson"), ("/ingest", "application/x-ndjson")
    text = b"x" * _BYTES
    logs = b'{"resourceLogs":[{"scopeLogs":[{"logRecords":[%b]}]}]}'
    streams = b'{"streams":[{"stream":{"a":"b"},"values":[%b]}]}'
    fields = b",".join(b'"%d":1' % number for number in range(_BYTES // 11))
    return {
        "OTLP protobuf": Large(*otlp, lambda: door_bodies.otlp_protobuf(_BYTES // 300)),
        "OTLP protobuf, empty records": Large(*otlp, lambda: _field(1, _field(2, b"\x12\0" * (_BYTES // 2)))),
        "OTLP protobuf, one record": Large(*otlp, lambda: _field(1, _field(2, _field(2, _field(5, _field(1, text)))))),
        "OTLP JSON": Large(*otlp_json, lambda: door_bodies.otlp_json(_BYTES // 700)),
        "OTLP JSON, empty records": Large(*otlp_json, lambda: logs % b",".join([b"{}"] * (_BYTES // 3))),
        "OTLP JSON, one record": Large(*otlp_json, lambda: logs % b'{"body":{"stringValue":"%b"}}' % text),
        "Loki, empty entries": Large(*loki, lambda: _field(1, _field(1, b'{a="b"}') + b"\x12\0" * (_BYTES // 2))),
        "Loki, one entry": Large(*loki, lambda: _field(1, _field(1, b'{a="b"}') + _field(2, _field(2, text)))),
        "Loki JSON, empty entries": Large(*loki_json, lambda: streams % b",".join([b'["1",""]'] * (_BYTES // 9))),
        "Loki JSON, one entry": Large(*loki_json, lambda: streams % b'["1","%b"]' % text),
        "_bulk": Large(*bulk, lambda: door_bodies.bulk(_BYTES // 700)),
        "_bulk, empty documents": Large(*bulk, lambda: b'{"index":{}}\n{}\n' * 149_000),
        "_bulk, empty lines": Large(*bulk, lambda: b"\n" * _BYTES),
        "_bulk, one document": Large(*bulk, lambda: b'{"index":{}}\n{"message":"%b"}\n' % text),
        "_bulk, one document of many fields": Large(*bulk, lambda: b'{"index":{}}\n{%b}\n' % fields),
        "/ingest": Large(*ingest, lambda: door_bodies.ingest(_BYTES // 560)),
        "/ingest, empty lines": Large(*ingest, lambda: b"\n" * _BYTES + b"{}"),
        "/ingest, one record": Large(*ingest, lambda: b'{"message":"%b"}' % text),
        "/ingest, brackets": Large(*ingest, lambda: b"[" * _BYTES),
    }


def longest_hold_s(routes: Routes, large: Large) -> float:
    """Return the processor time of the longest step of reading a body and of answering it."""
    return max(_steps(routes, large))


def _steps(routes: Routes, large: Large) -> Iterator[float]:
    found = routes.find(large.path)
    assert found is not None  # noqa: S101 - for the type checker
    protocol = found.route.protocol
    head = Head(
        {"type": "http", "headers": [(b"content-type", large.kind.encode())], "query_string": b""}, found.variable
    )
    asked, body = protocol.check(head), large.make()
    until = time.process_time() + _READ_FOR_S
    reading = protocol.read(body, example(large.path), asked)
    del body
    assert not isinstance(reading, Submission)  # noqa: S101 - for the type checker
    events = 0
    while (began := time.process_time()) < until:
        try:
            step: Any = next(reading)
        except StopIteration as done:
            yield time.process_time() - began
            began = time.process_time()
            protocol.answer(done.value, [Accepted(_REGION)] * (events + len(done.value.events)))
            yield time.process_time() - began
            return
        except ProblemError:
            yield time.process_time() - began
            return
        yield time.process_time() - began
        if callable(step):
            step()
        else:
            events += len(step or ())


def _field(number: int, content: bytes) -> bytes:
    """Return a field of Protocol Buffers that has bytes."""
    head, size = bytearray([number * _TAG | 2]), len(content)
    while size >= _CONTINUED:
        head.append(size % _CONTINUED | _CONTINUED)
        size //= _CONTINUED
    head.append(size)
    return bytes(head) + content


def compressed() -> bytes:
    """Return a large request as many agents may send it at once."""
    return gzip.compress(door_bodies.otlp_protobuf(_BYTES // 300), 6)


async def most_memory_mib(post: Callable[[bytes], Any], body: bytes) -> float:
    """Return the largest resident memory of this process while many such bodies are posted at once."""
    seen = [resident_mib()]

    async def look() -> None:
        while True:
            seen.append(resident_mib())
            await asyncio.sleep(_SAMPLE_S)

    async with AsyncExitStack() as stack:
        looking = asyncio.create_task(look())
        stack.callback(looking.cancel)
        await asyncio.gather(*[post(body) for _ in range(BODIES_AT_ONCE)])
        with suppress(asyncio.CancelledError):
            looking.cancel()
            await looking
    return max(seen)


def resident_mib() -> float:
    """Return the resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    raise AssertionError("a process has resident memory")
