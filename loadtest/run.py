"""
One run: write, run the scenario, wait until the regions agree, compare all data.

    writers ──> gateway      steady … heal
    levers                   split … heal, all taken back, also after an error
    samplers                 until the regions agree
    verify                   checker, checker's self-test, figures
"""

import asyncio
import contextlib
import time

from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

from uuid_utils.compat import uuid7

from chaos.checker import Observed, Rules, check
from chaos.fleet import REGIONS, Addresses, LeverError, letter, pull
from chaos.ledger import LedgerFile, read_answers, read_ledger
from chaos.observe import Observer, RunRecords, collect_rows, count_since, ends, growth, settle, table_mark
from chaos.protocols import ClientProtocol
from chaos.recovery import Recovery
from chaos.selftest import missed
from chaos.tail import TailReader, compare
from chaos.traffic import Traffic
from chaos.writers import Writers
from loadtest.figures import served_by
from loadtest.levers import Levers
from loadtest.report import About, Mark, Recorded, Report, summarise
from loadtest.samples import Mirrors, Sampler
from loadtest.scenarios import CLOCKS_US, INVERSE, WRITING, Phase, Scenario, Stage
from loadtest.view import View
from testbed.access import fleet_client, setting
from testbed.patience import patience

WHOLE_WITHIN_S: Final = 60.0
ANSWERED_WITHIN_S: Final = 120.0
SETTLE_WITHIN_S: Final = 300.0
PATIENCE_S: Final = 120.0
TAILED_WITHIN_S: Final = 60.0
_MESSAGE_MIN: Final = 20


class NotWholeError(Exception):
    """The fleet was not healthy before the run began."""


@dataclass(frozen=True, slots=True)
class Wish:
    """
    The options of a run.

    Attributes:
        scenario: The scenario to run.
        protocol: How clients send the events.
        seed: Seed of the traffic and of the region that is hit.
        rate: Events a second, for both regions together.
        event_size: The longest message, in characters.
        scale: Factor for the length of all phases.
        folder: Folder for ledger and reports.
        mode: Mode of the fleet.
        commit: Commit of the checkout.
        with_tail: Whether a tail follows the run.
    """

    scenario: Scenario
    protocol: ClientProtocol
    seed: int
    rate: float
    event_size: int
    scale: float
    folder: Path
    mode: str
    commit: str
    with_tail: bool = False

    @property
    def ledger(self) -> Path:
        """Path of the ledger."""
        return self.folder / "ledger"


class LoadTest:
    """
    Runs one load test.

    Args:
        wish: The options.
        view: Shows the progress.
    """

    def __init__(self, wish: Wish, view: View) -> None:
        self._wish = wish
        self._view = view
        self._at = Addresses()
        self._run = f"load-{wish.scenario.name}-{wish.seed}-{int(time.time())}"
        self._hit = Random(f"hit/{wish.seed}").choice(REGIONS)
        self._phases: list[tuple[Phase, float]] = []
        self._timeline: list[Mark] = []
        self._levers = Levers(self._note)
        self._unanswered = ""
        self._tail = TailReader(self._at.console, self._run) if wish.with_tail else None

    async def run(self) -> Report:
        """
        Run it and return the report. `Report.failures` says whether it passed.

        Raises:
            NotWholeError: The fleet was not healthy before the run.
            LeverError: A lever of the scenario failed.
        """
        async with AsyncExitStack() as stack:
            self._http = await stack.enter_async_context(fleet_client(10))
            await self._await_whole()
            self._mark, self._since = await table_mark(self._at.postgres), await ends(self._at)
            self._observer = Observer(self._at, self._http)
            await stack.enter_async_context(self._observer.watching())
            self._mirrors = Mirrors(self._at, self._since)
            await stack.enter_async_context(self._mirrors.followed())
            self._writers = self._make_writers(stack.enter_context(LedgerFile(self._wish.ledger)))
            self._enter(Phase.STEADY, WRITING[Phase.STEADY] * self._wish.scale)
            self._sampler = Sampler(
                self._http,
                self._at.gateway,
                self._observer,
                self._mirrors,
                self._writers.seen,
                tells_regions=self._wish.protocol.tells_regions,
            )
            await stack.enter_async_context(self._sampler.sampling(lambda: self._phases[-1][0], self._view.sample))
            if self._tail is not None:
                await stack.enter_async_context(self._tail.following())
            await self._write()
            records = RunRecords(self._at, self._run, self._since)
            settled = await settle(
                self._at, records, within_s=patience(SETTLE_WITHIN_S), patience_s=patience(PATIENCE_S)
            )
            if self._tail is not None:
                count = len(await collect_rows(self._at.postgres, self._run))
                await self._tail.has(count, patience(TAILED_WITHIN_S))
        self._enter(Phase.VERIFY)
        return await self._judge(records, settled=settled)

    def _make_writers(self, ledger: LedgerFile) -> Writers:
        wish, random = self._wish, Random(f"writers/{self._wish.seed}")
        chars = (min(_MESSAGE_MIN, wish.event_size), wish.event_size)
        self._traffic = Traffic(
            self._run, random, uuid7, message_chars=chars, clocks_us=CLOCKS_US, protocol=wish.protocol
        )
        return Writers(self._at.gateway, REGIONS, ledger, self._traffic, random, rate=wish.rate, protocol=wish.protocol)

    async def _await_whole(self) -> None:
        if await Recovery(self._at, self._http).whole_again(within_s=patience(WHOLE_WITHIN_S)) is None:
            try:
                said = await pull("status")
            except LeverError as exc:
                said = str(exc)
            raise NotWholeError(
                f"the fleet is not well; ./setup.sh mends what it can. Within {WHOLE_WITHIN_S:g} s not every part did its job "
                f"and events of both regions were served, stored and mirrored. Now it says:\n{said}"
            )

    # -- writing

    async def _write(self) -> None:
        writing = asyncio.create_task(self._writers.run())
        try:
            for phase, seconds in WRITING.items():
                await self._pass(phase, seconds * self._wish.scale, self._wish.scenario.stage(phase), writing)
        except BaseException:
            writing.cancel()
            raise
        finally:
            await self._levers.take_back()
            self._writers.stop()
        self._enter(Phase.CONVERGE)
        await asyncio.wait([writing], timeout=patience(ANSWERED_WITHIN_S))
        if not writing.done():
            writing.cancel()
            self._unanswered = f"{ANSWERED_WITHIN_S:g} s after everything was whole again, clients were still refused"
        with contextlib.suppress(asyncio.CancelledError):
            await writing

    async def _pass(self, phase: Phase, seconds: float, stage: Stage, writing: asyncio.Task[None]) -> None:
        if phase is not self._phases[-1][0]:
            self._enter(phase, seconds)
        self._writers.habits = stage.habits
        self._traffic.wrong_clocks = stage.wrong_clocks
        began = time.monotonic()
        other = next(region for region in REGIONS if region != self._hit)
        for lever in stage.pulls:
            await _hold(began + lever.after * seconds, writing)
            placed = lever.of(letter(self._hit), letter(other))
            await self._levers.pull(placed.verb, placed.target)
            if placed.verb in INVERSE.values():
                self._healed_s = time.time()
        await _hold(began + seconds, writing)

    def _enter(self, phase: Phase, seconds: float | None = None) -> None:
        self._phases.append((phase, time.time()))
        if phase is Phase.HEAL and self._wish.scenario.harmless:
            self._healed_s = time.time()
        self._view.phase(phase, seconds)

    def _note(self, sentence: str) -> None:
        self._timeline.append(Mark(time.time(), sentence))
        self._view.say(sentence)

    # -- judging

    async def _judge(self, records: RunRecords, *, settled: bool) -> Report:
        wish, at = self._wish, self._at
        if not settled:
            self._view.say("not everything was stored and mirrored: no progress any more, or too much time")
        allowed = {**growth(self._since, await ends(at)), **await count_since(at.postgres, self._mark)}
        self._view.say("reading the table and the ledger")
        rows = await collect_rows(at.postgres, self._run)
        ledger = await asyncio.to_thread(read_ledger, wish.ledger)
        counted = self._observer.counted
        commits, told = self._observer.commits, self._observer.told
        observed = Observed(rows, records.records, commits, records.dead_letters, counted, allowed, told=told)
        rules = Rules(
            window_us=1000 * int(setting("APP_REORDER_WINDOW_MS", 1000)),
            max_future_us=1000 * int(setting("APP_REORDER_MAX_FUTURE_MS", 60_000)),
            regions=REGIONS,
            undisturbed=wish.scenario.harmless,
        )
        self._view.say(
            f"comparing {len(ledger.entries):,} events, {len(rows):,} rows, {len(records.records):,} records"
        )
        verdict = await asyncio.to_thread(check, ledger, observed, rules)
        self._view.say("planting mistakes, each of which the checker has to find")
        unfound = await asyncio.to_thread(missed, ledger, observed, rules, Random(wish.seed))
        seen = self._writers.seen
        trouble = [f"the checker does not find {mistake}" for mistake in unfound]
        trouble += [f"not taken back: {problem}" for problem in self._levers.trouble]
        trouble += seen.strange
        if self._tail is not None:
            self._view.say(
                f"comparing {len(self._tail.tailed):,} events of the tail, which came {self._tail.connections} times"
            )
            trouble += compare(rows, self._tail.tailed)
        trouble += [self._unanswered] if self._unanswered else []
        if ledger.identity_broken:
            trouble.append(f"{ledger.identity_broken} events were sent with two contents: a mistake of the writers")
        recorded = Recorded(
            self._phases,
            time.time(),
            self._healed_s,
            settled,
            self._timeline,
            ledger,
            list(served_by(read_answers(wish.ledger), records.records, rules.local_topic)),
            rows,
            records.records,
            self._mirrors.samples,
            self._sampler.samples,
            seen.held_back,
            self._observer.memory,
        )
        return await asyncio.to_thread(summarise, self._about(), recorded, verdict, trouble)

    def _about(self) -> About:
        wish = self._wish
        return About(
            self._run,
            wish.scenario.name,
            wish.scenario.what,
            wish.protocol.name,
            self._hit,
            wish.seed,
            wish.rate,
            wish.event_size,
            wish.scale,
            wish.mode,
            wish.commit,
            datetime.fromtimestamp(self._phases[0][1], UTC).isoformat(timespec="seconds"),
        )


async def _hold(until: float, writing: asyncio.Task[None]) -> None:
    """Wait until a moment. If the writers end meanwhile, they have failed, and so has the run."""
    done, _ = await asyncio.wait([writing], timeout=max(0.0, until - time.monotonic()))
    if done:
        await writing
        raise RuntimeError("the writers stopped by themselves")
