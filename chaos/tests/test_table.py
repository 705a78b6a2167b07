"""The Markdown table of a round."""

from pathlib import Path

import pytest

from pydantic_core import from_json

from chaos.observe import Health
from chaos.plan import Step
from chaos.rotation import FaultReport, RoundReport
from chaos.table import render, save


def a_round(removed: int) -> RoundReport:
    step = Step("retention passes consumer and mirror", "region-a", 1)
    done = FaultReport(step, 9.0, 2.5, 100, 0, {}, Health(), ["5 records removed", "5 told as skipped"])
    return RoundReport("run", [done], {"acknowledged": 1000}, {"in time": 995}, removed=removed)


@pytest.mark.parametrize("removed", [0, 5])
def test_events_without_a_row_are_explained_where_there_are_any(removed: int, tmp_path: Path) -> None:
    save(a_round(removed), tmp_path / "r", seed=7, mode="native", commit="c")
    table = render([from_json((tmp_path / "r").read_bytes())])

    assert ("* native, seed 7: 5 acknowledged events were removed" in table) == (removed > 0)
    assert "| clean |" in table
    assert "| native | 100 | 0 | 5 records removed; 5 told as skipped | 2.5 s |" in table
    assert table.count("retention passes consumer and mirror") == 1
