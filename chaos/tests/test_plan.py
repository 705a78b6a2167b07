from chaos.plan import plan_round

FAULTS = {"first": -1, "last": 1, **dict.fromkeys("abcdefgh", 0)}
REGIONS = ("region-a", "region-b")


def test_a_round_is_the_whole_catalogue_once() -> None:
    for seed in range(20):
        assert sorted(step.fault for step in plan_round(seed, 1, FAULTS, REGIONS)) == sorted(FAULTS)


def test_a_seed_repeats_its_rounds_and_another_seed_or_round_is_another_one() -> None:
    assert plan_round(1, 1, FAULTS, REGIONS) == plan_round(1, 1, dict(reversed(FAULTS.items())), REGIONS)
    assert plan_round(1, 1, FAULTS, REGIONS) != plan_round(2, 1, FAULTS, REGIONS)
    assert plan_round(1, 1, FAULTS, REGIONS) != plan_round(1, 2, FAULTS, REGIONS)


def test_what_has_a_place_is_there_in_every_round() -> None:
    for seed in range(20):
        names = [step.fault for step in plan_round(seed, 1, FAULTS, REGIONS)]
        assert (names[0], names[-1]) == ("first", "last")


def test_both_regions_are_hit() -> None:
    assert {step.region for step in plan_round(1, 1, FAULTS, REGIONS)} == set(REGIONS)
