"""`python -m producer`: serve until SIGTERM, then finish the requests in flight and exit."""

from producer.app import create_app, create_internal_app
from producer.settings import ProducerSettings
from shared.process import logs
from shared.process.serving import serve
from shared.process.settings import run_main


def main() -> int:
    """Run the service."""
    settings = ProducerSettings.read()
    logs.configure("producer", settings.region, settings.log_level)
    shutdown_s = -(-settings.shutdown_timeout_ms // 1000)
    serve(create_app(settings), create_internal_app(), settings, shutdown_s=shutdown_s)
    return 0


if __name__ == "__main__":
    run_main(main)
