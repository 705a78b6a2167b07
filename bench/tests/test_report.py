import pytest

from pydantic import TypeAdapter
from pydantic_core import to_json

from bench.aims import AIMS, Aim, aims_of
from bench.report import BrokenRunError, Report, aim_lines, demand, markdown, shown, standings, table

FAST = Aim("consumer", "rate", "at least", 100.0, "fast")
SMALL = Aim("consumer", "size", "at most", 10.0, "small")


def a_report(**figures: list[float]) -> Report:
    report = Report("consumer", "abc", "2026-11-25T12:00:00Z", 2, {"events": 5})
    for name, values in figures.items():
        for value in values:
            report.add(name, "a unit", value)
    return report


def test_the_median_decides_whether_an_aim_is_reached() -> None:
    report = a_report(rate=[1.0, 100.0, 120.0], size=[9.0, 11.0, 30.0])

    verdicts = [(s.verdict, s.value) for s in standings([FAST, SMALL], {"consumer": report})]

    assert verdicts == [("reached", 100.0), ("MISSED", 11.0)]


def test_what_failed_its_check_has_measured_nothing() -> None:
    report = a_report(rate=[500.0])
    report.expect(holds=False, otherwise="an event is missing")

    [standing] = standings([FAST], {"consumer": report})

    assert (standing.verdict, standing.value) == ("not measured", None)
    assert "FAILED: an event is missing" in table(report)
    assert "checked" not in table(report)


def test_what_holds_is_no_failure() -> None:
    report = a_report(rate=[500.0])

    report.expect(holds=True, otherwise="an event is missing")

    assert report.failures == []
    assert "checked" in table(report)


def test_what_nobody_measured_is_said_to_be_so() -> None:
    [line] = aim_lines(standings([FAST], {}))

    assert line.split() == ["not", "measured", "-", "at", "least", "100:", "fast"]


def test_a_run_that_does_not_do_its_work_ends() -> None:
    demand(holds=True, otherwise="no")
    with pytest.raises(BrokenRunError, match="nothing came"):
        demand(holds=False, otherwise="nothing came")


def test_a_report_comes_back_from_its_file_as_it_was() -> None:
    report = a_report(rate=[1.0, 2.0])
    report.series["stored"] = [(0.0, 1.0), (1.0, 2.0)]

    assert TypeAdapter(Report).validate_json(to_json(report)) == report


def test_numbers_have_the_digits_that_mean_something() -> None:
    assert [shown(value) for value in (12345.6, 0.03642, 1.04, 25.04)] == ["12,346", "0.0364", "1.04", "25"]


def test_each_aim_is_of_one_figure() -> None:
    assert len({(aim.benchmark, aim.figure) for aim in AIMS}) == len(AIMS)
    assert sorted(map(repr, (a for name in {a.benchmark for a in AIMS} for a in aims_of(name)))) == sorted(
        map(repr, AIMS)
    )


def test_a_document_gets_a_row_for_each_figure_and_each_failure() -> None:
    report = a_report(rate=[1.0, 3.0, 2.0])
    report.expect(holds=False, otherwise="an event is missing")

    assert markdown([report]).splitlines()[2:] == [
        "| consumer | rate | 2 | 1 to 3 | a unit | abc | 2026-11-25 |",
        "| consumer | FAILED: an event is missing | | | | | |",
    ]
