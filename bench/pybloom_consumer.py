"""`python -m bench.pybloom_consumer`: the consumer, with pybloom-live where it has rbloom."""

from collections.abc import Iterable

from pybloom_live import BloomFilter

import consumer.__main__
import consumer.bloom

from shared.process.settings import run_main


class _Filter:
    """pybloom-live behind the part of rbloom's interface that the consumer uses."""

    def __init__(self, expected_items: int, false_positive_rate: float) -> None:
        self._filter = BloomFilter(capacity=expected_items, error_rate=false_positive_rate)

    def update(self, keys: Iterable[bytes]) -> None:
        """Remember keys."""
        for key in keys:
            self._filter.add(key, skip_check=True)

    def __contains__(self, key: bytes) -> bool:
        return key in self._filter


if __name__ == "__main__":
    # Else one would measure the same filter twice, and be told that there is no difference.
    if not hasattr(consumer.bloom, "Bloom"):
        raise SystemExit("consumer/bloom.py makes its filters in another way now: change bench/pybloom_consumer.py")
    consumer.bloom.Bloom = _Filter
    run_main(consumer.__main__.main)
