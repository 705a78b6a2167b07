"""
Draws the faults and their order from a seed. PURE.

A round is the whole catalogue once, shuffled, each fault against a region that the seed draws.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, slots=True)
class Step:
    """
    One fault of a round.

    Attributes:
        fault: Its name.
        region: The region that it hits, if it hits one.
        seed: Seed for what the fault itself leaves open.
    """

    fault: str
    region: str
    seed: int


def plan_round(seed: int, number: int, faults: Mapping[str, int], regions: Sequence[str]) -> list[Step]:
    """
    Draw a round.

    Args:
        seed: Seed of the whole run.
        number: Number of the round in it.
        faults: Names with their places. Faults of a lower place come before those of a higher one.
        regions: The regions to choose from.
    """
    random = Random(f"{seed}/{number}")
    drawn = sorted(faults)
    random.shuffle(drawn)
    drawn.sort(key=lambda name: faults[name])  # stable: faults of the same place keep the drawn order
    return [Step(name, random.choice(regions), random.getrandbits(32)) for name in drawn]
