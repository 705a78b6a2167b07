"""Hypothesis settings of these tests, and quiet logs."""

from collections.abc import Iterator

import pytest
import structlog

from shared.tests import profiles

profiles.load()


@pytest.fixture(scope="session", autouse=True)
def _quiet_logs() -> Iterator[None]:
    """Simulated outages are many; what they log is tested where it matters."""
    structlog.configure(
        logger_factory=structlog.ReturnLoggerFactory(), processors=[structlog.processors.KeyValueRenderer()]
    )
    yield
    structlog.reset_defaults()
