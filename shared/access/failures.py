"""How often an address came with a bad key lately. Pure: time is an argument."""

from typing import Final

MOST: Final = 20
WINDOW_S: Final = 60.0
# Beyond so many addresses a minute, all others are one.
_ADDRESSES: Final = 10_000
_OTHERS: Final = ""


class Failures:
    """Counts failures by address and minute; each minute begins with the first of them."""

    def __init__(self) -> None:
        self._since = 0.0
        self._counts: dict[str, int] = {}

    def note(self, address: str, now: float) -> float | None:
        """
        Note a failure.

        Returns:
            None as long as there were no more than `MOST` of this address; else in how many seconds it may come again.
        """
        if not 0 <= now - self._since < WINDOW_S:
            self._since = now
            self._counts.clear()
        if address not in self._counts and len(self._counts) >= _ADDRESSES:
            address = _OTHERS
        self._counts[address] = number = self._counts.get(address, 0) + 1
        return None if number <= MOST else self._since + WINDOW_S - now
