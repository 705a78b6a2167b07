"""What an assignment is given: ports, limits, and what all assignments of a process share."""

from collections.abc import Callable
from dataclasses import dataclass, field

from consumer.bloom import RotatingBloom
from consumer.doubts import Doubts
from consumer.failpoints import Arrive, pass_by
from consumer.metrics import ConsumerMetrics
from consumer.outages import Outages
from consumer.ports import DeadLetters, EventStore, SeenIds
from consumer.tuning import Pace


@dataclass(frozen=True, slots=True)
class Ports:
    """
    Where an assignment's events go, and what recognises duplicates.

    Attributes:
        store: Where rows go.
        seen: The memory of stored ids.
        dead_letters: Where records go that cannot become rows.
        bloom: Outlives assignments.
        is_shared: Whether consumers of other regions write the events of their regions to the same store.
    """

    store: EventStore
    seen: SeenIds
    dead_letters: DeadLetters
    bloom: RotatingBloom
    is_shared: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """
    How much is held at most.

    Attributes:
        batch_max: Events in one transaction.
        max_bytes: Bytes held, see `Pipeline`.
    """

    batch_max: int
    max_bytes: int


@dataclass(frozen=True, slots=True)
class Surroundings:
    """
    What all assignments of a process share.

    Attributes:
        region: The consumer's own.
        outages: Shared with `/ready`.
        metrics: Counters.
        doubts: Settles what logs are.
        now_us: Clock, microseconds since 1970, never backwards.
        pace: Pauses, portions and intervals.
        arrive: Called at the places that `consumer/failpoints.py` names.
    """

    region: str
    outages: Outages
    metrics: ConsumerMetrics
    doubts: Doubts
    now_us: Callable[[], int]
    pace: Pace = field(default_factory=Pace)
    arrive: Arrive = pass_by
