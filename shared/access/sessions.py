"""
Sessions of people in browsers, by a random id each. Pure: time and randomness are arguments.

They are in memory: to end one ends it for every copy of its cookie, and a service that starts again knows none. A session has no rights of
its own; it stands for a key, which is looked at each time.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Final

LASTS_S: Final = 12 * 3600
_MOST: Final = 1000
_ID_BYTES: Final = 32


class Sessions:
    """All that are known; beyond a thousand, the oldest goes."""

    def __init__(self) -> None:
        # Not the ids themselves: who reads this memory, as in a dump, has no cookie.
        self._known: dict[bytes, tuple[str, float]] = {}

    def begin(self, key_id: str, now: float, random: Callable[[int], bytes]) -> str:
        """Begin one that stands for a key, and return its id."""
        for old in [known for known, (_, ends) in self._known.items() if ends <= now]:
            del self._known[old]
        while len(self._known) >= _MOST:
            del self._known[next(iter(self._known))]
        session = random(_ID_BYTES).hex()
        self._known[_digest(session)] = (key_id, now + LASTS_S)
        return session

    def find(self, session: str, now: float) -> str | None:
        """Return the id of the key that a session stands for; None if there is none."""
        key_id, ends = self._known.get(_digest(session), ("", 0.0))
        return key_id if now < ends else None

    def end(self, session: str) -> None:
        """End one, if there is."""
        self._known.pop(_digest(session), None)


def _digest(session: str) -> bytes:
    return sha256(session.encode("utf-8", "replace")).digest()
