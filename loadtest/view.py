"""Shows the progress of a run: a live picture on a terminal, plain lines in a log."""

import sys
import time

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final, Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from chaos.fleet import REGIONS
from loadtest.figures import rates
from loadtest.samples import Lag, Sample
from loadtest.scenarios import Phase

_PLAIN_EVERY_S: Final = 5.0
_REMARKS: Final = 6
_RATE_OVER: Final = 4  # samples


class View(Protocol):
    """Shows the progress of a run."""

    def phase(self, phase: Phase, seconds: float | None) -> None:
        """Show that a phase begins. `seconds` is its length, None if unknown."""

    def say(self, sentence: str) -> None:
        """Show a sentence about the run."""

    def sample(self, sample: Sample) -> None:
        """Show a sample."""


class PlainView:
    """Writes lines."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._next = 0.0
        self._before: Sample | None = None

    def phase(self, phase: Phase, seconds: float | None) -> None:
        """Write which phase begins."""
        self.say(f"--- {phase}" + (f", {seconds:.0f} s" if seconds else ""))
        self._next = 0.0

    def say(self, sentence: str) -> None:
        """Write the sentence."""
        sys.stdout.write(f"[{time.monotonic() - self._began:4.0f}s] {sentence}\n")
        sys.stdout.flush()

    def sample(self, sample: Sample) -> None:
        """Write a line every few seconds."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _PLAIN_EVERY_S
        speed = _speeds([self._before, sample] if self._before else [sample])
        self._before = sample
        parts = [
            f"{sample.events:,} acknowledged ({', '.join(f'{r} {speed[r]:,.0f}/s' for r in REGIONS)})",
            f"{sum(sample.stored.values()):,.0f} stored",
            "lag " + ", ".join(f"{link} {_lag(lag)}" for link, lag in sample.lag.items()),
            f"duplicates {_counts(sample.duplicates)}",
            f"late {_counts(sample.late)}",
        ]
        if sample.failovers:
            parts.append(f"failed over {sample.failovers:,}")
        if sample.unanswered:
            parts.append(f"failed attempts {_counts(sample.unanswered)}")
        self.say("; ".join(parts))


class LiveView:
    """
    Draws a picture.

    Args:
        title: Title of the run.
        console: The terminal.
    """

    def __init__(self, title: str, console: Console) -> None:
        self._title = title
        self._began = time.monotonic()
        self._phases: dict[Phase, float] = {}
        self._due_s: float | None = None
        self._remarks: list[str] = []
        self._samples: list[Sample] = []
        self._live = Live(console=console, get_renderable=self._draw, refresh_per_second=4, transient=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def phase(self, phase: Phase, seconds: float | None) -> None:
        """Begin a phase."""
        self._phases[phase] = time.monotonic()
        self._due_s = seconds

    def say(self, sentence: str) -> None:
        """Show the sentence until the block ends."""
        stamp = f"{time.monotonic() - self._began:4.0f} s"
        self._remarks = [*self._remarks[1 - _REMARKS :], f"{stamp}  {sentence}"]

    def sample(self, sample: Sample) -> None:
        """Show the sample."""
        self._samples = [*self._samples[-_RATE_OVER:], sample]

    def _draw(self) -> RenderableType:
        parts: list[RenderableType] = [self._progress()]
        if self._samples:
            parts += [Text(), self._regions(), Text(), self._links(), Text(), self._counters(), Text()]
        parts.append(Text("\n".join(self._remarks), style="dim"))
        return Panel(Group(*parts), title=f"[bold]{self._title}[/]", border_style="blue")

    def _progress(self) -> RenderableType:
        line = Text()
        current = next(reversed(self._phases), None)
        for phase in Phase:
            here, done = phase is current, phase in self._phases and phase is not current
            line.append(
                f" {'✔' if done else '▶' if here else '·'} {phase} ",
                "bold cyan" if here else "green" if done else "dim",
            )
        gone_s = time.monotonic() - self._phases[current] if current else 0.0
        bar = Table.grid(expand=True)
        bar.add_column(ratio=1)
        bar.add_column(justify="right", width=14)
        if self._due_s:
            bar.add_row(
                ProgressBar(total=self._due_s, completed=gone_s),
                f"{min(gone_s, self._due_s):.0f} / {self._due_s:.0f} s",
            )
        else:
            bar.add_row(ProgressBar(pulse=True), f"{gone_s:.0f} s")
        return Group(line, bar)

    def _regions(self) -> RenderableType:
        last, speed = self._samples[-1], _speeds(self._samples)
        table = _table("region", "acknowledged/s", "acknowledged", "rows stored")
        for region in REGIONS:
            table.add_row(
                region,
                f"{speed[region]:,.0f}",
                f"{last.acknowledged.get(region, 0):,}",
                f"{last.stored.get(region, 0):,.0f}",
            )
        p50, p99 = last.wait_s
        table.caption = (
            " "
            f"{last.events:,} events acknowledged, {last.repeated:,} repeats, {last.failovers:,} failed over; "
            f"acknowledgement p50 {_ms(p50)}, p99 {_ms(p99)}"
        )
        return table

    def _links(self) -> RenderableType:
        last = self._samples[-1]
        table = _table("replication", "behind, records", "behind, seconds", "as the gateway says")
        for link, lag in last.lag.items():
            style = "green" if lag.seconds is not None and lag.seconds < 5 else "bold red"
            said = last.reported.get(link)
            table.add_row(
                link,
                Text("unknown" if lag.records is None else f"{lag.records:,}", style=style),
                Text("unknown" if lag.seconds is None else f"{lag.seconds:.1f}", style=style),
                "-" if said is None else _lag(said),
            )
        return table

    def _counters(self) -> RenderableType:
        last = self._samples[-1]
        grid = Table.grid(padding=(0, 2, 0, 1))
        grid.add_row("duplicates caught", _counts(last.duplicates))
        grid.add_row("late", _counts(last.late))
        failed = [sum(sample.unanswered.values()) for sample in self._samples]
        per_s = rates([sample.at_s for sample in self._samples], failed)[-1]
        style = "bold red" if per_s else "yellow" if failed[-1] else ""
        grid.add_row("failed attempts", Text(f"{_counts(last.unanswered)}; {per_s:,.0f}/s now", style=style))
        return grid


def _table(first: str, *others: str) -> Table:
    table = Table(expand=True, box=None, header_style="bold", caption_justify="left", caption_style="")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _speeds(samples: list[Sample]) -> dict[str, float]:
    first, last = samples[0], samples[-1]
    return {
        region: rates([first.at_s, last.at_s], [s.acknowledged.get(region, 0) for s in (first, last)])[1]
        for region in REGIONS
    }


def _lag(lag: Lag) -> str:
    return "unknown" if lag.records is None or lag.seconds is None else f"{lag.seconds:.1f} s ({lag.records:,} records)"


def _counts(counts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {count:,.0f}" for name, count in sorted(counts.items()) if count) or "none"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


@contextmanager
def watching(title: str, *, plain: bool) -> Iterator[View]:
    """Return the view that fits the output: a picture on a terminal, plain lines otherwise."""
    console = Console()
    if plain or not console.is_terminal:
        view = PlainView()
        view.say(title)
        yield view
    else:
        with LiveView(title, console) as live:
            yield live
