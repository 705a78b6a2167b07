"""What shippers bring, as metrics."""

from collections.abc import Sequence

from prometheus_client import Counter

from gateway.metrics import GatewayMetrics
from gateway.protocols.record import Repair
from shared.ingest.routes import Route

OUTCOMES = ("accepted", "refused", "unavailable")


class MetricsLedger:
    """
    See `shared.ingest.shipping.Ledger`.

    Args:
        metrics: Where it is counted.
        routes: The protocols that there are: each of their counters begins at 0, so that a rate of the first one is seen.
        also: Names of protocols that have no route.
    """

    def __init__(self, metrics: GatewayMetrics, routes: Sequence[Route], also: Sequence[str] = ()) -> None:
        names = {*(route.name for route in routes), *also}
        self._records: dict[tuple[str, str], Counter] = {
            (name, outcome): metrics.records.labels(name, outcome) for name in names for outcome in OUTCOMES
        }
        self._untimed = {name: metrics.untimed.labels(name) for name in names}
        self._repeated = {name: metrics.repeated.labels(name) for name in names}
        self._repaired: dict[tuple[str, str], Counter] = {
            (name, what.value): metrics.repaired.labels(name, what.value) for name in names for what in Repair
        }

    def records(self, protocol: str, outcome: str, number: int) -> None:
        """Count records by what became of them."""
        self._records[protocol, outcome].inc(number)

    def repaired(self, protocol: str, what: str, number: int) -> None:
        """Count events that were repaired."""
        self._repaired[protocol, what].inc(number)

    def untimed(self, protocol: str, number: int) -> None:
        """Count records without a time of their own."""
        self._untimed[protocol].inc(number)

    def repeated(self, protocol: str) -> None:
        """Count a request that equals one that was acknowledged."""
        self._repeated[protocol].inc()
