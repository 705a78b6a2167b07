"""
`soak`: the consumer on a stream ten times as long: is it as fast, and does it need no more memory?

Both lengths are drained as in `consumer`, by a new process each, in turns. The default is a tenth of the aim's length.
`--events 1000000` is the full length, and takes ten gigabytes of disk.
"""

import argparse

from collections.abc import Callable

from bench.consumer import add_traffic, drain, fill_as_asked, variables_of
from bench.report import Report
from bench.rounds import interleave
from bench.stage import stage


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--events", type=int, default=400_000, help="events of the short stream (400,000)")
    parser.add_argument("--factor", type=int, default=10, help="how much longer the long one is (10)")
    add_traffic(parser)


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    with stage("kafka", "postgres", "redis") as servers:

        async def one(name: str, events: int) -> tuple[float, float]:
            backlog = await fill_as_asked(servers.kafka, events, arguments)
            drained = await drain(servers, backlog, variables_of(arguments), report)
            report.add(name, "events/s", drained.rate)
            report.add(f"RSS, {name}, at most", "MiB", drained.peak_mib)
            report.series[f"RSS in MiB, {name}, round {len(report.figures[name].values)}"] = drained.resident
            return drained.rate, drained.peak_mib

        short, long = f"{arguments.events:,} events", f"{arguments.events * arguments.factor:,} events"
        contenders = {
            short: lambda _: one(short, arguments.events),
            long: lambda _: one(long, arguments.events * arguments.factor),
        }
        for measured in await interleave(contenders, arguments.rounds, say):
            (fast, small), (rate, size) = measured[short], measured[long]
            report.add("rate, long / short", "", rate / fast)
            report.add("RSS, long / short", "", size / small)
