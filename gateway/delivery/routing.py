"""
Decides where an event goes and when it is tried again. PURE: no I/O, no clock, no random source of its own.

The wanted region is the one that the client asked for, or by default the preferred one, which is the first configured.
Attempts begin there and go through the other regions without a pause, since the next region is the quickest way to a 202.
A pause comes only after a round in which no region acknowledged.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass


def in_order(regions: Sequence[str], asked: str | None) -> Sequence[str]:
    """
    Return all regions in the order in which they are tried, the wanted one first.

    A circuit that lets no attempt through costs nothing: the dispatcher passes its region over. A region whose trial is due
    keeps its place, since behind a healthy region it would never get one.

    Args:
        regions: All regions, the preferred one first.
        asked: The region that the client asked for, one of `regions`, or None.
    """
    wanted = asked or regions[0]
    return [wanted, *(region for region in regions if region != wanted)]


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """
    Exponential back-off with full jitter, inside a deadline.

    Attributes:
        base_s: Longest pause after the first round, in seconds.
        max_s: Longest pause after any round, in seconds.
    """

    base_s: float
    max_s: float

    def pause_s(self, rounds: int, *, remaining_s: float, random: Callable[[], float]) -> float | None:
        """
        Return the pause before the next round in seconds, or None if the deadline comes before its end.

        Args:
            rounds: Rounds done, at least one.
            remaining_s: Seconds until the deadline.
            random: Uniform in [0, 1).
        """
        # The exponent has a limit because 2.0**1024 raises OverflowError.
        longest = min(self.max_s, self.base_s * 2.0 ** min(rounds - 1, 64))
        pause = random() * longest
        return pause if pause < remaining_s else None


def chunks(sizes: Sequence[int], *, max_events: int, max_bytes: int) -> list[slice]:
    """
    Cut a batch into runs of consecutive events that each fit into one request.

    Args:
        sizes: Bytes of each event, its separator included.
        max_events: Largest number of events in one run.
        max_bytes: Largest number of bytes in one run. An event larger than that gets a run of its own.
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
