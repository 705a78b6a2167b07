"""
A rate with a burst, by the generic cell rate algorithm (ITU-T I.371, its form as virtual scheduling). Pure.

All that is kept is one time: when what was taken so far would have come, had it come evenly. Who is ahead of that time by less
than the burst may take more. Nothing has to be filled up by a timer, and a tenant that is silent costs nothing.
"""

from math import inf
from typing import Final

# Less than the clock tells apart is no waiting: sums of floats differ by such amounts.
_SLACK_S: Final = 1e-6


class Gcra:
    """
    One rate of one tenant.

    A request that is larger than the burst is taken when the burst is whole. The rest of it is a debt, and what follows waits
    for that. So in a time `t` no more is taken than `rate * t` and one burst, or one request where that is larger.

    Args:
        rate: Units a second.
        burst_s: For so many seconds' worth a tenant may be ahead.

    Attributes:
        rate: See there.
        burst_s: See there.
        due: When what was taken so far would have come, had it come evenly.
        interval: Seconds a unit.
    """

    __slots__ = ("burst_s", "due", "interval", "rate")

    def __init__(self, rate: float, burst_s: float) -> None:
        self.due = -inf
        self.change(rate, burst_s)

    def change(self, rate: float, burst_s: float) -> None:
        """Have another rate from now on; a tenant stays ahead of it by the time that it was ahead of the old one."""
        self.rate = rate
        self.burst_s = burst_s
        self.interval = 1 / rate

    def wait(self, cost: float, now: float) -> float:
        """Return how many seconds it is until so much may be taken; 0 if it may be taken now."""
        ahead = self.due - now
        if ahead <= 0:
            return 0.0
        need = cost * self.interval
        over = ahead + need - self.burst_s if need < self.burst_s else ahead
        return over if over > _SLACK_S else 0.0

    def take(self, cost: float, at: float) -> None:
        """Take so much, whether or not it may be taken."""
        due = self.due
        self.due = (max(at, due)) + cost * self.interval

    def give_back(self, cost: float) -> None:
        """Undo that much of what was taken."""
        self.due -= cost * self.interval

    def left(self, now: float) -> int:
        """Return how much may be taken at once; 0 while there is a debt."""
        ahead = max(self.due - now, 0.0)
        return max(int((self.burst_s - ahead + _SLACK_S) * self.rate), 0)
