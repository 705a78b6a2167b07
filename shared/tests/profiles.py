"""
Hypothesis profiles, the same for every package: `quick` looks for a moment, `dev` for seconds, `ci` longer, `deep` for as
long as it takes.

HYPOTHESIS_PROFILE chooses. No deadlines: how long an example takes says more about the machine than about the code.
"""

import os

from hypothesis import HealthCheck, settings


def load() -> None:
    """Register the profiles and load the one that is asked for."""
    settings.register_profile(
        "dev", max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
    )
    dev = settings.get_profile("dev")
    settings.register_profile("quick", dev, max_examples=20)
    settings.register_profile("ci", dev, max_examples=120, derandomize=False, print_blob=True)
    settings.register_profile("deep", dev, max_examples=1000, derandomize=False, print_blob=True)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or "dev")


def times(many: int) -> settings:
    """Look so many times as long as the profile says: for what goes wrong rarely, or costs little."""
    return settings(max_examples=many * settings().max_examples)
