"""
`python -m bench NAME`: one benchmark, its figures beside those that it is held against, and the check of what it moved.

Exit status 0 also where an aim was missed. It is 1 if something was lost, doubled, out of order or wrong in another way:
the figures then prove nothing. It is 2 if the benchmark could not be done.
"""

import argparse
import asyncio
import logging
import os
import signal
import sys

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Final

from aiokafka.errors import KafkaError
from asyncpg import PostgresError
from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from bench import (
    bloom,
    bounds,
    catch_up,
    consumer,
    fleet,
    frontdoor,
    gateway,
    latency,
    memory,
    mirror,
    producer,
    reading,
    soak,
    trip,
)
from bench.aims import AIMS
from bench.chart import draw
from bench.report import BrokenRunError, Report, aim_lines, markdown, standings, table
from bench.stage import ROOT
from chaos.fleet import LeverError
from chaos.revision import revision
from testbed.server import ServerFailedError, ServersUnavailableError

BENCHMARKS: Final[Mapping[str, ModuleType]] = {
    "consumer": consumer,
    "gateway": gateway,
    "bounds": bounds,
    "frontdoor": frontdoor,
    "latency": latency,
    "redis": memory,
    "fleet": fleet,
    "producer": producer,
    "mirror": mirror,
    "soak": soak,
    "reading": reading,
    "catch-up": catch_up,
    "bloom": bloom,
    "trip": trip,
}
_REPORT: Final = TypeAdapter(Report)
_NO_OPTION: Final = ("name", "json")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    for name, module in BENCHMARKS.items():
        one = names.add_parser(
            name, help=(module.__doc__ or "").strip().splitlines()[0], description=module.__doc__,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        one.add_argument("--rounds", type=int, default=3, help="how often each contender has its turn (3)")
        one.add_argument("--json", type=Path, help="for the report; a picture goes beside it (.run/bench/NAME.json)")
        module.add_arguments(one)
    for name, what in (("table", "print reports again"), ("aims", "hold reports against all aims")):
        one = names.add_parser(name, help=what)
        one.add_argument("files", nargs="*", type=Path)
        if name == "table":
            one.add_argument("--markdown", action="store_true", help="for a document")
    return parser.parse_args()


def _say(what: str) -> None:
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S}  {what}\n")
    sys.stderr.flush()


def _measure(arguments: argparse.Namespace) -> int:
    report = Report(
        benchmark=arguments.name,
        commit=revision("describe", "--always", "--dirty"),
        at=f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        cores=len(os.sched_getaffinity(0)),
        options={name: value for name, value in vars(arguments).items() if name not in _NO_OPTION and value},
    )
    try:
        asyncio.run(BENCHMARKS[arguments.name].run(arguments, report, _say))
    except (ServersUnavailableError, ServerFailedError, LeverError, KafkaError, PostgresError, OSError) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    except (BrokenRunError, AssertionError) as exc:
        report.failures.append(str(exc))
    path: Path = arguments.json or ROOT / ".run" / "bench" / f"{arguments.name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(to_json(report, indent=2))
    if report.figures:
        draw(report, path.with_suffix(".svg"))
    sys.stdout.write(f"{table(report)}\n")
    return 1 if report.failures else 0


def _read(files: Sequence[Path]) -> Sequence[Report]:
    return [_REPORT.validate_json(path.read_bytes()) for path in files]


def _tell(arguments: argparse.Namespace) -> int:
    try:
        reports = _read(arguments.files)
    except (OSError, ValidationError) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    if arguments.name == "aims":
        told = "\n".join(aim_lines(standings(AIMS, {report.benchmark: report for report in reports})))
    else:
        told = markdown(reports) if arguments.markdown else "\n\n".join(map(table, reports))
    sys.stdout.write(f"{told}\n")
    return 0


def main() -> int:
    """Run as asked on the command line."""
    arguments = _arguments()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    # As after Ctrl-C, servers are taken down first.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return _measure(arguments) if arguments.name in BENCHMARKS else _tell(arguments)


if __name__ == "__main__":
    sys.exit(main())
