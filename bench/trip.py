"""
`trip`: how far one event travels through the code, in files and functions: what a reader has to follow. Counts, no times.

A single post goes through a gateway and a producer to a Kafka in memory and back to the 202; the record that it became goes
through the consumer's pipeline to a store in memory. Both ways are walked once before, so that what is made at first use is
there. Counted is each function of the services and of `shared` when it is entered; a coroutine that is resumed is not entered
again. A comprehension is part of its function.

* files       that the event passes through
* functions   different ones
* moves       from a function to the next one entered, where that one is in another file
* returns     moves into a file that was left before

`--way` prints each step.
"""

import argparse
import asyncio
import sys

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import httpx

from asgi_lifespan import LifespanManager
from prometheus_client import CollectorRegistry

import gateway.app
import producer.app

from bench.report import Report, demand
from consumer.bloom import RotatingBloom
from consumer.envelope import Partition
from consumer.metrics import ConsumerMetrics
from consumer.orders import Orders
from consumer.outages import Outages
from consumer.tests.fakes import MemoryDeadLetters, MemoryRecord, MemorySeenIds, MemoryStore
from consumer.tests.steps import Steps
from gateway.settings import GatewaySettings
from producer.settings import ProducerSettings
from producer.tests.fakes import FakeKafka
from shared.process import logs
from testbed.doors import INTERNAL, Doors

App = Callable[..., Awaitable[None]]

TO_KAFKA: Final = "post to 202"
TO_TABLE: Final = "record to row"
_ROOT: Final = Path(__file__).resolve().parent.parent
_COUNTED: Final = frozenset({"gateway", "producer", "consumer", "shared"})
_REGION: Final = "region-a"
_NEVER_MS: Final = 3_600_000
_WINDOW_US: Final = 1_000_000
_TIME: Final = "2026-11-23T12:00:00.000000Z"
_TIME_US: Final = 1_795_435_200_000_000
_EVENT: Final = (
    '{"serviceName":"checkout","level":"INFO","message":"order accepted","correlationId":"trace-1",'
    f'"timestamp":"{_TIME}","eventId":"01890a5d-ac96-774b-bcce-b302099a%04x"}}'
)


class Step(NamedTuple):
    """
    A function that was entered.

    Attributes:
        file: Its path in the repository.
        function: Its qualified name.
    """

    file: str
    function: str


@dataclass(frozen=True, slots=True)
class Length:
    """How long a way is; see the module."""

    files: int
    functions: int
    moves: int
    returns: int


def measure(steps: Sequence[Step]) -> Length:
    """Return how long the way of these steps is."""
    files = [step.file for step in steps]
    moves = [(here, there) for here, there in pairwise(files) if here != there]
    first_visits = len(set(files)) - 1 if files else 0
    return Length(len(set(files)), len(set(steps)), len(moves), len(moves) - first_visits)


class Recorder:
    """
    Records which functions are entered while it is a context.

    Args:
        root: Functions in files elsewhere are not recorded.
        folders: Those below `root` that count, without their tests.
    """

    def __init__(self, root: Path = _ROOT, folders: frozenset[str] = _COUNTED) -> None:
        self.steps: list[Step] = []
        self._root = root
        self._folders = folders
        self._files: dict[str, str | None] = {}
        # Held, so that no later frame gets the address of one that was seen.
        self._entered: dict[int, FrameType] = {}

    def __enter__(self) -> "Recorder":
        sys.setprofile(self._note)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)
        self._entered.clear()

    def _note(self, frame: FrameType, event: str, _: Any) -> None:
        if event != "call" or id(frame) in self._entered:
            return
        code = frame.f_code
        is_part = code.co_name.startswith("<") and code.co_name != "<lambda>"
        if is_part or (file := self._counted(code.co_filename)) is None:
            return
        self._entered[id(frame)] = frame
        self.steps.append(Step(file, code.co_qualname))

    def _counted(self, filename: str) -> str | None:
        if filename not in self._files:
            path = Path(filename)
            inside = path.relative_to(self._root) if path.is_relative_to(self._root) else Path()
            counts = len(inside.parts) > 1 and inside.parts[0] in self._folders and "tests" not in inside.parts
            self._files[filename] = str(inside) if counts else None
        return self._files[filename]


async def _call(
    app: App, method: str, path: str, body: bytes, content_type: bytes, *, host: str = "127.0.0.1"
) -> tuple[int, bytes]:
    """Make one request as a server does whose client sent it in one piece."""
    messages: list[dict[str, Any]] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if messages:
            return messages.pop()
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "scheme": "http",
        "method": method, "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "headers": [(b"content-type", content_type), (b"content-length", b"%d" % len(body))],
        "client": ("127.0.0.1", 1), "server": (host, 2),
    }  # fmt: skip
    await app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:])


class _NextDoor(httpx.AsyncBaseTransport):
    """The way to an app in the same process; the network is no part of the trip."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Ask the app."""
        content_type = request.headers.get("content-type", "").encode()
        body = await request.aread()
        status, content = await _call(self._app, request.method, request.url.path, body, content_type, host=INTERNAL)
        return httpx.Response(status, content=content)


async def to_kafka() -> tuple[Sequence[Step], tuple[bytes, bytes]]:
    """Post one event; return the steps until the answer, and the key and value of its record."""
    kafka = FakeKafka()
    of_producer = ProducerSettings(region=_REGION, kafka_bootstrap_servers="none:9092", check_interval_ms=_NEVER_MS)
    of_gateway = GatewaySettings.model_validate(
        {"regions": {_REGION: "http://a.test", "region-b": "http://b.test"}, "health_interval_ms": _NEVER_MS}
    )
    doors = Doors(producer.app.create_app(of_producer, kafka.connect), producer.app.create_internal_app())
    async with LifespanManager(doors) as there:
        await _wait_for(lambda: bool(kafka.clients))
        ways = {region: _NextDoor(there.app) for region in of_gateway.regions}
        async with LifespanManager(gateway.app.create_app(of_gateway, transports=ways)) as here:
            for number in range(2):
                recorder = Recorder()
                body = (_EVENT % number).encode()
                with recorder:
                    status, answer = await _call(here.app, "POST", "/api/logs", body, b"application/json")
                demand(status == httpx.codes.ACCEPTED, f"the post was answered with {status}: {answer!r}")
    return recorder.steps, kafka.written[-1]


async def _wait_for(holds: Callable[[], bool]) -> None:
    while not holds():
        await asyncio.sleep(0)


async def to_table(key: bytes, value: bytes) -> Sequence[Step]:
    """Let a record become a row; return the steps."""
    here, partition = _REGION, Partition("logs", 0)
    store, seen = MemoryStore(), MemorySeenIds()
    claim = await store.claim([partition])
    seen.use_store(claim.store_id)
    orders = Orders(
        region=here, window_us=_WINDOW_US, max_future_us=_WINDOW_US, max_events=1000, max_bytes=10**7,
        patience_us=_WINDOW_US,
    )  # fmt: skip
    orders.assign(partition, None, _TIME_US, has_unread=False)
    steps = Steps(
        region=here, claim=claim, buffer=orders, bloom=RotatingBloom(1000, 0.001), seen=seen, store=store,
        dead_letters=MemoryDeadLetters(), metrics=ConsumerMetrics(CollectorRegistry(), here, [here]), outages=Outages(),
        now_us=lambda: _TIME_US, batch_max=100, max_bytes=10**8,
    )  # fmt: skip
    for number in range(2):
        recorder = Recorder()
        # Another event of the same length for the first walk: the second one is to be new, too.
        record = MemoryRecord(number, key, value if number else value.replace(b"b302099a", b"b302099b"))
        with recorder:
            steps.pipeline.feed(partition, [record])
            steps.pipeline.arrived(_TIME_US, {partition: _TIME_US + 2 * _WINDOW_US})
            while steps.slot.waiting:
                await steps.write()
                await steps.remember()
        demand(len(store.database.tables.rows) == number + 1, "the record is no row")
    return recorder.steps


async def both() -> dict[str, Sequence[Step]]:
    """Return the steps of both legs."""
    steps, record = await to_kafka()
    return {TO_KAFKA: steps, TO_TABLE: await to_table(*record)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--way", action="store_true", help="print each step")


async def run(arguments: argparse.Namespace, report: Report, _: Callable[[str], None]) -> None:
    """Walk both legs, and write how long they are into the report."""
    logs.configure("trip", level="error")
    for leg, steps in (await both()).items():
        if arguments.way:
            sys.stdout.writelines(f"{leg}  {step.file}  {step.function}\n" for step in steps)
        length = measure(steps)
        for name in ("files", "functions", "moves", "returns"):
            report.add(f"{leg}: {name}", "", getattr(length, name))
