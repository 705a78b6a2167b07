"""
What a benchmark found: figures over the rounds, what is wrong with what was moved, and how it stands with the aims. Pure.

The same report is told as a table, kept as JSON, and drawn by `chart.py`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from bench.aims import Aim, aims_of
from bench.rounds import summarise

REACHED: Final = "reached"
MISSED: Final = "MISSED"
NOT_MEASURED: Final = "not measured"
_FEW: Final = 100


class BrokenRunError(Exception):
    """What is measured did not do its work; the sentence says what it did instead."""


def demand(holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
    """
    End the run unless something holds.

    Raises:
        BrokenRunError: It does not.
    """
    if not holds:
        raise BrokenRunError(otherwise)


@dataclass(slots=True)
class Figure:
    """
    One figure over the rounds.

    Attributes:
        unit: What is counted.
        values: One a round.
    """

    unit: str
    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The figure to tell."""
        return summarise(self.values).median


@dataclass(slots=True)
class Report:
    """
    One run of one benchmark.

    Attributes:
        benchmark: Its name.
        commit: Of the checkout.
        at: When, RFC 3339.
        cores: Of the machine.
        options: As asked for.
        figures: By name, in the order in which they are told.
        failures: What is wrong with what was moved; a report with one proves nothing else.
        notes: What a reader has to know to read the figures.
        series: Names of curves over the seconds of the run, to points.
    """

    benchmark: str
    commit: str
    at: str
    cores: int
    options: Mapping[str, Any]
    figures: dict[str, Figure] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    series: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def add(self, name: str, unit: str, value: float) -> None:
        """Add a round's value to a figure."""
        self.figures.setdefault(name, Figure(unit)).values.append(value)

    def expect(self, holds: bool, otherwise: str) -> None:  # noqa: FBT001 - reads as a sentence
        """Note a failure unless something holds."""
        if not holds:
            self.failures.append(otherwise)


@dataclass(frozen=True, slots=True)
class Standing:
    """
    How it stands with one aim.

    Attributes:
        aim: The aim.
        value: The median; None if nothing measured it.
        verdict: `reached`, `MISSED` or `not measured`.
    """

    aim: Aim
    value: float | None
    verdict: str


def standings(aims: Sequence[Aim], reports: Mapping[str, Report]) -> Sequence[Standing]:
    """
    Hold what was measured against the aims; what failed its own check has measured nothing.

    Args:
        aims: What is aimed for.
        reports: By benchmark.
    """
    found = []
    for aim in aims:
        report = reports.get(aim.benchmark)
        figure = None if report is None or report.failures else report.figures.get(aim.figure)
        if figure is None:
            found.append(Standing(aim, None, NOT_MEASURED))
        else:
            found.append(Standing(aim, figure.median, REACHED if aim.reached_by(figure.median) else MISSED))
    return found


def shown(value: float) -> str:
    """Return a number with as many digits as mean something."""
    if abs(value) >= _FEW:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(report: Report) -> str:
    """Return the report for a terminal."""
    lines = [
        f"{report.benchmark}  commit {report.commit}  {report.at}  {report.cores} cores  "
        + " ".join(f"{name}={value}" for name, value in report.options.items()),
        f"  {'':<44} {'median':>10} {'low':>10} {'high':>10}",
    ]
    for name, figure in report.figures.items():
        summary = summarise(figure.values)
        numbers = " ".join(f"{shown(value):>10}" for value in (summary.median, summary.low, summary.high))
        lines.append(f"  {name:<44} {numbers}  {figure.unit}")
    lines += [f"  note: {note}" for note in report.notes]
    lines += [f"  FAILED: {failure}" for failure in report.failures]
    if not report.failures:
        lines.append("  checked: what was moved is whole")
    lines += [f"  {line}" for line in aim_lines(standings(aims_of(report.benchmark), {report.benchmark: report}))]
    return "\n".join(lines)


def aim_lines(found: Sequence[Standing]) -> Sequence[str]:
    """Return a line for each aim: what was aimed for, what came of it."""
    return [
        f"{standing.verdict:<12} {'-' if standing.value is None else shown(standing.value):>10}  "
        f"{standing.aim.bound} {shown(standing.aim.target)}: {standing.aim.what}"
        for standing in found
    ]


def markdown(reports: Sequence[Report]) -> str:
    """Return the reports as one table for a document."""
    lines = ["| benchmark | figure | median | lowest to highest | unit | commit | date |", "| --- " * 7 + "|"]
    for report in reports:
        for name, figure in report.figures.items():
            summary = summarise(figure.values)
            spread = f"{shown(summary.low)} to {shown(summary.high)}"
            cells = (report.benchmark, name, shown(summary.median), spread, figure.unit, report.commit, report.at[:10])
            lines.append(f"| {' | '.join(cells)} |")
        lines += [f"| {report.benchmark} | FAILED: {failure} | | | | | |" for failure in report.failures]
    return "\n".join(lines)
