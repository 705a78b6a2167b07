"""`python -m gateway`: the only place that reads the environment."""

from gateway.app import create_app
from gateway.settings import GatewaySettings
from shared import logs
from shared.server import serve
from shared.settings import run_main

# An answer may still be written after the deadline of its attempts.
SHUTDOWN_GRACE_S = 2


def main() -> int:
    """Serve until SIGTERM or SIGINT; requests under way are finished."""
    settings = GatewaySettings.read()
    logs.configure("gateway", level=settings.log_level)
    shutdown_s = settings.deadline_ms // 1000 + SHUTDOWN_GRACE_S
    serve(create_app(settings), host=settings.host, port=settings.port, shutdown_s=shutdown_s)
    return 0


if __name__ == "__main__":
    run_main(main)
