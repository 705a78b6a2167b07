"""What traces of events need for as long as the process lives: the regions' consumers, and a limit of their number."""

from typing import Final

from console.internal import Consumers
from console.limits import Places

# Each reads in all regions' Kafkas.
_EACH: Final = 2
_TOTAL: Final = 4


class Lives:
    """
    Shared by all traces.

    Args:
        consumers: Are asked.
    """

    def __init__(self, consumers: Consumers) -> None:
        self.consumers = consumers
        self.places = Places("traces", _EACH, _TOTAL)
