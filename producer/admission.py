"""A bound on the bodies that a producer holds at once."""

from shared.process.bounds import Bounds
from shared.wire.problem import UnavailableError


class Admission:
    """
    The gate of a producer, for clients and for gateways alike.

    Args:
        bounds: The budget of bytes that the server's connections share. A body, or what was made of it, is held until its
            request is answered.
    """

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds

    def ask(self, path: str) -> None:
        """Let every request bring its body: the connections are bounded, and bytes are counted once they are there."""

    def enter(self, path: str, size: int) -> None:
        """
        Let a request in whose body has arrived; `leave` follows.

        Raises:
            UnavailableError: The bodies have as many bytes as they may.
        """
        if not self._bounds.take(size):
            raise UnavailableError("the producer holds as many bytes of requests as it may; retry after a pause")

    def leave(self, path: str, size: int) -> None:
        """Note that a request that entered is done."""
        self._bounds.give_back(size)

    def count(self, status: int, seconds: float) -> None:
        """Do nothing: a producer counts events."""
