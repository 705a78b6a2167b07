"""
Where an event goes, and when it is tried again. PURE: no I/O, no clock, no random source of its own.

The region wanted is the one the client asked for, else the preferred one (the first configured). Attempts go through the
regions from there on, without a pause: where one region does not acknowledge, the next one is the quickest way to a 202.
Only when all of them were tried in vain is there a pause before the next round.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


def in_order(regions: Sequence[str], asked: str | None) -> Sequence[str]:
    """
    Return all regions in the order in which they are tried, the wanted one first.

    One whose circuit lets no attempt through is passed over and costs nothing. One that is due a trial keeps its place:
    behind a healthy region it would never get one.

    Args:
        regions: All of them, the preferred one first.
        asked: What the client asked for, one of `regions`, or None.
    """
    wanted = asked or regions[0]
    return [wanted, *(region for region in regions if region != wanted)]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    Exponential back-off with full jitter, inside a deadline.

    Attributes:
        base_s: Longest pause after the first round.
        max_s: Longest pause after any round.
    """

    base_s: float
    max_s: float

    def pause_s(self, rounds: int, *, remaining_s: float, random: Callable[[], float]) -> float | None:
        """
        Return how long to wait before the next round, None when there is no time for one.

        Args:
            rounds: Rounds done, at least one.
            remaining_s: Until the deadline.
            random: Uniform in [0, 1).
        """
        # The exponent is bounded because a float is: 2.0**1024 would raise.
        longest = min(self.max_s, self.base_s * 2.0 ** min(rounds - 1, 64))
        pause = random() * longest
        return pause if pause < remaining_s else None


def chunks(sizes: Sequence[int], *, max_events: int, max_bytes: int) -> list[slice]:
    """
    Cut a batch into runs of neighbours that each fit into one request.

    Args:
        sizes: Bytes of each event, its separator included.
        max_events: Events in one run.
        max_bytes: Bytes in one run; an event larger than that gets a run of its own.
    """
    cuts: list[slice] = []
    start = total = 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == max_events or total + size > max_bytes):
            cuts.append(slice(start, index))
            start, total = index, 0
        total += size
    if sizes:
        cuts.append(slice(start, len(sizes)))
    return cuts
