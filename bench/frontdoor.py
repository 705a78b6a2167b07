"""
`frontdoor`: what log shippers' protocols cost the gateway, beside its own NDJSON batches.

All of it in one process: the gateway's application, without sockets, and producers that acknowledge at once. Each protocol
brings the same records, and the time is the processor's. `NAME / NDJSON` is how many records of it are taken in the time that
one of our own batch takes; `reading` is the same of the reading alone.
"""

import argparse
import asyncio
import gc
import time

from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing import get_context
from typing import Any, Final

import httpx

from uuid_utils import uuid7

from bench import door_bodies, door_holds, door_peer
from bench.report import Report, demand
from bench.rounds import interleave
from gateway.__main__ import GARBAGE_THRESHOLDS
from gateway.app import create_app
from gateway.protocols.table import ROUTES
from gateway.settings import GatewaySettings
from shared.event.opened import decode_received
from shared.event.outcome import Accepted
from shared.event.sealed import Intake
from shared.ingest.codings import hold_any
from shared.ingest.head import Head
from shared.ingest.opening import undoing
from shared.ingest.protocol import Submission
from shared.ingest.receipt import example
from shared.ingest.routes import Routes
from shared.ingest.turns import at_once
from shared.wire import handoff

REGION: Final = "region-a"
NDJSON: Final = "NDJSON"
_READ_LIMIT: Final = 2**26
_STORED: Final = (200, 202, 204)


@dataclass(frozen=True, slots=True)
class Contender:
    """
    A protocol, as one request of it.

    Attributes:
        path: Where it goes.
        kind: Its content type.
        body: Its bytes.
        read: Reads them as the gateway does.
        pod: The attribute in which an event has its pod.
    """

    path: str
    kind: str
    body: bytes
    read: Callable[[bytes], Any]
    pod: str = door_bodies.POD


class Producers(httpx.AsyncBaseTransport):
    """
    A region that acknowledges everything at once.

    Attributes:
        taken: How many events.
        kept: Bodies, while they are to be looked at.
    """

    def __init__(self) -> None:
        self.taken = 0
        self.kept: list[bytes] | None = None
        self._answers: dict[int, bytes] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a hand-off, or a check."""
        if request.url.path == "/ready":
            return httpx.Response(200)
        body = await request.aread()
        events = body.count(b"\n") + (not body.endswith(b"\n"))
        self.taken += events
        if self.kept is not None:
            self.kept.append(body)
        if (answer := self._answers.get(events)) is None:
            answer = self._answers[events] = handoff.encode_outcomes([Accepted(REGION)] * events)
        return httpx.Response(200, content=answer)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--records", type=int, default=2000, help="records of a request (2,000)")
    parser.add_argument("--requests", type=int, default=20, help="requests of a turn (20)")
    parser.add_argument("--peer", action="store_true", help="send OTLP to VictoriaLogs as well, which needs Go once")


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)  # as in the gateway's process
    contenders = _contenders(arguments.records)
    producers = Producers()
    settings = GatewaySettings(regions={REGION: "http://region-a.invalid"}, linger_ms=1)
    app = create_app(settings, transports={REGION: producers})
    async with AsyncExitStack() as stack:
        state = await stack.enter_async_context(app.router.lifespan_context(app))
        for name, contender in contenders.items():
            say(f"checking {name}")
            await _check(app, state, name, contender, producers, arguments.records, report)

        async def turn(name: str) -> tuple[float, float]:
            contender = contenders[name]
            records = arguments.records * arguments.requests
            whole = time.process_time()
            for _ in range(arguments.requests):
                await _post(app, state, contender)
            whole = time.process_time() - whole
            reading = time.process_time()
            for _ in range(arguments.requests):
                contender.read(contender.body)
            reading = time.process_time() - reading
            report.add(name, "us a record", whole / records * 1e6)
            report.add(f"{name}, reading", "us a record", reading / records * 1e6)
            return whole, reading

        takers = {name: (lambda _, name=name: turn(name)) for name in contenders}
        for taken in await interleave(takers, arguments.rounds, say):
            for name in contenders:
                if name != NDJSON:
                    report.add(f"{name} / {NDJSON}", "", taken[NDJSON][0] / taken[name][0])
                    report.add(f"{name} / {NDJSON}, reading", "", taken[NDJSON][1] / taken[name][1])
    _holds(report, say)
    if arguments.peer:
        await door_peer.measure(arguments.records, arguments.requests, arguments.rounds, report, say)


def _holds(report: Report, say: Callable[[str], None]) -> None:
    """Measure the longest steps, and the memory of another process that has nothing but a gateway."""
    routes = Routes(ROUTES)
    for name, large in door_holds.bodies().items():
        say(f"64 MiB: {name}")
        report.add(f"longest hold, {name}", "ms", door_holds.longest_hold_s(routes, large) * 1000)
    longest = max(f.median for name, f in report.figures.items() if name.startswith("longest hold,"))
    report.add("longest hold", "ms", longest)
    say(f"{door_holds.BODIES_AT_ONCE} bodies at once")
    with ProcessPoolExecutor(1, get_context("spawn")) as another:
        most, answers = another.submit(many_at_once, door_holds.compressed()).result()
    report.add("RSS beside 32 large bodies, at most", "MiB", most)
    report.expect(set(answers) <= {200, 503}, f"large bodies at once were answered with {dict(answers)}")
    report.expect(answers[200] > 0, "none of the large bodies at once was accepted")


def many_at_once(body: bytes) -> tuple[float, Counter[int]]:
    """Post a large body many times at once, in a process that has nothing but a gateway; return its memory and the answers."""
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    answers: Counter[int] = Counter()

    async def serve() -> float:
        settings = GatewaySettings(regions={REGION: "http://region-a.invalid"}, linger_ms=1)
        app = create_app(settings, transports={REGION: Producers()})
        async with app.router.lifespan_context(app) as state:

            async def post(sent: bytes) -> None:
                own = bytes(bytearray(sent))  # as each arrives by itself
                contender = Contender("/v1/logs", "application/x-protobuf", own, lambda _: None)
                answers[await _post(app, state, contender, coding=b"gzip")] += 1

            return await door_holds.most_memory_mib(post, body)

    return asyncio.run(serve()), answers


async def _check(  # noqa: PLR0917
    app: Any, state: Any, name: str, contender: Contender, producers: Producers, records: int, report: Report
) -> None:
    """See that a request's records become as many different events, and say what they said."""
    producers.kept = []
    await _post(app, state, contender)
    bodies, producers.kept = producers.kept, None
    events = [decode_received(line.encoded) for body in bodies for line in at_once(handoff.decode_events(body))]
    identities = {(event.event_id, event.timestamp) for event in events}
    report.expect(len(identities) == records, f"{name}: {len(identities)} of {records} records arrived")
    said = [event.message for event in events]
    report.expect(
        said == [door_bodies.message(number) for number in range(records)],
        f"{name}: records arrived changed, or in disorder",
    )
    report.expect(
        all(event.attributes[contender.pod] == door_bodies.RESOURCE[door_bodies.POD] for event in events),
        f"{name}: attributes are missing",
    )


async def _post(app: Any, state: Any, contender: Contender, coding: bytes = b"") -> int:
    """Make one request, without a server in between, and return the answer's status."""
    message = {"type": "http.request", "body": contender.body, "more_body": False}
    answered: list[int] = []

    async def receive() -> Mapping[str, Any]:
        return message

    async def send(sent: Mapping[str, Any]) -> None:
        if sent["type"] == "http.response.start":
            answered.append(sent["status"])

    scope = {
        "type": "http",
        "method": "POST",
        "path": contender.path,
        "query_string": b"",
        "headers": [(b"content-type", contender.kind.encode()), *([(b"content-encoding", coding)] if coding else [])],
        "client": ("127.0.0.1", 1),
        "state": state,
    }
    await app(scope, receive, send)
    await asyncio.sleep(0)
    demand(bool(coding) or answered[0] in _STORED, f"{contender.path} answered {answered[0]}")
    return answered[0]


def _contenders(records: int) -> Mapping[str, Contender]:
    now = datetime.now(UTC)
    own = Contender(
        "/api/logs/batch",
        "application/x-ndjson",
        door_bodies.ndjson(records),
        lambda body: Intake(now, uuid7).seal_lines(body),
    )
    json, protobuf = "application/json", "application/x-protobuf"
    return {
        NDJSON: own,
        "OTLP protobuf": _shipped("/v1/logs", protobuf, door_bodies.otlp_protobuf(records)),
        "OTLP JSON": _shipped("/v1/logs", json, door_bodies.otlp_json(records)),
        "Loki snappy": _loki(door_bodies.loki_snappy(records, metadata=False)),
        "Loki snappy with metadata": _loki(door_bodies.loki_snappy(records, metadata=True)),
        "_bulk": _shipped("/_bulk", "application/x-ndjson", door_bodies.bulk(records)),
        "/ingest": _shipped("/ingest", "application/x-ndjson", door_bodies.ingest(records)),
        "HEC": _shipped("/services/collector/event", json, door_bodies.hec(records)),
    }


def _loki(body: bytes) -> Contender:
    sent = _shipped("/loki/api/v1/push", "application/x-protobuf", body)
    return replace(sent, pod=door_bodies.POD.replace(".", "_"))


def _shipped(path: str, kind: str, body: bytes) -> Contender:
    found = Routes(ROUTES).find(path)
    demand(found is not None, f"{path} is no route")
    assert found is not None  # noqa: S101 - for the type checker
    route = found.route
    head = Head({"type": "http", "headers": [(b"content-type", kind.encode())], "query_string": b""}, found.variable)
    asked = route.protocol.check(head)
    undo = undoing(route, head)

    def read(sent: bytes) -> None:
        whole = sent if undo is None else at_once(undo(sent, _READ_LIMIT, hold_any))
        reading = route.protocol.read(whole, example(path), asked)
        if not isinstance(reading, Submission):
            for _ in reading:  # portions are forgotten, as they are once they are durable
                pass

    return Contender(path, kind, body, read)
