"""
Rounds: every contender once a round, in turns, so that a machine that gets slower or faster hits them all. Pure.

A ratio is formed within a round, of figures that were measured minutes and not hours apart. The report has the median of
the rounds and their spread.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Summary:
    """
    What a figure was over the rounds.

    Attributes:
        median: Of all rounds.
        low: The lowest.
        high: The highest.
    """

    median: float
    low: float
    high: float


def summarise(values: Sequence[float]) -> Summary:
    """
    Return the median and the spread.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no round gave this figure")
    return Summary(median(values), min(values), max(values))


def turns(contenders: Sequence[str], number: int) -> Sequence[str]:
    """Return the order of round `number`, from 0: there and back, so that none is always the first."""
    return contenders if number % 2 == 0 else contenders[::-1]


async def interleave(
    contenders: Mapping[str, Callable[[int], Awaitable[T]]], rounds: int, enter: Callable[[str], None]
) -> Sequence[Mapping[str, T]]:
    """
    Let every contender have its turn in each round.

    Args:
        contenders: By name; each is called with the number of the round, from 0.
        rounds: How many.
        enter: Called when a turn begins, with a part of a sentence that names the contender.
    """
    results: list[Mapping[str, T]] = []
    for number in range(rounds):
        measured: dict[str, T] = {}
        for name in turns(list(contenders), number):
            enter(f"round {number + 1} of {rounds}: {name}")
            measured[name] = await contenders[name](number)
        results.append(measured)
    return results


def percentile(values: Sequence[float], percent: float) -> float:
    """
    Return the smallest value that at least `percent` of the values do not exceed.

    Raises:
        ValueError: There are no values.
    """
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = -(-len(ordered) * percent // 100)
    return ordered[max(0, int(rank) - 1)]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """
    Return how much the second number grows while the first grows by one, by least squares.

    Raises:
        ValueError: There are not two different first numbers.
    """
    if len({x for x, _ in points}) < 2:
        raise ValueError("a slope needs two points")
    middle_x = sum(x for x, _ in points) / len(points)
    middle_y = sum(y for _, y in points) / len(points)
    return sum((x - middle_x) * (y - middle_y) for x, y in points) / sum((x - middle_x) ** 2 for x, _ in points)
