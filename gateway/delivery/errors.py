"""
What can go wrong between the gateway and a region.

* RegionError                   a failure of the region: its circuit hears of it, the events may go elsewhere
  x RegionUnreachableError      nothing listens there, or the network does not get there
  x ConnectionLostError         the connection broke before the answer; worth one more attempt in the same region
  x RegionTimeoutError          no answer in time
  x RegionUnavailableError      the producer answered with an error
  x RegionContractError         the producer answered with something else than the hand-off's answer
* QueueFullError                the gateway already holds as much for the region as it may; says nothing about the region
"""


class RegionError(Exception):
    """A request to a region's producer failed; the events in it may or may not have been written."""

    repeatable = False
    """Whether an immediate second attempt in the same region makes sense."""


class RegionUnreachableError(RegionError):
    """No connection to the producer."""


class ConnectionLostError(RegionError):
    """The connection broke before the answer, as it does when a producer restarts or closes an idle connection."""

    repeatable = True


class RegionTimeoutError(RegionError):
    """The producer did not answer in time."""


class RegionUnavailableError(RegionError):
    """The producer answered, but not with success."""


class RegionContractError(RegionError):
    """The answer is none of the hand-off's: another version, or no producer at all."""


class QueueFullError(Exception):
    """The bounded queue for a region has no room for these events."""
