"""What is said of connections that are refused for their certificate, or for having none."""

import time

from collections.abc import Callable
from typing import Final

import structlog

from shared.process.bounds import Cut

log: Final = structlog.stdlib.get_logger(__name__)

EVERY_S: Final = 60.0
"""A sentence is said again after so long, and no earlier."""
MOST: Final = 32
"""Different sentences that are kept apart. What is shown comes from strangers."""

_OTHERS: Final = "others"


class Refusals:
    """
    Counts each refusal, and tells of it: at once, and then once a minute with how many there were.

    A scan of ports makes thousands. A service of the fleet whose certificate has ended is refused as often as it tries, and the owner
    of the fleet has to find out why.

    Args:
        on_cut: Told of each.
        clock: Returns seconds.
    """

    def __init__(self, on_cut: Callable[[Cut], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._on_cut = on_cut
        self._clock = clock
        # When it may be said again, and how often it was not.
        self._said: dict[str, tuple[float, int]] = {}

    def refused(self, why: Cut, shown: str) -> None:
        """
        Note one.

        Args:
            why: Its reason.
            shown: What is wrong, or whose certificate it was.
        """
        self._on_cut(why)
        now = self._clock()
        key = shown if shown in self._said or len(self._said) < MOST else _OTHERS
        after, held_back = self._said.get(key, (now, 0))
        if now < after:
            self._said[key] = (after, held_back + 1)
            return
        self._said[key] = (now + EVERY_S, 0)
        log.warning("connections refused", reason=why.value, shown=shown, number=held_back + 1)
