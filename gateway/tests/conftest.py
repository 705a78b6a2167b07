"""What all of these tests have: settings of hypothesis, and each protocol."""

import pytest

from gateway.tests.front_door import NAMES, WAYS, Way
from shared.tests import profiles

profiles.load()


@pytest.fixture(params=WAYS, ids=NAMES)
def way(request: pytest.FixtureRequest) -> Way:
    """Return one protocol after the other, as its clients speak it."""
    way: Way = request.param
    return way
