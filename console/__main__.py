"""`python -m console`: serve until SIGTERM, then finish the requests in flight and exit."""

from console.app import create_app, create_internal_app
from console.settings import ConsoleSettings
from shared.process import logs
from shared.process.serving import serve
from shared.process.settings import run_main

# A search takes two seconds at most.
SHUTDOWN_S = 4


def main() -> int:
    """Run the service."""
    settings = ConsoleSettings.read()
    logs.configure("console", level=settings.log_level)
    app = create_app(settings)
    serve(app, create_internal_app(app), settings, shutdown_s=SHUTDOWN_S)
    return 0


if __name__ == "__main__":
    run_main(main)
