"""Each scenario takes its faults back, in the phases in which clients write."""

import pytest

from loadtest.scenarios import INVERSE, SCENARIOS, WRITING, Phase, Scenario


def pulled(scenario: Scenario) -> list[tuple[str, str]]:
    return [(pull.verb, pull.of("a", "b").target) for phase in WRITING for pull in scenario.stage(phase).pulls]


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_ends_with_everything_taken_back(name: str) -> None:
    due: list[tuple[str, str]] = []
    for verb, target in pulled(SCENARIOS[name]):
        if verb in INVERSE:
            due.append((INVERSE[verb], target))
        else:
            due.remove((verb, target))

    assert due == []


@pytest.mark.parametrize("name", SCENARIOS)
def test_pulls_stand_in_the_order_of_their_times(name: str) -> None:
    for stage in SCENARIOS[name].stages.values():
        times = [pull.after for pull in stage.pulls]
        assert times == sorted(times)
        assert all(0 <= after < 1 for after in times)


def test_the_default_run_offers_more_than_a_hundred_thousand_events() -> None:
    assert 1500 * sum(WRITING.values()) > 105_000


def test_nothing_happens_while_it_is_steady() -> None:
    for scenario in SCENARIOS.values():
        assert Phase.STEADY not in scenario.stages


def test_the_split_brain_cuts_both_directions_and_fails_a_region_meanwhile() -> None:
    assert pulled(SCENARIOS["split-brain"]) == [
        ("cut", "a-to-b"),
        ("cut", "b-to-a"),
        ("stop", "producer-a"),
        ("start", "producer-a"),
        ("heal", "a-to-b"),
        ("heal", "b-to-a"),
    ]


def test_only_where_clocks_alone_are_wrong_no_lever_is_pulled() -> None:
    assert [name for name, scenario in SCENARIOS.items() if scenario.harmless] == ["clock-skew"]
