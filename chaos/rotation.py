"""
One round of faults against a fleet under load, and its verdict.

    writers ──> gateway           all the time
    step:   inject, hold, take back ── recovered? ── next
    end:    writers stop ── everything stored, everything mirrored ── collect, check, check the checker
"""

import asyncio
import math
import time

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from random import Random
from typing import Final

import asyncpg
import httpx

from uuid_utils.compat import uuid7

from chaos.catalogue import CATALOGUE
from chaos.checker import Gone, Observed, Place, Rules, Verdict, check, lost_and_told
from chaos.faults import Scene
from chaos.fleet import REGIONS, Addresses, LeverError
from chaos.ledger import Ledger, LedgerFile, Outcome, read_ledger
from chaos.observe import Health, Observer, RunRecords, collect_rows, count_since, ends, growth, settle, table_mark
from chaos.plan import Step
from chaos.protocols import Made
from chaos.recovery import Recovery
from chaos.selftest import missed
from chaos.traffic import Traffic
from chaos.writers import Writers
from shared.wire.regions import LOGS
from testbed.access import fleet_client
from testbed.patience import patience

# On a normal machine; see testbed/patience.py.
RECOVERY_LIMIT_S: Final = 120.0
SETTLE_LIMIT_S: Final = 240.0
QUIET_S: Final = 2.0
UNDISTURBED_S: Final = 15.0
WINDOW_US: Final = 1_000_000
MAX_FUTURE_US: Final = 60_000_000

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class FaultReport:
    """
    What one fault did.

    Attributes:
        step: The fault, and the region that it hit.
        lasted_s: Seconds from its beginning until it was taken back.
        recovery_s: Seconds from then until the fleet had recovered. None if it had not within the limit.
        acknowledged: Events acknowledged meanwhile, recovery included.
        failovers: Those of them that another region served than the one asked for.
        unanswered: Attempts without a usable answer, by their result.
        health: What the services reported.
        remarks: The fault's observations.
        error: Why the fault failed. None if it did not.
    """

    step: Step
    lasted_s: float
    recovery_s: float | None
    acknowledged: int
    failovers: int
    unanswered: Mapping[str, int]
    health: Health
    remarks: Sequence[str]
    error: str | None = None


@dataclass(slots=True)
class RoundReport:
    """
    What one round did, and the checker's verdict.

    Attributes:
        service: The run's name in the table.
        faults: The faults in their order.
        outcomes: Number of events by their outcome in the ledger.
        rows: Number of the run's rows by the reason why they are late (`in time` if they are not).
        copies: Number of the run's records in Kafka, mirrored ones included.
        verdict: The findings.
        strange: Findings that only the writers, or a fault, could make.
        removed: Acknowledged events removed from Kafka before a consumer had read them, and counted as skipped.
        missed: Planted mistakes that the checker did not find in this round's data.
        memory: The largest memory of each service, in bytes.
        seconds: How long the round took.
    """

    service: str
    faults: list[FaultReport] = field(default_factory=list)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    rows: Mapping[str, int] = field(default_factory=dict)
    copies: int = 0
    verdict: Verdict = field(default_factory=Verdict)
    strange: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    removed: int = 0
    memory: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def failures(self) -> list[str]:
        """The reasons why the round failed, a sentence each. Empty if it passed."""
        found = [
            f"{kind}: {count}, {'; '.join(self.verdict.examples[kind])}"
            for kind, count in self.verdict.found.items()
            if count
        ]
        found += [f"{f.step.fault} could not be done: {f.error}" for f in self.faults if f.error]
        found += [
            f"{f.step.fault} ({f.step.region}): not whole again within {RECOVERY_LIMIT_S:g} s"
            for f in self.faults
            if f.recovery_s is None
        ]
        found += [f"the checker does not find {mistake}" for mistake in self.missed]
        return found + self.strange


class Round:
    """
    Runs one round.

    Args:
        service: The run's name. No other row may have it.
        seed: Seed of the traffic.
        rate: Events a second.
        folder: Folder for the ledger and the faults' files.
        say: Shows a line of progress.
    """

    def __init__(self, service: str, seed: int, *, rate: float, folder: Path, say: Say) -> None:
        self._service = service
        self._seed = seed
        self._rate = rate
        self._folder = folder
        self._say = say
        self._at = Addresses()
        self._set_back = False
        self._gone: list[Gone] = []
        self._unreadable: list[tuple[Place, int]] = []
        self._impassable: list[tuple[Place, int]] = []
        self._strange: list[str] = []

    async def run(self, steps: Sequence[Step], *, until: float = math.inf) -> RoundReport:
        """
        Inject the faults and return the report. `RoundReport.failures` says whether the round passed.

        Args:
            steps: The faults, in this order.
            until: Monotonic time after which no further fault begins.
        """
        report, began = RoundReport(self._service), time.monotonic()
        path = self._folder / f"{self._service}.ledger"
        async with AsyncExitStack() as stack:
            self._http = await stack.enter_async_context(fleet_client(10))
            self._recovery = Recovery(self._at, self._http)
            await self._recovery.whole_again(within_s=patience(RECOVERY_LIMIT_S))
            mark, since = await table_mark(self._at.postgres), await ends(self._at)
            observer = Observer(self._at, self._http)
            await stack.enter_async_context(observer.watching())
            ledger_file = stack.enter_context(LedgerFile(path))
            random = Random(f"writers/{self._seed}")
            self._traffic = Traffic(self._service, random, uuid7)
            self._writers = Writers(self._at.gateway, REGIONS, ledger_file, self._traffic, random, rate=self._rate)
            writing = asyncio.create_task(self._writers.run())
            try:
                await asyncio.sleep(QUIET_S if steps else UNDISTURBED_S)
                for step in takewhile(lambda _: time.monotonic() < until, steps):
                    report.faults.append(await self._do(step, observer))
                    await asyncio.sleep(QUIET_S)
            finally:
                self._writers.stop()
                await writing
            records = RunRecords(self._at, self._service, since, self._impassable)
            self._say("writers have stopped; waiting until everything is stored and mirrored")
            await settle(self._at, records, within_s=patience(SETTLE_LIMIT_S))
        allowed = {**growth(since, await ends(self._at)), **await count_since(self._at.postgres, mark)}
        await self._judge(report, read_ledger(path), observer, records, allowed)
        report.memory = observer.memory
        report.strange += [*self._writers.seen.strange, *self._strange]
        report.seconds = time.monotonic() - began
        return report

    async def _do(self, step: Step, observer: Observer) -> FaultReport:
        chosen, seen = CATALOGUE[step.fault], self._writers.seen
        scene = Scene(
            self._at,
            self._http,
            Random(step.seed),
            step.region,
            self._folder,
            self._send_from_the_future,
            service=self._service,
            send_large=self._send_large,
        )
        told = sum(observer.told.values())
        observer.take_health()
        before, began = (seen.total, seen.failovers, seen.unanswered.copy()), time.monotonic()
        error = None
        try:
            await chosen.inject(scene)
        except (LeverError, OSError, httpx.HTTPError, asyncpg.PostgresError, asyncpg.InterfaceError) as exc:
            error = f"{type(exc).__name__}: {exc}"
        lasted_s = time.monotonic() - began
        self._gone += scene.gone
        self._unreadable += scene.unreadable
        self._impassable += scene.impassable
        self._strange += scene.strange
        recovery_s = await self._recovery.whole_again(
            within_s=patience(RECOVERY_LIMIT_S), set_back=scene.set_back_us is not None
        )
        if scene.gone or sum(observer.told.values()) > told:
            scene.remarks.append(f"{sum(observer.told.values()) - told:.0f} told as skipped")
        if scene.set_back_us is not None:
            self._set_back = True
            observer.forget_commits(scene.set_back_us)
        done = FaultReport(
            step,
            lasted_s,
            recovery_s,
            acknowledged=seen.total - before[0],
            failovers=seen.failovers - before[1],
            unanswered=seen.unanswered - before[2],
            health=observer.take_health(),
            remarks=scene.remarks,
            error=error,
        )
        whole = "NOT WHOLE AGAIN" if recovery_s is None else f"whole again after {recovery_s:.1f} s"
        self._say(
            f"{step.fault:<32} {step.region}  {lasted_s:5.1f} s, {whole}; {done.acknowledged} acknowledged, "
            f"{done.failovers} failed over"
            + "".join(f", {number} x {what}" for what, number in sorted(done.unanswered.items()))
            + "".join(f"; {remark}" for remark in [*done.remarks, *([error] if error else [])])
        )
        return done

    async def _send_from_the_future(self, region: str, ahead_s: int) -> None:
        made: list[Made] = [self._traffic.future(time.time_ns() // 1000, ahead_s * 1_000_000)]
        await self._writers.send_patiently(self._http, region, made)

    async def _send_large(self, region: str, event_bytes: int) -> int:
        made = self._traffic.large(time.time_ns() // 1000, event_bytes)
        await self._writers.send_patiently(self._http, region, made)
        return len(made)

    # -- the end

    async def _judge(
        self, report: RoundReport, ledger: Ledger, observer: Observer, records: RunRecords, allowed: dict[str, float]
    ) -> None:
        rows = await collect_rows(self._at.postgres, self._service)
        if self._set_back:
            for name in ("rows stored", "late rows"):
                del allowed[name]  # after a restore some events are rightly stored twice
        observed = Observed(
            rows,
            records.records,
            observer.commits,
            records.dead_letters,
            observer.counted,
            allowed,
            gone=self._gone,
            told=observer.told,
            unreadable=self._unreadable,
            set_aside=records.set_aside,
        )
        rules = Rules(WINDOW_US, MAX_FUTURE_US, LOGS, set_back=self._set_back, undisturbed=not report.faults)
        report.verdict = check(ledger, observed, rules)
        report.missed = missed(ledger, observed, rules, Random(self._seed))
        report.outcomes = {outcome.name.lower(): ledger.count(outcome) for outcome in Outcome}
        report.rows = Counter(row.late_reason or "in time" for row in rows)
        report.copies = len(records.records)
        report.removed = len(lost_and_told(ledger, observed))
        if ledger.identity_broken:
            report.strange.append(
                f"{ledger.identity_broken} events were sent with two contents: a mistake of the writers"
            )
