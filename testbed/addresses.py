"""Where the parts of the running fleet are, by the variables that move their ports; alike in both modes."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from testbed.access import SERVICES, address, exposed, postgres_url, redis_url, scheme, told_at


@dataclass(frozen=True)
class Addresses:
    """
    The addresses of the parts.

    Attributes:
        gateway: To which clients post.
        services: Where each service tells its state and its metrics.
        redis: Without a user.
        toxiproxy: In fault mode.
    """

    gateway: str = field(default_factory=lambda: f"{scheme()}://{exposed('GATEWAY_PORT', 8080)}")
    console: str = field(default_factory=lambda: f"{scheme()}://{address('CONSOLE_PORT', 8085)}")
    services: Mapping[str, str] = field(default_factory=lambda: {service: told_at(service) for service in SERVICES})
    kafka: Mapping[str, str] = field(
        default_factory=lambda: {
            "region-a": address("KAFKA_A_PORT", 9092),
            "region-b": address("KAFKA_B_PORT", 9093),
        }
    )
    postgres: str = field(default_factory=postgres_url)
    redis: str = field(default_factory=redis_url)
    prometheus: str = field(default_factory=lambda: f"http://{address('PROMETHEUS_PORT', 9090)}")
    grafana: str = field(default_factory=lambda: f"http://{address('GRAFANA_PORT', 3000)}")
    toxiproxy: str = field(default_factory=lambda: f"http://{address('TOXIPROXY_PORT', 8474)}")
