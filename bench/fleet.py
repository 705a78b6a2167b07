"""
`fleet`: batches to both regions of the running fleet (`./setup.sh`), from the gateway to rows, for as long as one likes.

Batches come at a fixed rate. The report has the rows a second that are stored while they come. It also has how much further
the store falls behind the acknowledgements in each second: a fleet that cannot keep up shows it there.
"""

import argparse
import asyncio
import time

from collections.abc import Callable, Sequence
from typing import Final

from bench.posts import Answer, batch, post_at
from bench.report import Report, demand
from bench.rounds import slope
from bench.running import Running, running
from chaos.fleet import REGIONS

_CONNECTIONS: Final = 16
_ACCEPTED: Final = 202
_LOOK_EVERY_S: Final = 1.0
_STORED: Final = "consumer_events_stored_total"
_WARM_UP_S: Final = 10.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rate", type=float, default=8400, help="events a second, both regions together (8400)")
    parser.add_argument("--batch", type=int, default=500, help="events of a batch (500)")
    parser.add_argument("--seconds", type=int, default=60, help="length of a round, warming up not counted (60)")


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    async with running() as fleet:
        for number in range(arguments.rounds):
            say(f"round {number + 1} of {arguments.rounds}: {arguments.rate:,.0f} events/s")
            await _round(arguments, report, fleet, number)
    report.notes.append("everything, the clients included, shares the cores")


async def _round(arguments: argparse.Namespace, report: Report, fleet: Running, number: int) -> None:
    url, service = f"{fleet.gateway}/api/logs/batch", f"bench-fleet-{time.time_ns()}"

    def make(n: int) -> bytes:
        return batch(url, service, n, arguments.batch, REGIONS[n % len(REGIONS)])

    begun = time.monotonic()
    [stored_before] = await fleet.consumers_say(_STORED)
    posting = asyncio.create_task(
        post_at(
            url,
            make,
            rate=arguments.rate / arguments.batch,
            seconds=_WARM_UP_S + arguments.seconds,
            connections=_CONNECTIONS,
        )
    )
    stored: list[tuple[float, float]] = []
    while not posting.done():
        await asyncio.sleep(_LOOK_EVERY_S)
        [now] = await fleet.consumers_say(_STORED)
        stored.append((time.monotonic() - begun, now - stored_before))
    answers = await posting
    acknowledged = [answer for answer in answers if answer.status == _ACCEPTED]
    accepted = len(acknowledged) * arguments.batch
    rows = await fleet.rows_of(service, accepted)
    distinct = await fleet.distinct_of(service)
    report.expect(len(acknowledged) == len(answers), f"{len(answers) - len(acknowledged):,} batches were refused")
    report.expect(rows >= accepted, f"{accepted - rows:,} acknowledged events are not in the table")
    report.expect(rows == distinct, f"{rows - distinct:,} rows are of events that another row is of")
    behind = lag(acknowledged, arguments.batch, stored)
    steady = [point for point in stored if _WARM_UP_S <= point[0] <= _WARM_UP_S + arguments.seconds]
    demand(len(steady) > 1, "the round is too short")
    report.add("offered", "events/s", arguments.rate)
    report.add("stored", "events/s", slope(steady))
    grows = slope([point for point in behind if point[0] >= _WARM_UP_S])
    report.add("growth of the lag", "events/s", grows)
    report.add("growth of the lag / offered", "", grows / arguments.rate)
    report.add("lag in the middle", "s", behind[len(behind) // 2][1] / arguments.rate)
    report.series[f"acknowledged, not stored, round {number + 1}"] = behind


def lag(answers: Sequence[Answer], batch: int, stored: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return how many events were acknowledged and not stored, at each time of a sample."""
    times = sorted(answer.due_s + answer.took_s for answer in answers)
    points, done = [], 0
    for at, rows in stored:
        while done < len(times) and times[done] <= at:
            done += 1
        points.append((at, done * batch - rows))
    return points
