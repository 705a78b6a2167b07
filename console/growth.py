"""
How much counters grew in a span, from what Prometheus kept of them. PURE.

Prometheus' own `increase` estimates from the samples inside its window, and finds nothing where that is as short as the time between
two samples. Here the counters themselves are compared, moment by moment.
"""

from collections.abc import Sequence
from typing import Final

Points = Sequence[tuple[int, float]]
# Moments a picture may have missed before a counter counts as one that began inside it.
_MISSED: Final = 2


def growth(points: Points, begin: int, end: int, *, first: int, step: int) -> float:
    """
    Return what was added to a counter between two moments.

    Args:
        points: Milliseconds since 1970 and what the counter showed; a lower value than the one before is of a process that began anew.
        begin: From the last value that is not behind this one.
        end: To the last one that is not behind this one.
        first: The first moment of the picture. A counter that comes later began with its process, at nothing.
        step: Milliseconds between two moments.
    """
    grown, before = 0.0, None
    for at, value in points:
        if at > end:
            break
        if at > begin:
            if before is None:
                grown += value if at - first > _MISSED * step else 0.0
            else:
                grown += value - before if value >= before else value
        before = value
    return grown
