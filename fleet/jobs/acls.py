"""
`python -m fleet.jobs.acls`: say who may do what in a region's Kafka, then end. Safe to run again.

With `--from-open`, this Kafka asked for nothing before. MirrorMaker's notes on its connectors say so, and with them it would go on in
plain text, which ends it: so they are deleted, and made anew at its next start. How far it has copied is noted elsewhere, and stays.
`--mark FILE` means the same where FILE is not there, and it is made when the list is.

Only a Kafka that asks for certificates has such a list. Lines of the fleet's services that are not in `fleet/acls.py` go, and
those of others stay.
"""

import argparse
import asyncio

from pathlib import Path
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


async def ensure_acls(settings: AclSettings, *, from_open: bool = False) -> tuple[int, int]:
    """
    Make the list what it should be.

    Args:
        settings: Which list, and where.
        from_open: Whether MirrorMaker's notes on its connectors go.

    Returns:
        How many lines were added, and how many removed.

    Raises:
        KafkaError: Kafka did not answer in time, or refused.
    """
    wanted = wanted_lines(settings)
    async with AclAdmin(settings.kafka_bootstrap_servers, settings.kafka_access) as admin:
        made = await admin.make(wanted, {service for _, _, _, service, _ in wanted})
        if from_open:
            others = [region for region in settings.regions if region != settings.region]
            deleted = await admin.delete_topics([f"mm2-configs.{other}.internal" for other in others])
            log.info("notes on connectors are gone", topics=deleted)
    return made


async def wait_and_ensure(settings: AclSettings, *, from_open: bool = False) -> None:
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
                    added, removed = await ensure_acls(settings, from_open=from_open)
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
    arguments = argparse.ArgumentParser(prog="python -m fleet.jobs.acls")
    arguments.add_argument("--from-open", action="store_true", help="this Kafka asked for no certificates before")
    arguments.add_argument("--mark", type=Path, metavar="FILE", help="says that it did")
    asked = arguments.parse_args()
    from_open = asked.from_open or (asked.mark is not None and not asked.mark.exists())
    settings = AclSettings.read()
    logs.configure("acls", settings.region, settings.log_level)
    try:
        asyncio.run(wait_and_ensure(settings, from_open=from_open))
        if asked.mark is not None:
            asked.mark.touch()
    except (TimeoutError, KafkaError) as exc:
        log.error("kafka has no access list", error=str(exc))  # noqa: TRY400 - the sentence says it all
        return 1
    return 0


if __name__ == "__main__":
    run_main(main)
