"""
Measures how long Kafka has owed an acknowledgement.

PURE: time is an argument, in seconds of a monotonic clock.
"""


class Silence:
    """Begins with an event sent while nothing else was owed, and with every acknowledgement that leaves others owed."""

    def __init__(self) -> None:
        self._since: float | None = None

    def asked(self, now: float) -> None:
        """Note that an event was sent."""
        if self._since is None:
            self._since = now

    def acknowledged(self, now: float, *, others_owed: bool) -> None:
        """Note that Kafka acknowledged something."""
        self._since = now if others_owed else None

    def end(self) -> None:
        """Note that no acknowledgement is owed any more, because the client is closed."""
        self._since = None

    def duration(self, now: float) -> float:
        """Return for how many seconds an acknowledgement is owed and none has come, 0 while none is owed."""
        return 0.0 if self._since is None else now - self._since
