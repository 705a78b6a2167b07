"""The picture of a report: its figures, unit by unit, with a point for each round, and its curves over time."""

from collections import defaultdict
from pathlib import Path
from typing import Final

import matplotlib as mpl

from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import FuncFormatter

from bench.aims import aims_of
from bench.report import Figure, Report, shown

_INK, _FAINT, _BAR, _POINT, _AIM = "#1f2937", "#e5e7eb", "#93c5fd", "#1d4ed8", "#dc2626"
_STYLE: Final[dict[str, object]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "bench",
    "font.size": 9,
    "axes.labelcolor": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_INCHES_A_BAR: Final = 0.34


def draw(report: Report, path: Path) -> None:
    """Write the picture as SVG."""
    by_unit: dict[str, dict[str, Figure]] = defaultdict(dict)
    for name, figure in report.figures.items():
        by_unit[figure.unit][name] = figure
    heights = [0.7 + _INCHES_A_BAR * len(figures) for figures in by_unit.values()] + [2.2] * bool(report.series)
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # it names each of its 300 keys
        canvas = Canvas(figsize=(9, sum(heights) + 0.4), layout="constrained")
        canvas.suptitle(f"{report.benchmark}, commit {report.commit}, {report.at}", fontsize=10)
        panels = list(canvas.subplots(len(heights), 1, height_ratios=heights, squeeze=False).flat)
        for axes, (unit, figures) in zip(panels, by_unit.items(), strict=False):
            _bars(axes, report, unit, figures)
        if report.series:
            _curves(panels[-1], report)
        canvas.savefig(path, format="svg", metadata={"Date": None, "Creator": None})


def _bars(axes: Axes, report: Report, unit: str, figures: dict[str, Figure]) -> None:
    names = list(figures)
    axes.barh(names, [figure.median for figure in figures.values()], color=_BAR, height=0.6)
    for name, figure in figures.items():
        axes.plot(figure.values, [name] * len(figure.values), ".", color=_POINT, markersize=5)
    for aim in aims_of(report.benchmark):
        if aim.figure in figures:
            axes.plot([aim.target], [aim.figure], "|", color=_AIM, markersize=18, markeredgewidth=1.6)
    axes.invert_yaxis()
    axes.set_xlabel(unit or "ratio")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axes.grid(axis="x", color=_FAINT)
    axes.set_axisbelow(True)


def _curves(axes: Axes, report: Report) -> None:
    for name, points in report.series.items():
        axes.plot(*zip(*points, strict=True), label=name, linewidth=1.4)
    axes.set_xlabel("seconds")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: shown(value)))
    axes.grid(axis="y", color=_FAINT)
    axes.legend(frameon=False)
