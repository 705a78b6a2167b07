"""
`python -m fleet.jobs.acls`: say who may do what in a region's Kafka, then end. Safe to run again.

Only a Kafka that asks for certificates has such a list. Lines of the fleet's services that are not in `fleet/acls.py` go, and
those of others stay.
"""

import asyncio

from typing import Final

import structlog

from aiokafka.errors import KafkaError
from pydantic import Field, PositiveInt
from pydantic_settings import SettingsConfigDict

from fleet.acls import grants
from shared.process import logs
from shared.process.acl_admin import AclAdmin, Line
from shared.process.kafka_settings import KafkaSettings
from shared.process.settings import RegionList, run_main
from shared.wire.regions import Region

log: Final = structlog.stdlib.get_logger(__name__)
RETRY_PAUSE_S: Final = 1.0


class AclSettings(KafkaSettings):
    """From `ACLS_*` variables."""

    model_config = SettingsConfigDict(env_prefix="ACLS_", frozen=True)

    region: Region = Field(description="The region whose Kafka gets the list.")
    regions: RegionList = Field(description="All regions, this one included.")
    wait_s: PositiveInt = Field(default=240, description="How long to wait for Kafka before giving up.")


def wanted_lines(settings: AclSettings) -> set[Line]:
    """Return the region's table, as Kafka has it."""
    table = grants(settings.region, settings.regions)
    return {(grant.kind, grant.name, grant.pattern, grant.service, grant.may) for grant in table}


async def ensure_acls(settings: AclSettings) -> tuple[int, int]:
    """
    Make the list what it should be.

    Returns:
        How many lines were added, and how many removed.

    Raises:
        KafkaError: Kafka did not answer in time, or refused.
    """
    wanted = wanted_lines(settings)
    async with AclAdmin(settings.kafka_bootstrap_servers, settings.kafka_access) as admin:
        return await admin.make(wanted, {service for _, _, _, service, _ in wanted})


async def wait_and_ensure(settings: AclSettings) -> None:
    """
    Wait for Kafka, then make its list.

    Raises:
        KafkaError: Kafka refused.
        TimeoutError: Kafka did not answer in time. The message has its last error.
    """
    last = "it did not answer"
    try:
        async with asyncio.timeout(settings.wait_s):
            while True:
                try:
                    added, removed = await ensure_acls(settings)
                except KafkaError as exc:
                    if not exc.retriable:
                        raise
                    last = str(exc)
                    log.info("waiting for kafka", servers=settings.kafka_bootstrap_servers, error=last)
                    await asyncio.sleep(RETRY_PAUSE_S)
                else:
                    log.info("access list is there", added=added, removed=removed)
                    return
    except TimeoutError:
        raise TimeoutError(last) from None


def main() -> int:
    """
    Run once.

    Returns:
        Exit status: 1 if the list is not what it should be.
    """
    settings = AclSettings.read()
    logs.configure("acls", settings.region, settings.log_level)
    try:
        asyncio.run(wait_and_ensure(settings))
    except (TimeoutError, KafkaError) as exc:
        log.error("kafka has no access list", error=str(exc))  # noqa: TRY400 - the sentence says it all
        return 1
    return 0


if __name__ == "__main__":
    run_main(main)
