"""`python -m consumer`: read the settings, configure the logs, consume and serve the probes until SIGTERM."""

import gc
import sys

from consumer.adapters.store_thread import SWITCH_S
from consumer.app import create_app
from consumer.settings import ConsumerSettings
from shared.process import logs
from shared.process.server import serve
from shared.process.settings import run_main

# What is read lives from one batch to the next, in tuples without cycles: to look through all of it every 700 allocations, as
# is the default, cost 8 % of the consumer's processor time on a backlog (17.2 and 15.8 µs an event, `bench/run.sh consumer`).
GARBAGE_THRESHOLDS = (100_000, 20, 100)

# Probes are answered at once; the work's own deadline begins after this one.
PROBES_SHUTDOWN_S = 2


def main() -> int:
    """Run the service."""
    settings = ConsumerSettings.read()
    logs.configure("consumer", settings.region, settings.log_level)
    app = create_app(settings)
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
    serve(app, host=settings.host, port=settings.port, shutdown_s=PROBES_SHUTDOWN_S)
    return 0


if __name__ == "__main__":
    run_main(main)
