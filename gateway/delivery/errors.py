"""
What can go wrong between the gateway and a region.

* RegionError                   a failure of the region: its circuit counts it, the events may go to another region
  x RegionUnreachableError      no process listens at the address, or the network does not reach it
  x ConnectionLostError         the connection broke before the answer: one more attempt in the same region
  x RegionTimeoutError          no answer in time
  x RegionUnavailableError      the producer answered with an error
  x RegionContractError         the answer does not have the form that the services agreed on
* QueueFullError                the gateway's queue for the region is full, which is no evidence about the region
"""


class RegionError(Exception):
    """
    A request to a region's producer failed. The producer may or may not have written the events in it.

    Args:
        what: What went wrong, in the gateway's own words.
        said: What the other side said, for the log and for `/ready`; clients are not told.

    Attributes:
        what: See there.
    """

    repeatable = False
    """Whether an immediate second attempt in the same region makes sense."""

    def __init__(self, what: str, said: str | None = None) -> None:
        super().__init__(what if said is None else f"{what}: {said}")
        self.what = what


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
    """The answer does not have the agreed form: another version answered, or another service."""


class QueueFullError(Exception):
    """The bounded queue for a region has no room for these events."""
