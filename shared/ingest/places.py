"""Places and bytes of shippers' requests, which are waited for."""

import asyncio

from contextlib import AsyncExitStack
from typing import Final, Protocol

from shared.wire.problem import UnavailableError

# However slowly its body came, a request is held so long.
_LEAST_S: Final = 0.5


class Gate(Protocol):
    """Bounds how many requests there are at once, and their bytes."""

    async def wait(self, path: str, size: int, seconds: float) -> None:
        """
        Wait until a request that says to have `size` bytes would be let in, at most so long.

        Raises:
            UnavailableError: It would not be.
        """
        ...

    async def enter_patiently(self, path: str, size: int, seconds: float) -> None:
        """
        Let a request in whose body has arrived, and wait for that at most so long; `leave` follows.

        Raises:
            UnavailableError: There was no room.
        """
        ...

    def resize(self, before: int, after: int) -> None:
        """
        Note that a request that entered holds more bytes now, or less.

        Raises:
            UnavailableError: There is no room for more.
        """
        ...

    def leave(self, path: str, size: int) -> None:
        """Note that a request that entered is done."""
        ...


class Held:
    """The place of one request that was let in, and its bytes."""

    __slots__ = ("_gate", "_path", "size")

    def __init__(self, gate: Gate, path: str, size: int) -> None:
        self._gate, self._path, self.size = gate, path, size

    def resize(self, size: int) -> None:
        """
        Hold so many bytes.

        Raises:
            UnavailableError: There is no room for more.
        """
        self._gate.resize(self.size, size)
        self.size = size

    def leave(self) -> None:
        """Give place and bytes back."""
        self._gate.leave(self._path, self.size)


class Large:
    """The places that one request with a large body takes."""

    def __init__(self, stack: AsyncExitStack, until: float) -> None:
        self._stack, self._until = stack, until

    async def enter(self, place: asyncio.Semaphore) -> None:
        """
        Wait for a place, and leave it when the request is done.

        Raises:
            UnavailableError: None got free in time.
        """
        try:
            async with asyncio.timeout(left(self._until)):
                await place.acquire()
        except TimeoutError:
            raise UnavailableError("as many large requests are being read as may be; retry after a pause") from None
        self._stack.callback(place.release)


def clock() -> float:
    """Return the event loop's time, in seconds."""
    return asyncio.get_running_loop().time()


def left(until: float) -> float:
    """Return how many seconds there are until then, and at least some."""
    return max(until - clock(), _LEAST_S)
