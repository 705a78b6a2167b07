"""
The scenarios of the load test: what it does to the fleet, and when. PURE.

    steady ── split ── diverge ── heal ── converge ── verify
    └────────── clients write ─────────┘

A scenario says for each phase of writing which levers are pulled, and how clients behave. Each lever that does harm has an
inverse, and each scenario pulls it by the end of `heal`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from chaos.writers import Habits

SECOND_US: Final = 1_000_000
# Wrong clocks of clients: slow ones, and fast ones by less and by more than the minute that consumers believe by default.
CLOCKS_US: Final = tuple(int(s * SECOND_US) for s in (-3600, -45, -2.5, 0.4, 5, 90, 86_400))
INVERSE: Final[Mapping[str, str]] = {"cut": "heal", "stop": "start"}
# Well-behaved clients: their retries must not keep an overloaded fleet overloaded.
_USUAL: Final = Habits(longest_pause_s=10)
_TWICE: Final = replace(_USUAL, both_regions=0.12, repeats=0.12)
_STORM: Final = replace(_USUAL, both_regions=0.4, repeats=0.4, times=2)


class Phase(StrEnum):
    """A part of a run."""

    STEADY = "steady"
    SPLIT = "split"
    DIVERGE = "diverge"
    HEAL = "heal"
    CONVERGE = "converge"
    VERIFY = "verify"


WRITING: Final[Mapping[Phase, float]] = {Phase.STEADY: 15, Phase.SPLIT: 20, Phase.DIVERGE: 20, Phase.HEAL: 20}
"""The phases in which clients write, with their seconds."""


@dataclass(frozen=True, slots=True)
class Pull:
    """
    One pull of a lever.

    Attributes:
        after: The fraction of the phase after which it is pulled, from 0 to 1.
        verb: The verb of `./setup.sh`.
        target: A link or a part. `{hit}` and `{other}` stand for the regions' letters.
    """

    after: float
    verb: str
    target: str

    def of(self, hit: str, other: str) -> "Pull":
        """Return the same with the regions' letters filled in."""
        return Pull(self.after, self.verb, self.target.format(hit=hit, other=other))


@dataclass(frozen=True, slots=True)
class Stage:
    """
    One phase of one scenario.

    Attributes:
        pulls: The pulls in the order of their times.
        habits: Habits of the clients that begin in it.
        wrong_clocks: The share of batches from clients whose clock is off.
    """

    pulls: Sequence[Pull] = ()
    habits: Habits = field(default_factory=lambda: _USUAL)
    wrong_clocks: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """
    A scenario.

    Attributes:
        name: Its name on the command line.
        what: What it does.
        stages: What happens in each phase. Phases that are left out have no faults.
    """

    name: str
    what: str
    stages: Mapping[Phase, Stage]

    def stage(self, phase: Phase) -> Stage:
        """Return what happens in a phase."""
        return self.stages.get(phase, Stage())

    @property
    def harmless(self) -> bool:
        """Whether no lever is pulled at all."""
        return not any(stage.pulls for stage in self.stages.values())


_BOTH: Final = ("{hit}-to-{other}", "{other}-to-{hit}")


def _at(after: float, verb: str, *targets: str) -> tuple[Pull, ...]:
    return tuple(Pull(after, verb, target) for target in targets)


def _flapping() -> tuple[Pull, ...]:
    return _at(0, "cut", *_BOTH) + _at(0.3, "heal", *_BOTH) + _at(0.5, "cut", *_BOTH) + _at(0.8, "heal", *_BOTH)


_ALL: Final = (
    Scenario(
        "split-brain",
        "Both directions of replication are cut, both regions go on; then one region's producer fails, "
        "and clients retry against both",
        {
            Phase.SPLIT: Stage(_at(0, "cut", *_BOTH)),
            Phase.DIVERGE: Stage(_at(0.15, "stop", "producer-{hit}") + _at(0.65, "start", "producer-{hit}"), _TWICE),
            Phase.HEAL: Stage(_at(0, "heal", *_BOTH)),
        },
    ),
    Scenario(
        "region-loss",
        "One region's producer, Kafka and consumer go away together and come back",
        {
            Phase.SPLIT: Stage(_at(0, "stop", "producer-{hit}", "kafka-{hit}", "consumer-{hit}")),
            Phase.DIVERGE: Stage(habits=_TWICE),
            Phase.HEAL: Stage(_at(0, "start", "kafka-{hit}", "consumer-{hit}", "producer-{hit}")),
        },
    ),
    Scenario(
        "link-flap",
        "Both directions of replication are cut and healed four times",
        {
            Phase.SPLIT: Stage(_flapping()),
            Phase.DIVERGE: Stage(_flapping(), _TWICE),
        },
    ),
    Scenario(
        "asymmetric",
        "One direction of replication is cut, the other one stays",
        {
            Phase.SPLIT: Stage(_at(0, "cut", "{hit}-to-{other}")),
            Phase.DIVERGE: Stage(habits=_TWICE),
            Phase.HEAL: Stage(_at(0, "heal", "{hit}-to-{other}")),
        },
    ),
    Scenario(
        "duplicate-storm",
        "A split in which most clients send most events several times, to both regions",
        {
            Phase.SPLIT: Stage(_at(0, "cut", *_BOTH)),
            Phase.DIVERGE: Stage(habits=_STORM),
            Phase.HEAL: Stage(_at(0, "heal", *_BOTH)),
        },
    ),
    Scenario(
        "clock-skew",
        "Nothing is cut; one client in ten has a clock that is behind or ahead, some by more than is believed",
        {
            Phase.SPLIT: Stage(wrong_clocks=0.1),
            Phase.DIVERGE: Stage(habits=_TWICE, wrong_clocks=0.1),
        },
    ),
)
SCENARIOS: Final[Mapping[str, Scenario]] = {scenario.name: scenario for scenario in _ALL}
