"""
`latency`: how long an acknowledgement takes, and how long it is from receipt to row, on the running fleet (`./setup.sh`).

Single posts at a fixed rate, half of them to each region. An event waits for the reorder window by design, so the time above
the window counts. `stored_at` is set when the row is written, and the commit comes a moment later. The mean of that, from
the consumers' own histogram, is added.
"""

import argparse
import time

from collections.abc import Callable
from typing import Final

from bench.posts import event, post_at, request
from bench.report import Report
from bench.rounds import percentile
from bench.running import Running, running
from chaos.fleet import REGIONS

_WARM_UP_S: Final = 30
_CONNECTIONS: Final = 64
_ACCEPTED: Final = 202
_WAITS: Final = """
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY ms) AS p50, percentile_cont(0.99) WITHIN GROUP (ORDER BY ms) AS p99,
       avg(ms) AS mean, count(*) FILTER (WHERE late) AS late
FROM (SELECT (extract(epoch FROM stored_at - received_at) * 1000)::float AS ms, late FROM logs WHERE service_name = $1) AS w
"""
_END_TO_END: Final = ("consumer_end_to_end_seconds_sum", "consumer_end_to_end_seconds_count")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--rate", type=float, default=500, help="posts a second, both regions together (500)")
    parser.add_argument("--seconds", type=int, default=30, help="length of a round (30)")


async def run(arguments: argparse.Namespace, report: Report, say: Callable[[str], None]) -> None:
    """Measure, check, and write into the report."""
    async with running() as fleet:
        report.notes.append(f"reorder window {fleet.window_ms:g} ms")
        say("warming up")
        await _post(fleet, f"bench-warm-{time.time_ns()}", arguments.rate, _WARM_UP_S)
        for number in range(arguments.rounds):
            say(f"round {number + 1} of {arguments.rounds}")
            await _round(arguments, report, fleet)


async def _post(fleet: Running, service: str, rate: float, seconds: float) -> tuple[list[float], int]:
    """Return how long each acknowledgement took, in milliseconds, and how many posts were not acknowledged."""
    url = f"{fleet.gateway}/api/logs"
    answers = await post_at(
        url,
        lambda n: request(url, event(service, n), region=REGIONS[n % len(REGIONS)]),
        rate=rate,
        seconds=seconds,
        connections=_CONNECTIONS,
    )
    took_ms = [answer.took_s * 1000 for answer in answers if answer.status == _ACCEPTED]
    return took_ms, len(answers) - len(took_ms)


async def _round(arguments: argparse.Namespace, report: Report, fleet: Running) -> None:
    service = f"bench-latency-{time.time_ns()}"
    before = await fleet.consumers_say(*_END_TO_END)
    took_ms, refused = await _post(fleet, service, arguments.rate, arguments.seconds)
    report.expect(refused == 0, f"{refused:,} posts were not acknowledged")
    rows = await fleet.rows_of(service, len(took_ms))
    distinct = await fleet.distinct_of(service)
    report.expect(rows >= len(took_ms), f"{len(took_ms) - rows:,} acknowledged events are not in the table")
    report.expect(rows == distinct, f"{rows - distinct:,} rows are of events that another row is of")
    after = await fleet.consumers_say(*_END_TO_END)
    [waits] = await fleet.postgres.fetch(_WAITS, service)
    report.expect(waits["late"] == 0, f"{waits['late']:,} rows are late")
    total_s, events = (now - then for now, then in zip(after, before, strict=True))
    committed_ms = max(0.0, total_s * 1000 / events - waits["mean"])
    report.add("acknowledgement, p50", "ms", percentile(took_ms, 50))
    report.add("acknowledgement, p99", "ms", percentile(took_ms, 99))
    median, p99 = waits["p50"] + committed_ms, waits["p99"] + committed_ms
    report.add("receipt to commit, p50", "ms", median)
    report.add("receipt to commit, p99", "ms", p99)
    report.add("of which after the INSERT, mean", "ms", committed_ms)
    report.add("(median - window) / window", "", (median - fleet.window_ms) / fleet.window_ms)
    report.add("p99 / window", "", p99 / fleet.window_ms)
