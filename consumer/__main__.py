"""`python -m consumer`: read the settings, configure the logs, consume and serve the probes until SIGTERM."""

import gc
import sys

from consumer.app import create_app, create_internal_app
from consumer.settings import ConsumerSettings
from consumer.tuning import GARBAGE_THRESHOLDS, PROBES_SHUTDOWN_S, SWITCH_S
from shared.process import logs
from shared.process.serving import serve
from shared.process.settings import run_main


def main() -> int:
    """Run the service."""
    settings = ConsumerSettings.read()
    logs.configure("consumer", settings.region, settings.log_level)
    app, internal = create_app(settings), create_internal_app()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    sys.setswitchinterval(SWITCH_S)
    serve(app, internal, settings, shutdown_s=PROBES_SHUTDOWN_S)
    return 0


if __name__ == "__main__":
    run_main(main)
