"""The report as one HTML file that needs no network and no script. PURE."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

from chaos.protocols import OWN
from loadtest.charts import PHASE_COLOURS, draw
from loadtest.report import BOTH, Latency, Report

_MEANINGS: Final = {
    "lost": "acknowledged, and no row",
    "duplicated": "more than one row of one event",
    "phantom": "a row of an event that was never sent, or that was refused",
    "corrupted": "a row with other contents than were sent",
    "out of order": "a row older than one that the same writer wrote before it",
    "swapped": "two events of one trace and time, written the other way round",
    "wrongly late": "flagged late without cause, or with the wrong reason or figure",
    "committed early": "an offset committed before its record was durable",
    "not converged": "a region does not hold what the other one has",
    "dead letter": "a valid event set aside",
    "miscounted": "a service counted more than there is",
}
_STYLE: Final = """
:root { --ink: #1f2937; --dim: #6b7280; --line: #e5e7eb; --good: #047857; --bad: #b91c1c; }
* { box-sizing: border-box; }
body { margin: 0; background: #f9fafb; color: var(--ink); font: 15px/1.55 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1120px; margin: 0 auto; padding: 28px 24px 60px; }
header { border-radius: 14px; padding: 26px 30px; color: #fff; background: var(--good); }
header.bad { background: var(--bad); }
header h1 { margin: 0 0 6px; font-size: 27px; line-height: 1.25; }
header p { margin: 0; opacity: .93; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(230px, 1fr)); gap: 12px; margin: 16px 0 8px; }
.tile, section { background: #fff; border: 1px solid var(--line); border-radius: 12px; }
.tile { padding: 14px 16px; }
.tile b { display: block; font-size: 25px; font-variant-numeric: tabular-nums; line-height: 1.2; }
.tile span { color: var(--dim); font-size: 13px; display: block; line-height: 1.35; margin-top: 3px; }
section { padding: 18px 24px 22px; margin-top: 16px; overflow-x: auto; }
h2 { font-size: 18px; margin: 0 0 8px; }
h3 { font-size: 15px; margin: 20px 0 0; }
h3:first-of-type { margin-top: 4px; }
p.note { color: var(--dim); margin: 0 0 4px; font-size: 13.5px; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 14px; }
th { text-align: left; color: var(--dim); font-weight: 600; border-bottom: 1px solid var(--line); padding: 6px 10px; }
td { border-bottom: 1px solid #f3f4f6; padding: 6px 10px; }
th.n, td.n { text-align: right; }
td.n, td:first-child { white-space: nowrap; }
td.good { color: var(--good); font-weight: 600; }
td.bad { color: var(--bad); font-weight: 700; }
.dot { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; border: 1px solid #d1d5db; }
svg { width: 100%; height: auto; display: block; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", sans-serif !important; }
ul { margin: 6px 0 0; padding-left: 20px; }
.halves { display: grid; grid-template-columns: repeat(auto-fit, minmax(400px, 1fr)); gap: 16px; }
code { font-size: 13px; }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
"""


def render(report: Report) -> str:
    """Return the page."""
    about = report.about
    body = "\n".join(
        [
            _head(report),
            _tiles(report),
            _failures(report),
            _charts(report),
            _phases(report),
            '<div class="halves">',
            _findings(report),
            _accounts(report),
            "</div>",
            _timeline(report),
            _reading(report),
        ]
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Load test, {escape(about.scenario)}: {'passed' if not report.failures else 'FAILED'}</title>"
        f"<style>{_STYLE}</style></head>\n<body><main>\n{body}\n</main></body>\n</html>\n"
    )


def headline(report: Report) -> str:
    """Return the verdict in one sentence."""
    found = report.verdict.found
    if not report.failures:
        return f"{report.acknowledged:,} events acknowledged: none lost, none doubled, none unexplained"
    named = [f"{count:,} {kind}" for kind, count in found.items() if count] or [f"{len(report.trouble)} troubles"]
    return f"{report.acknowledged:,} events acknowledged: {', '.join(named)}"


def _head(report: Report) -> str:
    about = report.about
    return (
        f'<header class="{"bad" if report.failures else "good"}">'
        f"<h1>{'✔' if not report.failures else '✘'} {escape(headline(report))}</h1>"
        f"<p><b>{escape(about.scenario)}</b>: {escape(about.what)}.</p>"
        f"<p>{escape(about.at.replace('T', ' ').removesuffix('+00:00'))} UTC · {escape(about.mode)} mode · "
        f"{about.rate:g} events/s by {escape(about.protocol)} · seed {about.seed} · commit {escape(about.commit)}</p></header>"
    )


def _tiles(report: Report) -> str:
    exposed = report.exposure[BOTH]
    tiles = [
        (f"{report.verdict.found['lost']:,}", "lost"),
        (f"{report.verdict.found['duplicated']:,}", "doubled"),
        (f"{sum(report.duplicates.values()):,}", "duplicates caught before they became rows"),
        (f"{exposed.most:,}", "events in one region only at the worst moment (RPO)"),
        (_seconds(max(report.lag_s.values(), default=0.0)), "the longest that an event was in one region only"),
        (_seconds(report.converged_s), "from healing until the regions agreed"),
        (f"{_ms(report.acknowledgement.p99_ms)}", "acknowledgement, p99"),
        (f"{_ms(report.to_row.p50_ms)}", "post to row, median"),
    ]
    return (
        '<div class="tiles">'
        + "".join(f'<div class="tile"><b>{escape(value)}</b><span>{escape(what)}</span></div>' for value, what in tiles)
        + "</div>"
    )


def _failures(report: Report) -> str:
    if not report.failures:
        return ""
    items = "".join(f"<li>{escape(failure)}</li>" for failure in report.failures)
    return f"<section><h2>What is wrong</h2><ul>{items}</ul></section>"


def _charts(report: Report) -> str:
    drawn = "".join(
        f'<h3>{escape(title)}</h3><p class="note">{escape(caption)}</p>{svg}' for title, caption, svg in draw(report)
    )
    return f"<section><h2>Over time</h2>{drawn}</section>"


def _phases(report: Report) -> str:
    rows = [
        [
            f'<span class="dot" style="background:{PHASE_COLOURS[phase.phase]}"></span>{escape(phase.phase)}',
            f"{phase.ended_s - phase.begun_s:.0f} s",
            f"{phase.acknowledged:,}",
            f"{phase.failovers:,}",
            f"{phase.exposure:,}",
            _seconds(phase.lag_s),
            _pair(phase.acknowledgement),
            _pair(phase.to_row),
        ]
        for phase in report.phases
        if phase.phase != "verify"
    ]
    rows.append(
        [
            "<b>all</b>",
            f"{sum(phase.ended_s - phase.begun_s for phase in report.phases):.0f} s",
            f"{report.acknowledged:,}",
            f"{report.failovers:,}",
            f"{report.exposure[BOTH].most:,}",
            _seconds(max(report.lag_s.values(), default=0.0)),
            _pair(report.acknowledgement),
            _pair(report.to_row),
        ]
    )
    heads = [
        "phase",
        "took",
        "acknowledged",
        "failed over",
        "exposure, most",
        "lag, most",
        "acknowledgement p50 / p99",
        "post to row p50 / p99",
    ]
    return f"<section><h2>By phase</h2>{_table(heads, rows)}</section>"


def _findings(report: Report) -> str:
    rows = [
        [
            f"<b>{escape(kind)}</b>",
            f'<span style="color:var(--dim)">{escape(_MEANINGS.get(kind, ""))}</span>',
            f"{count:,}",
        ]
        for kind, count in report.verdict.found.items()
    ]
    marks = ["bad" if count else "good" for count in report.verdict.found.values()]
    return (
        "<section><h2>Verdict</h2>"
        '<p class="note">The ledger of all clients, compared with PostgreSQL, the Kafka of both regions, and all counters. '
        "In the same data the checker then had to find one planted mistake of each kind.</p>"
        f"{_table(['finding', 'means', 'found'], rows, marks)}</section>"
    )


def _accounts(report: Report) -> str:
    entries = [
        ("events acknowledged", report.acknowledged),
        ("events refused, as they had to be", report.outcomes["refused"]),
        ("events without an answer: stored once or not at all", report.outcomes["unknown"]),
        ("sent in all, repeats included", report.attempted),
        ("acknowledged again, the same identity", report.repeated),
        ("rows", sum(report.rows.values())),
        *((f"rows {why.replace('_', ' ')}", count) for why, count in sorted(report.rows.items())),
        ("records in both Kafkas, copies included", report.records),
        *((f"duplicates caught by {layer}", count) for layer, count in sorted(report.duplicates.items())),
        ("events failed over to the other region", report.failovers),
        *((f"attempts that failed: {how}", count) for how, count in sorted(report.unanswered.items())),
        ("batches that the load test itself was too slow for", report.held_back),
    ]
    rows = [[escape(what), f"{count:,}"] for what, count in entries]
    return f"<section><h2>Accounts</h2>{_table(['', 'number'], rows)}</section>"


def _timeline(report: Report) -> str:
    rows = [[f"{mark.at_s:.1f} s", escape(mark.what)] for mark in report.timeline]
    if not rows:
        return "<section><h2>What was done</h2><p>Nothing but writing.</p></section>"
    memory = ", ".join(f"{service} {size / 2**20:.0f} MiB" for service, size in sorted(report.memory.items()))
    return (
        f"<section><h2>What was done</h2>{_table(['at', 'what'], rows)}"
        f'<p class="note" style="margin-top:10px">Most memory held: {escape(memory)}.</p></section>'
    )


def _reading(report: Report) -> str:
    about = report.about
    command = f"./load-test.sh --scenario {about.scenario} --seed {about.seed} --rate {about.rate:g}"
    if about.protocol != OWN.name:
        command += f" --protocol {about.protocol}"
    command += f" --event-size {about.event_size}" + (f" --scale {about.scale:g}" if about.scale != 1 else "")
    return (
        "<section><h2>How to read this</h2><ul>"
        "<li><b>Exposure</b> is measured, not estimated: for every event, when its region acknowledged it, and when the other "
        "region's Kafka had it. Arrivals are known to half a second and rounded up.</li>"
        "<li><b>Late</b> is no fault. An event that comes after newer ones were stored is stored at once, with how late it is "
        "and why: <i>delayed</i> by its client, <i>replication backlog</i>, <i>pipeline</i> (a retry or restart), "
        "<i>clock skew</i> (from the future).</li>"
        "<li><b>Duplicates caught</b> are the normal case in an active-active fleet: each region also receives what the other "
        "one has stored. Redis knows what was stored before, as after a split. PostgreSQL decides between copies that arrive at "
        "the same moment. A duplicate that neither catches would be a finding.</li>"
        f"<li>The same again: <code>{escape(command)}</code></li>"
        "</ul></section>"
    )


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]], marks: Sequence[str] = ()) -> str:
    """Return a table. Cells are HTML already. Cells that begin with a figure are aligned right."""
    rows = list(rows)
    right = [bool(rows) and all(_is_figure(row[column]) for row in rows) for column in range(len(heads))]
    head = "".join(f'<th class="{"n" if n else ""}">{name}</th>' for name, n in zip(heads, right, strict=True))
    lines = []
    for number, row in enumerate(rows):
        mark = f" {marks[number]}" if marks else ""
        cells = [f'<td class="{"n" + mark if n else ""}">{cell}</td>' for cell, n in zip(row, right, strict=True)]
        lines.append(f"<tr>{''.join(cells)}</tr>")
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _is_figure(cell: str) -> bool:
    return cell[:1].isdigit() or cell[:1] == "-"


def _pair(latency: Latency) -> str:
    return f"{_ms(latency.p50_ms)} / {_ms(latency.p99_ms)}" if latency.p50_ms is not None else "-"


def _ms(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value / 1000:.1f} s" if value >= 10_000 else f"{value:,.0f} ms"


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
