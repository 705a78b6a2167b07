"""What a service counts of its audit log."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge


class AuditMetrics:
    """
    See `shared.process.audit.Counts`.

    Args:
        registry: Where the metrics are.
        prefix: What their names begin with.
    """

    def __init__(self, registry: CollectorRegistry, prefix: str) -> None:
        self.lines: Final = Counter(
            f"{prefix}_audit_lines_total", "Lines that were written to the audit log", registry=registry
        )
        self.not_written: Final = Counter(
            f"{prefix}_audit_lost_total",
            "Acts that have no line in the audit log, because it could not be written for long",
            registry=registry,
        )
        self.can_write: Final = Gauge(
            f"{prefix}_audit_writable",
            "1 while the audit log can be written, or there is none; 0 else",
            registry=registry,
        )
        self.can_write.set(1)

    def written(self, acts: int) -> None:
        """See there."""
        self.lines.inc(acts)

    def lost(self, acts: int) -> None:
        """See there."""
        self.not_written.inc(acts)

    def writable(self, now: bool) -> None:  # noqa: FBT001 - a state
        """See there."""
        self.can_write.set(float(now))
