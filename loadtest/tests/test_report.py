"""The recordings of a run become the right figures, and a page that needs no other file."""

import re

from html.parser import HTMLParser

from pydantic_core import from_json, to_json

from chaos.checker import Verdict
from loadtest.charts import CHARTS
from loadtest.page import headline, render
from loadtest.report import BOTH, PhaseFigures
from loadtest.tests.recordings import CUT_S, HEALED_S, report


def phases() -> dict[str, PhaseFigures]:
    return {phase.phase: phase for phase in report().phases}


def test_exposure_is_what_was_acknowledged_in_the_split() -> None:
    found = report().exposure

    assert (found["a-to-b"].most, found["b-to-a"].most, found[BOTH].most) == (12, 12, 24)
    # The copies arrived two seconds after the healing.
    assert found[BOTH].at_us == 1_700_000_016_020_000


def test_lag_climbs_while_the_links_are_cut_and_ends_with_the_healing() -> None:
    found = report()
    lag_s = dict(zip(found.series.exposure_at_s, found.series.lag_s["a-to-b"], strict=True))

    assert found.lag_s["a-to-b"] == HEALED_S + 2 - CUT_S - 0.02
    assert lag_s[CUT_S + 1] < lag_s[CUT_S + 5] < lag_s[HEALED_S]
    assert lag_s[HEALED_S + 3] == 0
    assert found.converged_s == 2.0


def test_figures_of_phases_are_those_of_their_time() -> None:
    split, steady = phases()["split"], phases()["steady"]

    assert (steady.acknowledged, steady.exposure, steady.lag_s) == (10, 2, 0.48)
    assert (split.begun_s, split.ended_s, split.acknowledged) == (CUT_S, 10, 10)
    assert split.exposure == 10
    assert split.acknowledgement.p50_ms is not None
    assert 19 < split.acknowledgement.p50_ms < 21
    assert split.to_row.p99_ms == 1200
    assert phases()["converge"].to_row.p50_ms is None


def test_accounts_are_of_the_ledger_the_table_and_the_counters() -> None:
    found = report()

    assert (found.acknowledged, found.attempted, found.records) == (40, 40, 80)
    assert found.rows == {"in time": 38, "delayed": 2}
    assert found.duplicates == {"redis": 24, "postgres": 0}
    assert sum(found.series.acknowledged["region-a"]) == 20
    assert sum(found.series.stored) == 40
    assert sum(found.series.duplicates["redis"]) >= 24


def failed() -> Verdict:
    verdict = Verdict()
    for number in range(7):
        verdict.add("lost", f"event {number} <script>")
    return verdict


def test_a_run_fails_by_findings_and_by_trouble() -> None:
    assert report().failures == []
    assert report(None, "the checker does not find a row removed").failures
    [failure] = report(failed()).failures
    assert failure.startswith("lost: 7; event 0")
    assert headline(report(failed())) == "40 events acknowledged: 7 lost"
    assert headline(report()) == "40 events acknowledged: none lost, none doubled, none unexplained"


class Reader(HTMLParser):
    """Reads a page as a browser would."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text: list[str] = []
        self.open: list[str] = []
        self.addresses: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag != "meta":
            self.open.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in {"src", "href", "xlink:href"}]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert reader.open == []
    return reader


def test_the_page_opens_without_a_network_and_executes_nothing() -> None:
    page = render(report(failed()))
    reader = read(page)

    assert "script" not in reader.tags
    assert "link" not in reader.tags
    assert all(address.startswith("#") for address in reader.addresses)
    assert not re.search(r"url\((?!#)|@import", page)
    assert len(page) < 400_000


def test_the_page_says_what_was_found_and_shows_everything_over_time() -> None:
    page = render(report(failed()))
    text = " ".join(read(page).text)

    assert page.count("<svg") == len(CHARTS)
    assert "40 events acknowledged: 7 lost" in text
    assert "event 0 <script>" in text
    for word in ("steady", "split", "diverge", "heal", "converge", "Exposure", "redis", "--seed 1"):
        assert word in text


def test_the_report_as_json_has_what_the_page_has() -> None:
    found = from_json(to_json(report()))

    assert found["about"]["seed"] == 1
    assert found["exposure"][BOTH]["most"] == 24
    assert found["verdict"]["found"]["lost"] == 0
    assert len(found["series"]["stored"]) == 31
