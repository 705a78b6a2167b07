"""Whether PostgreSQL answers, looked at each second, for `/ready` and the metrics."""

import asyncio

from typing import Final

import structlog

from console.metrics import ConsoleMetrics
from console.ports import Store
from shared.process.probes import Readiness
from shared.wire.problem import ProblemError

log: Final = structlog.stdlib.get_logger(__name__)
INTERVAL_S: Final = 1.0


class StoreWatch:
    """
    Asks PostgreSQL for a sign of life.

    Args:
        store: Asked as readers ask it.
        metrics: Told of it.
    """

    def __init__(self, store: Store, metrics: ConsoleMetrics) -> None:
        self._store = store
        self._metrics = metrics
        self._trouble: str | None = "postgres: not asked yet"

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(INTERVAL_S)

    async def look(self) -> None:
        """Ask once."""
        try:
            async with self._store.session(None):
                trouble = None
        except ProblemError as exc:
            # All connections are in use by readers: then PostgreSQL works for them.
            trouble = None if exc.status == BUSY else f"postgres: {exc.detail}"
        except Exception as exc:  # the outermost loop: the next look may go well
            log.exception("the look at PostgreSQL failed in an unexpected way")
            trouble = f"postgres: {type(exc).__name__}"
        if (trouble is None) is not (self._trouble is None):
            log.info("PostgreSQL answers" if trouble is None else "PostgreSQL does not answer", trouble=trouble)
        self._trouble = trouble
        self._metrics.postgres_up.set(trouble is None)

    def readiness(self) -> Readiness:
        """Return whether searches have answers, as of the last look."""
        return Readiness(reasons=[] if self._trouble is None else [self._trouble])


BUSY: Final = 429
