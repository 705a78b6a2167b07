"""A bound on the requests that a producer serves at once, and on their bodies."""

from collections.abc import Mapping

from shared.process.bounds import Bounds
from shared.wire.problem import UnavailableError


class Admission:
    """
    The gate of a producer, for clients and for gateways alike.

    Args:
        limits: Requests under way at the same time, by path.
        bounds: The budget of bytes that the server's connections share. A body, or what was made of it, is held until its
            request is answered.
    """

    def __init__(self, limits: Mapping[str, int], bounds: Bounds) -> None:
        self._limits = limits
        self._bounds = bounds
        self._under_way = dict.fromkeys(limits, 0)

    def ask(self, path: str) -> None:
        """
        Look whether a request would be let in, before its body is read.

        Raises:
            UnavailableError: There are as many as there may be.
        """
        if self._under_way[path] >= self._limits[path]:
            raise UnavailableError("the producer handles as many requests as it may; retry after a pause")

    def enter(self, path: str, size: int) -> None:
        """
        Let a request in whose body has arrived; `leave` follows.

        Raises:
            UnavailableError: As for `ask`; or their bodies have as many bytes as they may.
        """
        self.ask(path)
        if not self._bounds.take(size):
            raise UnavailableError("the producer holds as many bytes of requests as it may; retry after a pause")
        self._under_way[path] += 1

    def leave(self, path: str, size: int) -> None:
        """Note that a request that entered is done."""
        self._under_way[path] -= 1
        self._bounds.give_back(size)

    def count(self, status: int, seconds: float) -> None:
        """Do nothing: a producer counts events."""
