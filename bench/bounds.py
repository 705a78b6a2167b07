"""
`bounds`: what clients that mean harm cost a gateway, and the honest ones beside them.

Single posts at a fixed rate have a 99th percentile alone. It is held against theirs beside posts that stop before their last
byte, beside the largest bodies of the worst kinds, and beside a flood of good batches from another address. The longest that
such a body holds the event loop is processor time, measured here with the gateway's own code, since from outside the
machine's other work cannot be told from it. Afterwards each acknowledged event is in Kafka.
"""

import argparse
import asyncio
import gc
import os
import time

from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Final, TypeVar

from uuid_utils import uuid7

from bench import hostile
from bench.backlog import read_ids, settled_ends
from bench.gateway import Fleet, start
from bench.hostile import Body, Told
from bench.posts import event, post_at, request
from bench.report import Report, demand
from bench.rounds import percentile
from gateway.__main__ import GARBAGE_THRESHOLDS
from shared.event.model import InvalidEventError
from shared.event.outcome import Accepted
from shared.event.sealed import Intake
from shared.ingest.codings import decoder, hold_any
from shared.ingest.head import Head
from shared.ingest.logs_api import MAX_BATCH_BYTES, LogBatch
from shared.ingest.protocol import Submission
from shared.ingest.turns import Step, Work
from shared.wire.problem import ProblemError

T = TypeVar("T")

_REGION: Final = "region-a"
_WARM_UP_S: Final = 10
_CONNECTIONS: Final = 32
_FLOOD_EVENTS: Final = 1000
_FLOOD_CONNECTIONS: Final = 8
_HOSTILE_CONNECTIONS: Final = 2
_ACCEPTED: Final = 202
_MIB: Final = 1024 * 1024
_SAMPLE_S: Final = 0.05


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--seconds", type=float, default=10, help="how long the honest ones post beside each (10)")
    parser.add_argument("--rate", type=float, default=100, help="honest posts a second (100)")
    parser.add_argument("--half-sent", type=int, default=2500, help="posts that stop before their last byte (2500)")


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    hostile.more_files()
    with ExitStack() as stack:
        clients = stack.enter_context(ProcessPoolExecutor(1, get_context("spawn")))
        fleet = await start(stack)
        begins = await settled_ends(fleet.servers.kafka)
        sent = _Sent(fleet, arguments, report, clients)
        say("warming up")
        await sent.honest("warming up", _WARM_UP_S)
        for number in range(arguments.rounds):
            say(f"round {number + 1} of {arguments.rounds}")
            await _round(sent, say)
        for name, body in hostile.bodies().items():
            report.add(f"longest hold, {name}", "ms", longest_hold_s(body) * 1000)
        report.add(
            "longest hold", "ms", max(f.median for n, f in report.figures.items() if n.startswith("longest hold,"))
        )
        records, ids = await read_ids(fleet.servers.kafka, begins)
        lost = sent.acknowledged - records
        report.expect(lost <= 0, f"{lost:,} acknowledged events are not in Kafka")
        report.expect(len(ids) == records, f"{records - len(ids):,} records with the id of another one")
    report.notes.append("gateway, producer, Kafka, honest and hostile clients share the cores")


class _Sent:
    """The posts of a run, and how many events of them were acknowledged."""

    def __init__(self, fleet: Fleet, arguments: argparse.Namespace, report: Report, clients: Executor) -> None:
        self.arguments = arguments
        self.report = report
        self.acknowledged = 0
        self.gateway = fleet.gateway
        self._clients = clients

    async def honest(self, beside: str, seconds: float) -> float:
        """Return the 99th percentile of single posts, in milliseconds; each is accepted."""
        url = f"{self.gateway.url}/api/logs"
        answers = await post_at(
            url,
            lambda n: request(url, event("bench-honest", n), region=_REGION),
            rate=self.arguments.rate,
            seconds=seconds,
            connections=_CONNECTIONS,
        )
        took_ms = [answer.took_s * 1000 for answer in answers if answer.status == _ACCEPTED]
        refused = len(answers) - len(took_ms)
        self.acknowledged += len(took_ms)
        self.report.expect(refused == 0, f"{beside}: {refused:,} of {len(answers):,} honest posts were not accepted")
        demand(bool(took_ms), f"{beside}: no honest post was accepted")
        return percentile(took_ms, 99)

    async def beside(self, name: str, harm: Callable[..., Told]) -> tuple[float, Told]:
        """Return the percentile while others do harm, and what these were told."""
        seconds = self.arguments.seconds
        loop = asyncio.get_running_loop()
        told = loop.run_in_executor(self._clients, partial(harm, self.gateway.url, seconds=seconds))
        p99_ms = await self.honest(name, seconds)
        return p99_ms, await told


async def _round(sent: _Sent, say: Callable[[str], None]) -> None:
    report, arguments = sent.report, sent.arguments
    alone_ms = await sent.honest("alone", arguments.seconds)
    report.add("p99 alone", "ms", alone_ms)

    say("posts that stop before their last byte")
    with _resident(sent.gateway.pid) as seen:
        p99_ms, told = await sent.beside(
            "half-sent", partial(hostile.stop_before_the_last_byte, posts=arguments.half_sent)
        )
    report.add("RSS beside half-sent posts, at most", "MiB", max(seen) / _MIB)
    report.add("p99 beside half-sent posts / alone", "", p99_ms / alone_ms)
    answered = sum(number for status, number in told.statuses.items() if status not in (0, 408, 503))
    report.expect(
        answered == 0, f"{answered:,} posts that were not sent to their end have another answer than 408 or 503"
    )

    worst, largest = 0.0, 0
    for name, body in hostile.bodies().items():
        say(name)
        harm = partial(hostile.post_again_and_again, body=body, connections=_HOSTILE_CONNECTIONS)
        p99_ms, told = await sent.beside(name, harm)
        report.add(f"p99 beside {name} / alone", "", p99_ms / alone_ms)
        worst = max(worst, p99_ms / alone_ms)
        largest = max(largest, 0 if body.events else told.largest)
        sent.acknowledged += told.statuses[_ACCEPTED] * body.events
        report.expect(told.statuses.total() > 0, f"{name}: no answers")
        report.expect(0 not in told.statuses, f"{name}: connections were ended without an answer")
        wrong = told.statuses[_ACCEPTED] if not body.events else told.statuses[400]
        report.expect(wrong == 0, f"{name}: {wrong:,} answers were of the wrong kind: {dict(told.statuses)}")
    report.add("p99 beside large bodies / alone", "", worst)
    report.add("largest answer to what is refused", "MiB", largest / _MIB)

    say("a flood from another address")
    body = hostile.flood(_FLOOD_EVENTS)
    p99_ms, told = await sent.beside(
        "a flood", partial(hostile.post_again_and_again, body=body, connections=_FLOOD_CONNECTIONS)
    )
    sent.acknowledged += told.statuses[_ACCEPTED] * body.events
    report.add("p99 beside a flood / alone", "", p99_ms / alone_ms)
    report.add("the flood", "events/s", told.statuses[_ACCEPTED] * body.events / arguments.seconds)


@contextmanager
def _resident(pid: int) -> Iterator[list[int]]:
    """Look at a process's resident memory while the block lasts."""
    seen: list[int] = []

    async def look() -> None:
        while True:
            with suppress(OSError):
                pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])  # noqa: ASYNC240 - no file on a disk
                seen.append(pages * os.sysconf("SC_PAGE_SIZE"))
            await asyncio.sleep(_SAMPLE_S)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        looking.cancel()


def longest_hold_s(body: Body) -> float:
    """Return the processor time of the longest step of unpacking, reading and answering, as the gateway does them."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    try:
        return max(_steps(body))
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _steps(body: Body) -> Iterator[float]:
    protocol = LogBatch()
    asked = protocol.check(Head({"type": "http", "headers": [(b"content-type", b"application/json")]}))
    undo = decoder(body.coding)
    content = body.content if undo is None else (yield from _timed(undo(body.content, MAX_BATCH_BYTES, hold_any)))
    try:
        read = protocol.read(content, Intake(datetime.now(UTC), uuid7), asked)
        submission = read if isinstance(read, Submission) else (yield from _timed(read))
    except (ProblemError, InvalidEventError):
        return
    began = time.process_time()
    with suppress(ProblemError):
        protocol.answer(submission, [Accepted(_REGION)] * len(submission.events))
    yield time.process_time() - began


def _timed(work: Work[T]) -> Generator[float, None, T]:
    go: Callable[[Any], Step] = work.send
    value: Any = None
    while True:
        began = time.process_time()
        try:
            step = go(value)
        except StopIteration as done:
            yield time.process_time() - began
            return done.value  # type: ignore[no-any-return]
        except (ProblemError, InvalidEventError):
            yield time.process_time() - began
            raise
        yield time.process_time() - began
        value = None if step is None else step()  # which a thread does there
