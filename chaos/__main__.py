"""
`python -m chaos`: inject the whole catalogue of faults into the running fleet, under load, and give a verdict.

The fleet must have been started with `FLEET_FAULTS=on ./setup.sh`. The exit status is 0 only if there is no finding.
"""

import argparse
import asyncio
import logging
import secrets
import signal
import sys
import time

from itertools import count
from pathlib import Path
from typing import Final

from chaos.catalogue import CATALOGUE
from chaos.fleet import REGIONS, running_mode
from chaos.plan import plan_round
from chaos.revision import revision
from chaos.rotation import Round, RoundReport
from chaos.table import save
from testbed.access import ROOT

FOLDER: Final = ROOT / ".run" / "chaos"


def _say(line: str) -> None:
    sys.stdout.write(f"[{time.strftime('%H:%M:%S')}] {line}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats a run's faults and traffic; drawn and printed if not given")
    parser.add_argument("--minutes", type=float, help="begin no fault after so long; one round if not given")
    parser.add_argument("--rate", type=float, default=1000.0, help="events a second, both regions together")
    parser.add_argument("--only", action="append", metavar="FAULT", help="this fault, may be repeated; `none` for none")
    parser.add_argument("--report", type=Path, help="where to write the report; in .run/chaos if not given")
    parser.add_argument("--list", action="store_true", help="print the catalogue")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> list[RoundReport]:
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    mode, began = running_mode(), time.monotonic()
    if arguments.only is None:
        chosen = [name for name, fault in CATALOGUE.items() if mode in fault.modes]
        left_out = sorted(CATALOGUE.keys() - set(chosen))
        if left_out:
            _say(f"there is no lever in {mode} mode for: {', '.join(left_out)}")
    else:
        chosen = [name for name in arguments.only if name != "none"]
    until = float("inf") if arguments.minutes is None else began + 60 * arguments.minutes
    FOLDER.mkdir(parents=True, exist_ok=True)
    reports: list[RoundReport] = []
    for number in count(1):
        service = f"chaos-{seed}-{number}-{int(time.time())}"
        steps = plan_round(seed, number, {name: CATALOGUE[name].place for name in chosen}, REGIONS)
        _say(f"round {number}, seed {seed}, {mode} mode, {arguments.rate:g} events/s, {len(steps)} faults ({service})")
        report = await Round(service, seed + number, rate=arguments.rate, folder=FOLDER, say=_say).run(
            steps, until=until
        )
        reports.append(report)
        where = arguments.report if arguments.report and number == 1 else FOLDER / f"{service}.json"
        save(
            report,
            where,
            seed=seed,
            number=number,
            mode=mode,
            commit=revision("rev-parse", "--short", "HEAD"),
            rate=arguments.rate,
        )
        _tell(report, where)
        if arguments.minutes is None or time.monotonic() >= until:
            return reports
    raise AssertionError  # counting does not end


def _tell(report: RoundReport, where: Path) -> None:
    rows = ", ".join(f"{number:,} {why.replace('_', ' ')}" for why, number in sorted(report.rows.items()))
    _say(f"ledger: {', '.join(f'{number:,} {outcome}' for outcome, number in report.outcomes.items())}")
    _say(f"table: {rows}; Kafka: {report.copies:,} records")
    _say("memory: " + ", ".join(f"{service} {size / 2**20:.0f} MiB" for service, size in sorted(report.memory.items())))
    for kind, number in report.verdict.found.items():
        _say(f"  {kind:<18} {number}")
    for failure in report.failures:
        _say(f"FAILED {failure}")
    _say(f"{'clean' if not report.failures else 'NOT CLEAN'}, {report.seconds:.0f} s; report in {where}")


def main() -> int:
    """Run as asked on the command line."""
    arguments = _arguments()
    # On SIGTERM and SIGINT the fault is taken back first, also if SIGINT was ignored at the start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, lambda *_: signal.raise_signal(signal.SIGINT))
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a line for each connection that a broker refuses
    if arguments.list:
        for fault in CATALOGUE.values():
            sys.stdout.write(f"{fault.name:<32} {fault.what}\n")
        return 0
    unknown = set(arguments.only or ()) - set(CATALOGUE) - {"none"}
    if unknown:
        sys.stderr.write(f"no fault named {', '.join(sorted(unknown))}; see --list\n")
        return 2
    return 1 if any(report.failures for report in asyncio.run(_run(arguments))) else 0


if __name__ == "__main__":
    sys.exit(main())
