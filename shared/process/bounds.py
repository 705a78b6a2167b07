"""
What all connections of a server may hold together, and which of them is let go when that is spent. Pure.

A request that comes in one piece is served at once, and holds nothing here until its body is taken. What is held is what
came in parts: half a head, half a body. The one that got nothing for the longest time gives way, so that clients which send
slowly, or stop, cannot keep out those that send.
"""

from collections.abc import Callable, Collection
from enum import StrEnum
from typing import Final, Protocol

BOUNDS: Final = "bounds"
"""Where an application's state, as its lifespan yields it, has the `Bounds` of its server."""

DEFAULT_BYTES: Final = 128 * 1024 * 1024
DEFAULT_CONNECTIONS: Final = 10_000
# So often the idle ones are looked for at most: that visits all connections.
_LOOK_S: Final = 0.1
# And of those found, one of so many is remembered.
_REMEMBERED: Final = 16
# Connections that are told why they end stay a little; beyond the limit, so many may do so, as a share of it.
_ENDING: Final = 8


class Cut(StrEnum):
    """
    Why a server ended a connection that its client had not done with.

    `host`: it was for another server. `tls`: its handshake failed. `peer`: its certificate is of a service that may not ask that.
    """

    HEADERS = "headers"
    BODY = "body"
    ANSWER = "answer"
    BYTES = "bytes"
    CONNECTIONS = "connections"
    HOST = "host"
    TLS = "tls"
    PEER = "peer"


class Holder(Protocol):
    """A connection with an unfinished request."""

    def give_up(self, why: Cut) -> None:
        """Let the request go, and all that is held for it."""
        ...


class Idler(Protocol):
    """A connection, as far as its place is concerned."""

    def idle_until(self) -> float | None:
        """Return when it would be let go if nothing came, the later the less idle it is; None while it is at work."""
        ...

    def vacate(self) -> bool:
        """Let it go, and return True; False if something came in the meantime."""
        ...


class Places:
    """
    The places that connections of one listener may take.

    Args:
        max_connections: At the same time.
    """

    def __init__(self, max_connections: int) -> None:
        self._max_connections = max_connections
        self._idle: list[Idler] = []
        self._looked_at = float("-inf")

    def find(self, connections: Collection[Idler], now: float) -> bool:
        """
        Let one connection go if there are too many: the one that is idle for the longest time.

        Returns:
            Whether the newest one may stay.
        """
        too_many = len(connections) - self._max_connections
        return too_many <= 0 or (
            too_many <= self._max_connections // _ENDING + 1 and self._close_idle(connections, now)
        )

    def _close_idle(self, connections: Collection[Idler], now: float) -> bool:
        if not self._idle and now - self._looked_at >= _LOOK_S:
            self._looked_at = now
            idle = [(until, id(one), one) for one in connections if (until := one.idle_until()) is not None]
            idle.sort()
            self._idle = [one for _, _, one in idle[: len(idle) // _REMEMBERED + 1]]
            self._idle.reverse()
        while self._idle:
            if self._idle.pop().vacate():
                return True
        return False


class Bounds:
    """
    The budget of one server.

    Args:
        max_bytes: Of unfinished requests, and of bodies whose requests are not answered yet.
        max_connections: At the same time, of each listener.
        on_cut: Told of each connection that was ended.

    Attributes:
        held_bytes: Of them, now.
        max_connections: See there.
        on_cut: See there.
        on_stranger: Told of each that was ended for its certificate, or for want of one, and what it showed.
    """

    def __init__(
        self,
        max_bytes: int = DEFAULT_BYTES,
        max_connections: int = DEFAULT_CONNECTIONS,
        on_cut: Callable[[Cut], None] = lambda _: None,
    ) -> None:
        self.held_bytes = 0
        self.max_connections = max_connections
        self.on_cut = on_cut
        self.on_stranger: Callable[[Cut, str], None] = lambda _, __: None
        self._max_bytes = max_bytes
        # In the order in which they last got something.
        self._unfinished: dict[Holder, int] = {}

    def unfinished(self, holder: Holder, size: int) -> None:
        """Note that so much is held by now of a request that goes on; the one that waits longest may have to give way."""
        self.held_bytes += size - self._unfinished.pop(holder, 0)
        self._unfinished[holder] = size
        self._make_room()

    def finished(self, holder: Holder) -> None:
        """Note that nothing unfinished is held any more."""
        self.held_bytes -= self._unfinished.pop(holder, 0)

    def take(self, size: int) -> bool:
        """
        Hold a whole body; unfinished ones give way to it.

        Returns:
            Whether there was room. If so, `give_back` has to follow.
        """
        self.held_bytes += size
        if self.held_bytes <= self._max_bytes:
            return True
        self._make_room()
        if self.held_bytes <= self._max_bytes:
            return True
        self.held_bytes -= size
        return False

    def has_room(self, size: int) -> bool:
        """Tell whether `take` would hold so much more."""
        return self.held_bytes + size - sum(self._unfinished.values()) <= self._max_bytes

    def give_back(self, size: int) -> None:
        """Hold so much less."""
        self.held_bytes -= size

    def _make_room(self) -> None:
        while self.held_bytes > self._max_bytes and self._unfinished:
            longest = next(iter(self._unfinished))
            self.finished(longest)
            longest.give_up(Cut.BYTES)
