"""Severities by the names that other systems give them."""

import logging
import syslog

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.event.levels import BY_NAME, LEVELS, USUAL, parse_level


@pytest.mark.parametrize(
    ("names", "level"),
    [
        ("emerg emergency panic alert crit critical fatal CRITICAL dpanic assert wtf FTL A", "FATAL"),
        ("err error severe SEVERE Error eror fail exception ERR E ERROR+2", "ERROR"),
        ("warn warning Warning WRN W WARN+1", "WARN"),
        ("notice info information Informational success INF I INFO+2", "INFO"),
        ("debug config fine Debug dbg dbug http D DEBUG+3 debug5", "DEBUG"),
        ("trace verbose finer finest silly trce VRB V DEBUG-4 trace8", "TRACE"),
        ("FATAL ERROR+4", "FATAL"),
    ],
)
def test_a_severity_of_another_system_is_one_of_ours(names: str, level: str) -> None:
    for name in names.split():
        assert [parse_level(form) for form in (name, name.upper(), name.lower(), name.title())] == [level] * 4, name


def test_every_name_that_pythons_own_logging_has_is_known() -> None:
    names = {name: number for name, number in logging.getLevelNamesMapping().items() if number}

    by_number = sorted((number, LEVELS.index(parse_level(name))) for name, number in names.items())

    assert [rank for _, rank in by_number] == sorted(rank for _, rank in by_number)


def test_every_severity_of_syslog_is_known_and_in_order() -> None:
    names = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"]

    ranks = [
        LEVELS.index(parse_level(name)) for name in sorted(names, key=lambda n: getattr(syslog, f"LOG_{n.upper()}"))
    ]

    assert ranks == sorted(ranks, reverse=True)


@given(st.sampled_from(sorted(BY_NAME)), st.data())
def test_the_case_makes_no_difference(name: str, data: st.DataObject) -> None:
    written = "".join(data.draw(st.sampled_from([char.lower(), char.upper()])) for char in name)

    assert parse_level(written) == BY_NAME[name]
    assert USUAL.get(written, parse_level(written)) == parse_level(written)


@pytest.mark.parametrize("level", LEVELS)
def test_ours_are_themselves(level: str) -> None:
    assert parse_level(level) == USUAL[level] == level


@pytest.mark.parametrize(
    "name", ["LOUD", "", "INFO ", " info", "FATAL\n", "\u0131nfo", "\uff29\uff2e\uff26\uff2f", "off", "all", "none"]
)
def test_what_is_no_severity_is_refused_with_ours(name: str) -> None:
    with pytest.raises(ValueError, match="TRACE, DEBUG, INFO, WARN, ERROR, FATAL, or what syslog"):
        parse_level(name)


@pytest.mark.parametrize("number", [0, 3, 7, 10, 30, 60, "30", "3", 17.0])
def test_numbers_are_refused_since_systems_differ(number: object) -> None:
    with pytest.raises(ValueError, match="numbers mean other things in other systems, send the name"):
        parse_level(number)
