"""The report's charts, as SVG: sharp at any size, a few dozen kilobytes, and without scripts."""

import io
import re

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import matplotlib as mpl

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from loadtest.report import Report, Series

INK: Final = "#1f2937"
_NAMED_FROM: Final = 0.06
_FAINT: Final = "#e5e7eb"
_BLUE, _ORANGE, _GREEN, _PURPLE, _RED, _GREY = "#2563eb", "#d97706", "#059669", "#7c3aed", "#dc2626", "#6b7280"
_COLOURS: Final[Mapping[str, str]] = {
    "region-a": _BLUE,
    "region-b": _ORANGE,
    "a-to-b": _BLUE,
    "b-to-a": _ORANGE,
    "redis": _GREEN,
    "postgres": _PURPLE,
    "delayed": _GREY,
    "pipeline": _BLUE,
    "replication_backlog": _ORANGE,
    "clock_skew": _RED,
    "overtaken": _GREEN,
}
PHASE_COLOURS: Final[Mapping[str, str]] = {
    "steady": "#f0fdf4",
    "split": "#fee2e2",
    "diverge": "#fecaca",
    "heal": "#fef3c7",
    "converge": "#dbeafe",
    "verify": "#f3f4f6",
}
_STYLE: Final[dict[str, object]] = {
    "svg.fonttype": "none",  # text stays text, and the page sets its font
    "svg.hashsalt": "load-test",
    "font.size": 9,
    "axes.edgecolor": "#9ca3af",
    "axes.labelcolor": INK,
    "xtick.color": "#6b7280",
    "ytick.color": "#6b7280",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.6,
}

Draw = Callable[[Axes, Series], None]


def _throughput(axes: Axes, series: Series) -> None:
    for region, counts in series.acknowledged.items():
        _line(axes, range(len(counts)), counts, f"acknowledged by {region}", region)
    axes.plot(
        range(len(series.stored)), series.stored, color=_GREEN, label="rows stored", linewidth=1.1, linestyle="--"
    )


def _exposed(axes: Axes, series: Series) -> None:
    for link, counts in series.exposed.items():
        _line(axes, series.exposure_at_s, counts, link, link)
        axes.fill_between(series.exposure_at_s, counts, color=_COLOURS.get(link, _GREY), alpha=0.12, linewidth=0)


def _lag(axes: Axes, series: Series) -> None:
    for link, ages in series.lag_s.items():
        _line(axes, series.exposure_at_s, ages, link, link)
    for link, said in series.reported_lag_s.items():
        values = [float("nan") if value is None else value for value in said]
        axes.plot(
            series.sampled_at_s,
            values,
            color=_COLOURS.get(link, _GREY),
            linestyle=":",
            linewidth=1.2,
            label=f"{link}, says the gateway",
        )


def _duplicates(axes: Axes, series: Series) -> None:
    _stack(axes, series.sampled_at_s, series.duplicates)


def _late(axes: Axes, series: Series) -> None:
    _stack(axes, series.sampled_at_s, {reason.replace("_", " "): rates for reason, rates in series.late.items()})


def _latency(axes: Axes, series: Series) -> None:
    for (p50, p99), what, colour in (
        (series.acknowledgement_ms, "acknowledgement", _BLUE),
        (series.to_row_ms, "post to row", _PURPLE),
    ):
        for values, percent, width, style in ((p50, "p50", 1.6, "-"), (p99, "p99", 1.1, "--")):
            points = [(second, value) for second, value in enumerate(values) if value is not None]
            if points:
                axes.plot(
                    *zip(*points, strict=True),
                    color=colour,
                    linewidth=width,
                    linestyle=style,
                    label=f"{what} {percent}",
                )
    axes.set_yscale("log")


def _trouble(axes: Axes, series: Series) -> None:
    axes.plot(series.sampled_at_s, series.failovers, color=_PURPLE, label="events failed over")
    axes.plot(series.sampled_at_s, series.unanswered, color=_RED, label="failed attempts", linewidth=1.1)


CHARTS: Final[Sequence[tuple[str, str, str, Draw]]] = (
    (
        "Throughput",
        "events a second",
        "Both regions go on acknowledging while they cannot see each other. Rows follow about one reorder window later.",
        _throughput,
    ),
    (
        "Exposure",
        "events in one region only",
        "Acknowledged in one region and not yet in the other: what would be gone with that region (measured RPO).",
        _exposed,
    ),
    (
        "Replication lag",
        "seconds",
        "The age of the oldest of these events. It climbs with the clock while a link is cut and falls once it is healed.",
        _lag,
    ),
    (
        "Duplicates caught",
        "a second",
        "Copies recognised before they became rows, by the layer that did. After a split each region gets what the other has stored.",
        _duplicates,
    ),
    (
        "Late rows",
        "a second",
        "Stored at once, flagged, with a reason; never dropped.",
        _late,
    ),
    (
        "Latency",
        "milliseconds",
        "Acknowledgement: from sending to the answer. Post to row: from first sending to COMMIT, the reorder window included.",
        _latency,
    ),
    (
        "Failover",
        "a second",
        "Events served by another region than the one asked for, and attempts without a usable answer, which clients repeated.",
        _trouble,
    ),
)


def draw(report: Report) -> list[tuple[str, str, str]]:
    """Return title, caption and SVG of each chart."""
    return [(title, caption, _draw(report, unit, picture)) for title, unit, caption, picture in CHARTS]


def _draw(report: Report, unit: str, picture: Draw) -> str:
    with mpl.rc_context(_STYLE):  # type: ignore[arg-type]  # it names each of its 300 keys
        figure = Figure(figsize=(10, 2.5))
        figure.subplots_adjust(
            left=0.075, right=0.79, bottom=0.19, top=0.91
        )  # the same for all, so that moments align vertically
        axes = figure.add_subplot()
        shown = [phase for phase in report.phases if phase.phase != "verify"]
        for phase in shown:
            axes.axvspan(phase.begun_s, phase.ended_s, color=PHASE_COLOURS[phase.phase], linewidth=0, zorder=0)
        picture(axes, report.series)
        _frame(axes, unit, until_s=shown[-1].ended_s)
        for phase in shown:
            if phase.ended_s - phase.begun_s < _NAMED_FROM * shown[-1].ended_s:
                continue  # its name would overlap the next one's
            axes.annotate(
                phase.phase,
                ((phase.begun_s + phase.ended_s) / 2, 1),
                xycoords=("data", "axes fraction"),
                ha="center",
                va="bottom",
                fontsize=8,
                color="#6b7280",
            )
        written = io.StringIO()
        figure.savefig(written, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return _bare(written.getvalue())


def _frame(axes: Axes, unit: str, *, until_s: float) -> None:
    axes.set_xlim(0, until_s)
    axes.set_xlabel("seconds since the run began")
    axes.set_ylabel(unit)
    axes.grid(axis="y", color=_FAINT, linewidth=0.8)
    axes.set_axisbelow(True)
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.yaxis.set_major_formatter(
        FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 or not value else f"{value:g}")
    )
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="center left", bbox_to_anchor=(1.005, 0.5), frameon=False, fontsize=8)
    else:
        axes.set_ylim(0, 1)
        axes.annotate("none", (0.5, 0.5), xycoords="axes fraction", ha="center", color="#6b7280")


def _line(axes: Axes, x: Sequence[float] | range, y: Sequence[float], label: str, colour: str) -> None:
    axes.plot(x, y, label=label, color=_COLOURS.get(colour, _GREY))


def _stack(axes: Axes, x: Sequence[float], rates: Mapping[str, Sequence[float]]) -> None:
    some = {name: values for name, values in rates.items() if any(values)}
    if some:
        colours = [_COLOURS.get(name.replace(" ", "_"), _GREY) for name in some]
        axes.stackplot(x, *some.values(), labels=list(some), colors=colours, alpha=0.75, linewidth=0)


def _bare(svg: str) -> str:
    """Return the SVG element alone, without XML prologue and as wide as its container."""
    svg = svg[svg.index("<svg") :]
    return re.sub(
        r'(<svg[^>]*?) width="[^"]*"', r"\1", re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", svg, count=1), count=1
    )
