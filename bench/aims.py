"""What is aimed for. Data alone; `bench/run.sh all` holds every line against what was measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Aim:
    """
    One line of the table of aims.

    Attributes:
        benchmark: Which benchmark measures it.
        figure: The name of the figure in its report.
        bound: Whether the target is the least or the most.
        target: The number.
        what: The aim in words.
    """

    benchmark: str
    figure: str
    bound: Literal["at least", "at most"]
    target: float
    what: str

    def reached_by(self, value: float) -> bool:
        """Tell whether a median is good enough."""
        return value >= self.target if self.bound == "at least" else value <= self.target


AIMS: Final[Sequence[Aim]] = (
    Aim(
        "consumer",
        "consumer",
        "at least",
        60_000,
        "consumer, events stored a second on a backlog (Flink SQL, measured apart, stored 33,300)",
    ),
    Aim("consumer", "consumer / COPY", "at least", 0.25, "consumer / bare COPY without index"),
)


def aims_of(benchmark: str) -> Sequence[Aim]:
    """Return the aims that a benchmark measures."""
    return [aim for aim in AIMS if aim.benchmark == benchmark]
