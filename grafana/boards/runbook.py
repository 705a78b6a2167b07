"""*Run book*: docs/runbook.md inside of Grafana, one panel a section, so that it is there when nothing else is."""

import re

from collections.abc import Mapping
from typing import Final

from grafana_foundation_sdk.builders import dashboard as dashboards
from grafana_foundation_sdk.builders import text
from grafana_foundation_sdk.models.text import TextMode

from boards.board import add_row, board
from boards.panels import GRID_WIDTH

UID: Final = "fleet-runbook"
# The row above the panels is the first one.
_FIRST_PANEL: Final = 2


def sections(markdown: str) -> dict[str, str]:
    """Take the run book apart: heading of the second rank, which is an alert's name, to the text under it."""
    parts = re.split(r"^## (\w+)$", markdown, flags=re.MULTILINE)[1:]
    return {name: body.strip() for name, body in zip(parts[::2], parts[1::2], strict=True)}


def panel_numbers(of: Mapping[str, str]) -> dict[str, str]:
    """Return each section's panel, for links that open it."""
    return {name: str(number) for number, name in enumerate(of, start=_FIRST_PANEL)}


def build(of: Mapping[str, str]) -> dashboards.Dashboard:
    """Build the dashboard."""
    built = board(
        "Run book", UID, "What each alert means, what is at risk, and what to do: docs/runbook.md.", refresh=""
    )
    numbers = panel_numbers(of)

    def here(match: re.Match[str]) -> str:
        return f"[{match[1]}](/d/{UID}?viewPanel={numbers[match[1]]})"

    panels = [
        text.Panel()
        .title(name)
        .description("A section of docs/runbook.md.")
        .mode(TextMode.MARKDOWN)
        .content(re.sub(r"\[(\w+)\]\(#\w+\)", here, body))
        .height(10)
        .span(GRID_WIDTH // 2)
        for name, body in of.items()
    ]
    add_row(built, "One panel an alert", panels)
    return built
