"""`python -m consumer`: read the settings, configure the logs, consume and serve the probes until SIGTERM."""

from consumer.app import create_app
from consumer.settings import ConsumerSettings
from shared import logs
from shared.server import serve
from shared.settings import run_main

# Probes are answered at once; the work's own deadline begins after this one.
PROBES_SHUTDOWN_S = 2


def main() -> int:
    """Run the service."""
    settings = ConsumerSettings.read()
    logs.configure("consumer", settings.region, settings.log_level)
    serve(create_app(settings), host=settings.host, port=settings.port, shutdown_s=PROBES_SHUTDOWN_S)
    return 0


if __name__ == "__main__":
    run_main(main)
