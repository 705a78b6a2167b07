"""
The one place between reading and storing: a batch that is cut while the one before it is on its way to the store. Pure.

Batches leave in the order in which they were cut, for each carries what is committable once it and all before it are stored.
"""

from consumer.pipeline import Batch, Pipeline


class Slot:
    """
    Holds one batch.

    Args:
        pipeline: Cuts them.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._next: Batch | None = None

    @property
    def waiting(self) -> int:
        """How many rows wait to be stored, here or in no batch yet."""
        return len(self._pipeline.released) + (0 if self._next is None else len(self._next.rows))

    @property
    def size(self) -> int:
        """Bytes of the batch that is ready."""
        return 0 if self._next is None else self._next.size

    def fill(self) -> None:
        """Cut a full batch, if there is one and none is ready yet."""
        if self._next is None and self._pipeline.has_full_batch:
            self._next = self._pipeline.cut()

    def take(self) -> Batch:
        """Return the next batch."""
        batch, self._next = self._next or self._pipeline.cut(), None
        return batch

    def take_or_check_in(self) -> Batch:
        """Return the next batch, or one without rows, never past one that waits."""
        return self.take() if self.waiting else self._pipeline.check_in()
