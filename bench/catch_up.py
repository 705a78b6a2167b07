"""
`catch-up`: how long both regions need after a split, on the running fleet (`./setup.sh`).

Both directions of replication are cut while events come. Then the clients stop, the network is healed, and the benchmark
watches how the copies arrive, and when the consumers have stored them.

The least time is what the slower direction needs for its backlog at its drain rate. That is the rate of its copies while
they came: the slope between the first and the last tenth of them. Time above that was spent waiting. Each direction is
measured alone, because they need not begin together.
"""

import argparse
import asyncio
import time

from collections.abc import Callable, Sequence
from typing import Final

from bench.backlog import count
from bench.posts import batch, post_at
from bench.report import Report, demand
from bench.rounds import slope
from bench.running import Running, running
from chaos.fleet import REGIONS, Addresses, pull
from shared.wire.regions import mirrored_topic

_LINKS: Final = ("a-to-b", "b-to-a")
_BATCH: Final = 200
_CONNECTIONS: Final = 16
_ACCEPTED: Final = 202
_LOOK_EVERY_S: Final = 0.1
_AT_MOST_S: Final = 180.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rate", type=float, default=4000, help="events a second in the split, both regions (4000)")
    parser.add_argument("--seconds", type=int, default=40, help="length of the split (40)")


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    async with running() as fleet:
        for number in range(arguments.rounds):
            say(f"round {number + 1} of {arguments.rounds}: {arguments.rate:,.0f} events/s in a split")
            await _round(arguments, report, fleet, number)
    report.notes.append("everything shares the cores; the time begins when both directions were told to be whole again")


async def _round(arguments: argparse.Namespace, report: Report, fleet: Running, number: int) -> None:
    url, service = f"{fleet.gateway}/api/logs/batch", f"bench-catch-up-{time.time_ns()}"

    def make(n: int) -> bytes:
        return batch(url, service, n, _BATCH, REGIONS[n % len(REGIONS)])

    await _all_through(fleet)
    try:
        for link in _LINKS:
            await pull("cut", link)
        before = await _copies()
        answers = await post_at(
            url, make, rate=arguments.rate / _BATCH, seconds=arguments.seconds, connections=_CONNECTIONS
        )
        accepted = sum(answer.status == _ACCEPTED for answer in answers) * _BATCH
        rows = await fleet.rows_of(service, accepted)
        demand(await _copies() == before, "something was copied although the network was cut")
    finally:
        for link in _LINKS:
            await pull("heal", link)
    healed = time.monotonic()
    copied: list[list[tuple[float, float]]] = [[] for _ in before]
    while not copied[0] or sum(points[-1][1] for points in copied) < accepted:
        await asyncio.sleep(_LOOK_EVERY_S)
        now = await _copies()
        for points, then, copies in zip(copied, before, now, strict=True):
            points.append((time.monotonic() - healed, copies - then))
        done = sum(points[-1][1] for points in copied)
        demand(copied[0][-1][0] < _AT_MOST_S, f"{done:,.0f} of {accepted:,} records were copied")
    await _all_through(fleet)
    took_s = time.monotonic() - healed
    report.expect(accepted == len(answers) * _BATCH, f"{len(answers) * _BATCH - accepted:,} events were refused")
    report.expect(rows == accepted, f"{rows:,} rows of {accepted:,} acknowledged events")
    again = await fleet.rows_of(service, accepted)
    report.expect(again == rows, f"{again - rows:,} copies became rows of their own")
    report.add("backlog", "events", accepted)
    least_s = 0.0
    for region, points in zip(REGIONS, copied, strict=True):
        backlog = points[-1][1]
        rate = slope(middle(points, backlog))
        least_s = max(least_s, backlog / rate)
        report.add(f"copied to {region}, while they came", "events/s", rate)
        report.series[f"copied to {region}, round {number + 1}"] = points
    report.add("took", "s", took_s)
    report.add("took / least", "", took_s / least_s)


def middle(copied: Sequence[tuple[float, float]], whole: float) -> Sequence[tuple[float, float]]:
    """Return the points from the last one before a tenth was copied to the first one after nine tenths were."""
    first = max((i for i, (_, n) in enumerate(copied) if n <= whole / 10), default=0)
    last = next(i for i, (_, n) in enumerate(copied) if n >= whole * 9 / 10)
    return copied[first : max(last, first + 1) + 1]


async def _copies() -> Sequence[int]:
    """Return how many records were ever copied into each region."""
    kafka = Addresses().kafka
    a, b = REGIONS
    return await asyncio.gather(count(kafka[a], mirrored_topic(b)), count(kafka[b], mirrored_topic(a)))


async def _all_through(fleet: Running) -> None:
    """Wait until the consumers are through with everything in their Kafkas."""
    until = time.monotonic() + _AT_MOST_S
    while (await fleet.consumers_say("consumer_lag_records")) != [0.0]:
        demand(time.monotonic() < until, "the consumers are not through with what is in Kafka")
        await asyncio.sleep(_LOOK_EVERY_S)
