"""
`bloom`: the consumer with the bloom filter it has, rbloom, and with pybloom-live in its place.

pybloom-live is none of the project's dependencies: `pip install pybloom-live` first. The consumer runs as always, by another
name: `bench/pybloom_consumer.py` puts pybloom-live where `consumer/bloom.py` makes its filters.
"""

import argparse
import importlib.util

from collections.abc import Callable

from bench.consumer import add_traffic, drain, fill_as_asked, variables_of
from bench.report import Report, demand
from bench.rounds import interleave
from bench.stage import stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--events", type=int, default=200_000, help="events of the backlog (200,000)")
    add_traffic(parser)


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    demand(
        importlib.util.find_spec("pybloom_live") is not None, "pybloom-live is not installed: pip install pybloom-live"
    )
    with stage("kafka", "postgres", "redis") as servers:
        say(f"filling Kafka with {arguments.events:,} events")
        backlog = await fill_as_asked(servers.kafka, arguments.events, arguments)

        async def one(name: str, module: str) -> float:
            drained = await drain(servers, backlog, variables_of(arguments), report, module=module)
            report.add(name, "events/s", drained.rate)
            cpu_s = drained.cpu_s["consumer"] * 1000 / backlog.events
            report.add(f"CPU, consumer with {name}", "s per 1,000 events", cpu_s)
            return drained.rate

        contenders = {
            "pybloom-live": lambda _: one("pybloom-live", "bench.pybloom_consumer"),
            "rbloom": lambda _: one("rbloom", "consumer"),
        }
        for rates in await interleave(contenders, arguments.rounds, say):
            report.add("rbloom / pybloom-live", "", rates["rbloom"] / rates["pybloom-live"])
