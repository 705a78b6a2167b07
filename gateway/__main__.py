"""`python -m gateway`: the only place that reads the environment."""

import gc

from gateway.app import create_app, create_internal_app
from gateway.listeners.door import open_syslog
from gateway.settings import GatewaySettings
from shared.process import logs
from shared.process.serving import serve
from shared.process.settings import run_main

# A request leaves almost no reference cycles. A collection every 700 allocations (Python's default) cost 4 % of the work.
GARBAGE_THRESHOLDS = (50_000, 20, 100)
# The gateway may still write an answer after the deadline of its attempts.
SHUTDOWN_GRACE_S = 2


def main() -> int:
    """Serve until SIGTERM or SIGINT, and finish the requests in flight."""
    settings = GatewaySettings.read()
    logs.configure("gateway", level=settings.log_level)
    shutdown_s = settings.deadline_ms // 1000 + SHUTDOWN_GRACE_S
    app, internal = create_app(settings, syslog=open_syslog(settings)), create_internal_app()
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    serve(app, internal, settings, shutdown_s=shutdown_s)
    return 0


if __name__ == "__main__":
    run_main(main)
