"""
What one order holds, and how much more fits. Pure.

A full buffer is throttled until it is half full: its partitions that are ahead are paused, so that the one that all others wait
for catches up. That one is still read, for which there is a quarter of slack. With more than that, the oldest events are
released early.
"""


class Room:
    """
    Room for the events of one order.

    Args:
        max_events: Events held before partitions are to be paused.
        max_bytes: Bytes of events held, likewise.

    Attributes:
        max_events, max_bytes: As given, or as last set by `limit`.
        most_events, most_bytes: With the slack.
        count: Events held.
        held_bytes: Their bytes.
        is_throttled: Whether partitions that are ahead are paused.
    """

    def __init__(self, max_events: int, max_bytes: int) -> None:
        self.limit(max_events, max_bytes)
        self.count = 0
        self.held_bytes = 0
        self.is_throttled = False

    def limit(self, max_events: int, max_bytes: int) -> None:
        """Set how much is held before partitions are to be paused; a quarter more, and the oldest must make room."""
        self.max_events = max_events
        self.max_bytes = max_bytes
        self.most_events = max_events * 5 // 4
        self.most_bytes = max_bytes * 5 // 4

    @property
    def left(self) -> int:
        """Events that can be offered before the buffer is full; at least one, so that reading never stops."""
        return self._left(self.max_events, self.max_bytes)

    @property
    def left_with_slack(self) -> int:
        """Events that can be offered before any has to leave early; at least one."""
        return self._left(self.most_events, self.most_bytes)

    def _left(self, events: int, size: int) -> int:
        left = events - self.count
        if self.held_bytes:
            # Where bytes are what is short, as many as fit if they are as large as those held.
            left = min(left, (size - self.held_bytes) * self.count // self.held_bytes)
        return max(1, left)

    def throttle(self) -> None:
        """Throttle a full buffer, and one that was full until it is half full."""
        fill = max(self.count / self.max_events, self.held_bytes / self.max_bytes)
        if fill >= 1:
            self.is_throttled = True
        elif fill <= 1 / 2:
            self.is_throttled = False
