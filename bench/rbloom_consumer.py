"""`python -m bench.rbloom_consumer`: the consumer, with rbloom where it has pybloom-live."""

import rbloom

import consumer.__main__
import consumer.bloom

from shared.settings import run_main


class _Filter:
    """rbloom behind the part of pybloom-live's interface that the consumer uses."""

    def __init__(self, capacity: int, error_rate: float) -> None:
        self._filter = rbloom.Bloom(capacity, error_rate)

    def add(self, key: bytes, skip_check: bool = False) -> bool:  # noqa: FBT001, FBT002 - pybloom-live's signature
        """Remember a key; says that it was new only if asked to look."""
        known = not skip_check and key in self._filter
        self._filter.add(key)
        return known

    def __contains__(self, key: bytes) -> bool:
        return key in self._filter


if __name__ == "__main__":
    # Else one would measure the same filter twice, and be told that there is no difference.
    if not hasattr(consumer.bloom, "BloomFilter"):
        raise SystemExit("consumer/bloom.py makes its filters in another way now: change bench/rbloom_consumer.py")
    consumer.bloom.BloomFilter = _Filter
    run_main(consumer.__main__.main)
