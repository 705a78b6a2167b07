"""`python docs/write_settings.py`: writes docs/settings.md from the settings classes. A test compares."""

import sys

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pydantic_core import PydanticUndefined  # noqa: E402 - the repository has to be found first

from console.settings import ConsoleSettings  # noqa: E402 - the repository has to be found first
from consumer.schema import SchemaSettings  # noqa: E402
from consumer.settings import ConsumerSettings  # noqa: E402
from fleet.jobs.acls import AclSettings  # noqa: E402
from fleet.jobs.disks import DiskSettings  # noqa: E402
from fleet.jobs.topics import TopicSettings  # noqa: E402
from gateway.settings import GatewaySettings  # noqa: E402
from producer.settings import ProducerSettings  # noqa: E402
from shared.process.settings import ServiceSettings, is_secret  # noqa: E402

PAGE: Final = ROOT / "docs/settings.md"
HEAD: Final = """\
# Settings

Made by `python docs/write_settings.py` from the settings classes. What moves ports, names and passwords of a whole fleet is in [operating.md](operating.md#what-setupsh-reads). `X_FILE` names a file that holds `X`, for settings that are secret.

## The four knobs that matter

As properties and as variables:

| property | variable | default | what it trades |
| --- | --- | --- | --- |
| `app.reorder.window-ms` | `APP_REORDER_WINDOW_MS` | 1000 | Every row waits about this long. An event that comes out of order by more than this is late. |
| `app.dedup.bloom.expected-insertions` | `APP_DEDUP_BLOOM_EXPECTED_INSERTIONS` | 1000000 | Memory (about 2.5 MB a million and generation at the default rate) against how far back a retry is recognised without asking PostgreSQL. |
| `app.dedup.bloom.false-positive-rate` | `APP_DEDUP_BLOOM_FALSE_POSITIVE_RATE` | 0.0001 | Memory against needless questions to Redis. |
| `app.dedup.redis.ttl-hours` | `APP_DEDUP_REDIS_TTL_HOURS` | 24 | Redis memory against how long the backlog after a split is recognised without PostgreSQL. |
"""
PROGRAMS: Final[tuple[tuple[str, str, type[ServiceSettings]], ...]] = (
    ("Gateway", "`python -m gateway`", GatewaySettings),
    ("Producer", "`python -m producer`, one a region", ProducerSettings),
    ("Consumer", "`python -m consumer`, one or more a region", ConsumerSettings),
    ("Console", "`python -m console`", ConsoleSettings),
    ("Schema", "`python -m consumer.schema`: makes the tables, then ends", SchemaSettings),
    ("Topics", "`python -m fleet.jobs.topics`: makes a region's topics, then ends", TopicSettings),
    ("Access lists", "`python -m fleet.jobs.acls`: says who may do what in a region's Kafka, then ends", AclSettings),
    ("Disks", "`python -m fleet.jobs.disks`: tells Prometheus how much room is left", DiskSettings),
)

# In words: defaults that are found at the start.
DERIVED: Final = {
    "GATEWAY_CONSUMERS": "none",
    "GATEWAY_SYSLOG_PORT": "`none`",
    "GATEWAY_TENANTS_FILE": "`none`",
    "CONSOLE_CONSUMERS": "none",
    "CONSUMER_INSTANCE": "the host name",
}


def page() -> str:
    """Return the page."""
    return HEAD + "".join(section for program in PROGRAMS for section in _section(*program))


def _section(name: str, what: str, owner: type[ServiceSettings]) -> Iterator[str]:
    yield f"\n## {name}\n\n{what}.\n\n| variable | default | meaning |\n| --- | --- | --- |\n"
    for variable, field in owner.variables().items():
        if field.is_required():
            default = "required"
        elif field.default is PydanticUndefined or field.default is None:
            default = DERIVED[variable]
        else:
            default = f"`{field.default}`" if field.default != "" else "none"
        names = f"`{variable}`" if not is_secret(field) else f"`{variable}` or `{variable}_FILE`"
        yield f"| {names} | {default} | {field.description} |\n"


if __name__ == "__main__":
    PAGE.write_text(page())
