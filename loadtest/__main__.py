"""
`./load-test.sh`: split the running fleet under load, heal it, and prove the result.

The exit status is 0 only if no event was lost, duplicated or left unexplained, and otherwise 1. It is 2 if the run could not
be done, and 130 if it was interrupted, after all levers were taken back.
"""

import argparse
import asyncio
import logging
import secrets
import signal
import subprocess
import sys
import time

from pathlib import Path
from typing import Final

import asyncpg
import httpx

from aiokafka.errors import KafkaError
from pydantic_core import from_json, to_json

from chaos.fleet import Addresses, LeverError, running_mode
from chaos.revision import revision
from chaos.shippers import PROTOCOLS
from loadtest import noisy
from loadtest.figures import percentile
from loadtest.page import headline, render
from loadtest.report import BOTH, Report
from loadtest.run import LoadTest, NotWholeError, Wish
from loadtest.scenarios import SCENARIOS
from loadtest.tenants import SECONDS, NoisyTenant, noisy_rate
from loadtest.view import View, watching
from testbed.access import ROOT, RUN

_EVENT_SIZE_MAX: Final = 200_000


class CannotRunError(Exception):
    """There is no fleet to test. The message says what to do."""


def _arguments() -> argparse.Namespace:
    known = [(scenario.name, scenario.what) for scenario in SCENARIOS.values()]
    scenarios = "\n".join(f"  {name:<16} {what}" for name, what in [*known, (noisy.NAME, noisy.WHAT)])
    parser = argparse.ArgumentParser(
        prog="./load-test.sh",
        description=__doc__,
        epilog=f"scenarios:\n{scenarios}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--scenario",
        choices=[*SCENARIOS, noisy.NAME],
        default="split-brain",
        metavar="NAME",
        help="see below; split-brain if not given",
    )
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="api",
        metavar="NAME",
        help="how clients send: api (the project's own, the default), otlp, loki, bulk",
    )
    parser.add_argument(
        "--rate", type=_positive, default=1500.0, metavar="N", help="events a second, both regions together (1500)"
    )
    parser.add_argument(
        "--event-size", type=_size, default=300, metavar="CHARS", help="longest message of an event (300)"
    )
    parser.add_argument(
        "--scale",
        type=_positive,
        default=1.0,
        metavar="X",
        help="all phases are X times as long (1: about two minutes in all)",
    )
    parser.add_argument("--seed", type=int, help="repeats a run's traffic; drawn and printed if not given")
    parser.add_argument(
        "--report", type=Path, metavar="FOLDER", help="for report.html, report.json and the ledger (.run/load-test/RUN)"
    )
    parser.add_argument(
        "--start", action="store_true", help="start a fleet if none runs, without asking; it is left running"
    )
    parser.add_argument(
        "--tail", action="store_true", help="follow the events all the time; the tail must have each row once"
    )
    parser.add_argument("--plain", action="store_true", help="plain lines on a terminal, too")
    return parser.parse_args()


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not a number above 0")
    return value


def _size(text: str) -> int:
    if not (text.isdecimal() and 1 <= int(text) <= _EVENT_SIZE_MAX):
        raise argparse.ArgumentTypeError(f"{text} is not from 1 to {_EVENT_SIZE_MAX}")
    return int(text)


def _runs() -> bool:
    """Return whether a fleet of `./setup.sh` runs, healthy or not."""
    if not (RUN / "mode").exists():
        return False
    for address in Addresses().services.values():
        try:
            httpx.get(f"{address}/health", timeout=5, trust_env=False)
        except httpx.RemoteProtocolError:
            return True  # it speaks TLS
        except httpx.TransportError:
            continue
        return True
    return False


def _find_fleet(*, start: bool) -> str:
    """Return the mode of the running fleet. If none runs and `start` is set, start one."""
    if not _runs():
        if not start and not _agreed("No fleet is running. Start one with ./setup.sh?"):
            raise CannotRunError("no fleet is running; start one with ./setup.sh, or run ./load-test.sh --start")
        if subprocess.run([ROOT / "setup.sh"], check=False).returncode != 0:  # noqa: S603 - no part of it is input
            raise CannotRunError("./setup.sh could not start a fleet; it says above why")
    return running_mode()


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        return False
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _wish(arguments: argparse.Namespace) -> Wish:
    mode = _find_fleet(start=arguments.start)
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    folder = arguments.report or RUN / "load-test" / f"{time.strftime('%Y%m%d-%H%M%S')}-{arguments.scenario}"
    folder.mkdir(parents=True, exist_ok=True)
    wish = Wish(
        SCENARIOS[arguments.scenario],
        PROTOCOLS[arguments.protocol],
        seed,
        arguments.rate,
        arguments.event_size,
        arguments.scale,
        folder,
        mode,
        revision("describe", "--always", "--dirty"),
        with_tail=arguments.tail,
    )
    if wish.ledger.exists():
        raise CannotRunError(f"{folder} holds the ledger of an earlier run; name another folder")
    return wish


async def _run(wish: Wish, view: View) -> Report:
    loop, this = asyncio.get_running_loop(), asyncio.current_task()
    stopping = False

    def stop() -> None:
        nonlocal stopping
        view.say("still taking everything back" if stopping else "interrupted; taking everything back")
        if not stopping and this is not None:
            this.cancel()
        stopping = True

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop)
    return await LoadTest(wish, view).run()


def _save(report: Report, folder: Path) -> None:
    failures = report.failures
    whole = {"passed": not failures, "failures": failures, **from_json(to_json(report))}
    (folder / "report.json").write_bytes(to_json(whole, indent=2))
    (folder / "report.html").write_text(render(report))


def _tell(report: Report, folder: Path) -> None:
    lines = [
        "",
        f"acknowledged       {report.acknowledged:,} events, {report.attempted:,} sent in all, {report.failovers:,} failed over",
        f"rows               {sum(report.rows.values()):,}: "
        + ", ".join(f"{count:,} {why.replace('_', ' ')}" for why, count in sorted(report.rows.items())),
        "duplicates caught  "
        + (", ".join(f"{count:,} by {layer}" for layer, count in sorted(report.duplicates.items())) or "none"),
        f"exposure           {report.exposure[BOTH].most:,} events in one region only at the worst moment ("
        + ", ".join(f"{link} {there.most:,}" for link, there in report.exposure.items() if link != BOTH)
        + ")",
        "replication lag    up to " + ", ".join(f"{link} {seconds:.1f} s" for link, seconds in report.lag_s.items()),
        "converged          "
        + ("never" if report.converged_s is None else f"{report.converged_s:.1f} s after healing"),
        f"{'':<18} {'acknowledgement p50 / p99':>28} {'post to row p50 / p99':>28}",
    ]
    for phase in report.phases:
        if phase.acknowledgement.p50_ms is not None and phase.to_row.p50_ms is not None:
            waits = [
                f"{latency.p50_ms or 0:,.0f} / {latency.p99_ms or 0:,.0f} ms"
                for latency in (phase.acknowledgement, phase.to_row)
            ]
            lines.append(f"  {phase.phase:<16} {waits[0]:>28} {waits[1]:>28}")
    lines += [f"  {kind:<16} {count:>6,}" for kind, count in report.verdict.found.items()]
    lines += [f"FAILED  {failure}" for failure in report.failures]
    lines += [
        "",
        f"{'PASSED' if not report.failures else 'FAILED'}  {headline(report)}",
        f"report: {folder / 'report.html'}",
    ]
    sys.stdout.write("\n".join(lines) + "\n")


def _noisy(arguments: argparse.Namespace) -> int:
    """Run the scenario that cuts nothing: two tenants, one of which sends too much."""
    quota = noisy_rate()
    _find_fleet(start=arguments.start)
    addresses = Addresses()
    seed = secrets.randbelow(2**31) if arguments.seed is None else arguments.seed
    run = NoisyTenant(quota, SECONDS * arguments.scale, seed, addresses.gateway)
    sys.stdout.write(
        f"load test: {noisy.NAME}, {noisy.TIMES * quota:g} and {noisy.QUIET_RATE:g} events/s, seed {seed}\n"
    )

    async def send_and_compare() -> list[str]:
        await run.send()
        return await run.failures(addresses)

    failures = asyncio.run(send_and_compare())
    for sender in (run.noisy, run.quiet):
        waits = [percentile(sorted(sender.waits_s), part) for part in (50, 99)]
        told = ", ".join(f"{number:,} times {status}" for status, number in sorted(sender.answers.items()))
        times = " / ".join("-" if wait is None else f"{wait * 1000:,.0f}" for wait in waits)
        sys.stdout.write(
            f"{sender.tenant:<12} {len(sender.acknowledged):>9,} acknowledged, {times} ms p50 / p99; {told}\n"
        )
    for failure in failures:
        sys.stdout.write(f"FAILED  {failure}\n")
    if not failures:
        sys.stdout.write("PASSED  the quiet tenant noticed nothing, and no acknowledged event is missing\n")
    return 1 if failures else 0


def main() -> int:
    """Run as asked on the command line."""
    arguments = _arguments()
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)  # a line for each connection that a broker refuses
    try:
        if arguments.scenario == noisy.NAME:
            return _noisy(arguments)
        wish = _wish(arguments)
        title = (
            f"load test: {wish.scenario.name}, {wish.rate:g} events/s by {wish.protocol.name}, seed {wish.seed}, "
            f"{wish.mode} mode"
        )
        with watching(title, plain=arguments.plain) as view:
            report = asyncio.run(_run(wish, view))
        _save(report, wish.folder)
    except (asyncio.CancelledError, KeyboardInterrupt):
        sys.stderr.write("interrupted; what was done to the fleet is undone, and there is no verdict\n")
        return 130
    except (
        CannotRunError,
        noisy.CannotJudgeError,
        NotWholeError,
        LeverError,
        KafkaError,
        OSError,
        httpx.HTTPError,
        asyncpg.PostgresError,
    ) as exc:
        sys.stderr.write(f"error: {exc}\n")
        return 2
    _tell(report, wish.folder)
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
