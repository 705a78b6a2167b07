"""What shippers bring is counted from zero."""

from prometheus_client import CollectorRegistry

from gateway.ledger import OUTCOMES, MetricsLedger
from gateway.metrics import GatewayMetrics
from gateway.protocols.record import Repair
from gateway.protocols.table import ROUTES


def test_every_series_is_there_before_the_first_record() -> None:
    registry = CollectorRegistry()
    MetricsLedger(GatewayMetrics(registry), ROUTES)

    for protocol in {route.name for route in ROUTES}:
        at = {"protocol": protocol}
        for outcome in OUTCOMES:
            assert registry.get_sample_value("gateway_records_total", at | {"outcome": outcome}) == 0
        for what in Repair:
            assert registry.get_sample_value("gateway_repaired_total", at | {"what": what.value}) == 0
        assert registry.get_sample_value("gateway_records_without_time_total", at) == 0
        assert registry.get_sample_value("gateway_repeated_requests_total", at) == 0
