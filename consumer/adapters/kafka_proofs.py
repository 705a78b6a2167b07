"""
What the times of Kafka's answers prove: until when a partition was empty, and for how long the broker is silent. Pure.

A fetch is sent after the answer to the one before. So an answer that shows nothing unread proves it for the time of the
*previous* answer. That holds however long it lay in a socket since, as in a suspended process. Each proof counts once.
"""

from dataclasses import dataclass

from consumer.envelope import Partition


@dataclass(slots=True)
class _Answer:
    """
    The last answer for a partition.

    Attributes:
        stamp_ms: By the client library, on the system's clock; another one for each answer.
        at_us: When it came, on the consumer's clock.
        before_us: When the one before it came, None if there was none.
        is_used: Whether it has proven something.
    """

    stamp_ms: int
    at_us: int
    before_us: int | None
    is_used: bool = False


class Proofs:
    """
    The answers of all partitions.

    Args:
        now_us: Now, microseconds since 1970, never backwards; likewise everywhere here.
    """

    def __init__(self, now_us: int) -> None:
        self._answers: dict[Partition, _Answer] = {}
        self._records_us = self._looked_us = now_us

    def begin(self) -> None:
        """Forget the answers: the partitions begin anew."""
        self._answers.clear()

    def records_came(self, now_us: int) -> None:
        """Note that records came, for which the broker must have answered."""
        self._records_us = now_us

    def look(self, now_us: int) -> None:
        """Note that answers are looked at now; while none are, as when the store is waited for, they may lie there."""
        self._looked_us = now_us

    def note(self, partition: Partition, stamp_ms: int, now_us: int, wall_ms: int) -> int | None:
        """
        Note the last answer for a partition.

        Args:
            partition: The partition.
            stamp_ms: When it came, on the system's clock.
            now_us: Now.
            wall_ms: Now, on the system's clock.

        Returns:
            Until when the partition was empty, if the answer shows nothing unread; None if that is proven already, or unknown.
        """
        answer = self._answers.get(partition)
        if answer is None or answer.stamp_ms != stamp_ms:
            at_us = now_us - max(0, wall_ms - stamp_ms) * 1000
            answer = _Answer(stamp_ms, at_us, None if answer is None else answer.at_us)
            self._answers[partition] = answer
        return None if answer.is_used else answer.before_us

    def use(self, partition: Partition) -> None:
        """Note that the last answer for a partition has proven something: it proves nothing more."""
        if partition in self._answers:
            self._answers[partition].is_used = True

    def silence_s(self, now_us: int, limit_s: float) -> float:
        """
        Return for how long the broker has answered no fetch, in seconds; 0 unless it was longer than `limit_s`.

        Only what was seen to be missing counts: see `look`.
        """
        if not self._answers:
            return 0.0
        answered_us = max(self._records_us, *(answer.at_us for answer in self._answers.values()))
        missed_s = (self._looked_us - answered_us) / 1e6
        return (now_us - answered_us) / 1e6 if missed_s > limit_s else 0.0

    def seen_since_us(self, limit_s: float) -> int:
        """Return the time since which an answer would have been seen, had it come within the last `limit_s` of looking."""
        return self._looked_us - int(limit_s * 1e6)
