"""
Which faults in which order, out of a seed. Pure.

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
        region: To which region it is done, where it is done to one.
        seed: Of what the fault itself leaves open.
    """

    fault: str
    region: str
    seed: int


def plan_round(seed: int, number: int, faults: Mapping[str, int], regions: Sequence[str]) -> list[Step]:
    """
    Draw a round.

    Args:
        seed: Of the whole run.
        number: Of the round in it.
        faults: Names, each with its place: those of a lower one come before those of a higher one.
        regions: To choose from.
    """
    random = Random(f"{seed}/{number}")
    drawn = sorted(faults)
    random.shuffle(drawn)
    drawn.sort(key=lambda name: faults[name])  # stable: what has no place of its own keeps the one that was drawn
    return [Step(name, random.choice(regions), random.getrandbits(32)) for name in drawn]
