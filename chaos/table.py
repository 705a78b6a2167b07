"""Reports of rounds as files: JSON for programs, and a Markdown table of the latest runs for readers."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic_core import from_json, to_json

from chaos.catalogue import CATALOGUE
from chaos.rotation import RoundReport

_HEAD: Final = """# What was done to the fleet, and what it made of it

Made by `python -m chaos.table`, out of the reports of real runs; do not edit.
Each fault was injected into a fleet to which clients of both regions were writing. They also sent repeats, retries to the other region, events out of order, and wrong events.
After each round the checker compared the clients' ledger with PostgreSQL, both regions' Kafka and the services' counters. Then it had to find one planted mistake of each kind in the same data.
*Whole again* is a time that begins when the fault is taken back. It ends when every service is ready with nothing degraded, and new events of both regions are served by their own region, stored and mirrored. After a restore the consumers must also have replayed all that was gone.

"""


def save(report: RoundReport, path: Path, **about: Any) -> None:
    """Write one round's report as JSON, with the facts about the run in `about`."""
    whole = {**about, **from_json(to_json(report)), "failures": report.failures, "at": datetime.now(UTC).isoformat()}
    path.write_bytes(to_json(whole, indent=2))


def render(reports: Sequence[dict[str, Any]]) -> str:
    """Return the table of several rounds."""
    runs = [
        f"| {r['mode']} | {r['at'][:16].replace('T', ' ')} | `{r['commit']}` | {r['seed']} | {len(r['faults'])} | "
        f"{r['outcomes']['acknowledged']:,} | {sum(r['rows'].values()):,} | {r['copies']:,} | "
        f"{r['verdict']['found']['lost']} | {r['verdict']['found']['duplicated']} | {r['verdict']['found']['phantom']} | "
        f"{r['verdict']['found']['corrupted']} | {_others(r)} | {'clean' if not r['failures'] else 'FAILED'} |"
        for r in reports
    ]
    lines = [
        "| mode | date (UTC) | commit | seed | faults | acknowledged | rows | records in Kafka | lost | duplicated | phantom | corrupted | other findings | verdict |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
        *runs,
        "",
        *(
            f"* {r['mode']}, seed {r['seed']}: {r['removed']:,} acknowledged events were removed from Kafka before a consumer "
            "had read them, and told as lost, to the record."
            for r in reports
            if r.get("removed")
        ),
        *(f"* {r['mode']}, seed {r['seed']}: {failure[:160]}" for r in reports for failure in r["failures"]),
        "",
        "| fault | what is done | what must happen | mode | acknowledged meanwhile | failed over | seen by the fleet itself | whole again |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for fault in CATALOGUE.values():
        seen = [
            (r["mode"], f) for r in reports for f in r["faults"] if f["step"]["fault"] == fault.name and not f["error"]
        ]
        for position, (mode, done) in enumerate(seen):
            first = (fault.name, fault.what, fault.expected) if position == 0 else ("", "", "")
            lines.append(f"| {' | '.join(first)} | {mode} | {_figures(done)} |")
    return _HEAD + "\n".join(lines) + "\n"


def _others(report: dict[str, Any]) -> int:
    named = {"lost", "duplicated", "phantom", "corrupted"}
    return sum(count for kind, count in report["verdict"]["found"].items() if kind not in named)


def _figures(done: dict[str, Any]) -> str:
    said = [f"not ready: {', '.join(sorted(done['health']['not_ready']))}"] if done["health"]["not_ready"] else []
    said += [f"degraded: {', '.join(sorted(done['health']['degraded']))}"] if done["health"]["degraded"] else []
    said += done["remarks"]
    whole = "**never**" if done["recovery_s"] is None else f"{done['recovery_s']:.1f} s"
    return f"{done['acknowledged']:,} | {done['failovers']:,} | {'; '.join(said) or 'nothing'} | {whole}"


def main() -> None:
    """Render the reports named on the command line to `docs/faults.md`."""
    import sys  # noqa: PLC0415 - a command, beside a module that others import

    reports = [from_json(Path(name).read_bytes()) for name in sys.argv[1:]]
    Path("docs/faults.md").write_text(render(reports))


if __name__ == "__main__":
    main()
