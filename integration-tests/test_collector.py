"""OpenTelemetry's collector follows a file and sends it to a gateway that is killed again and again: each line is an event, once."""

import asyncio

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Final

import pytest

from surroundings import read_all

from clients.install import installed
from shared.event.model import LogRecord
from shared.event.opened import decode_record
from shared.wire.regions import LOGS
from testbed.consumer_process import ConsumerProcess
from testbed.patience import eventually
from testbed.reaper import forget, watch_process
from testbed.server import free_port, recreate_topics

# Making the collector takes minutes, the first time.
pytestmark = [pytest.mark.services, pytest.mark.deep]

KILLS: Final = 6
# Before each kill, and after the last.
LINES: Final = 2_000
CONFIGURATION: Final = """\
extensions:
  file_storage: {{directory: {folder}/state, create_directory: true}}
receivers:
  filelog:
    include: [{folder}/lines]
    start_at: beginning
    poll_interval: 50ms
    storage: file_storage
    resource: {{service.name: shop}}
exporters:
  otlphttp:
    logs_endpoint: {url}/v1/logs
    encoding: {encoding}
    compression: {compression}
    timeout: 10s
    sending_queue: {{storage: file_storage, queue_size: 100000, num_consumers: 4}}
    retry_on_failure: {{initial_interval: 100ms, max_interval: 500ms, max_elapsed_time: 0}}
service:
  extensions: [file_storage]
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    logs: {{receivers: [filelog], exporters: [otlphttp]}}
"""


@asynccontextmanager
async def collector(folder: Path, **options: str) -> AsyncIterator[Callable[[], None]]:
    """Run the collector; what it returns fails unless the collector lives, as it must until the end of the block."""
    kit = await asyncio.to_thread(installed, "collector")
    (folder / "configuration.yaml").write_text(CONFIGURATION.format(folder=folder, **options))
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(str(kit / "collector"), "--config", str(folder / "configuration.yaml")),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    watch_process(process.pid)

    def lives() -> None:
        assert process.returncode is None, (folder / "log").read_text()[-3000:]

    try:
        yield lives
        lives()
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        forget(process.pid)


async def stored(kafka: str) -> list[LogRecord]:
    return [decode_record(record.value) for record in await read_all(kafka, LOGS)]


@pytest.mark.parametrize(("encoding", "compression"), [("proto", "gzip"), ("json", "zstd")])
async def test_each_line_of_a_file_is_an_event_once_though_the_gateway_is_killed(
    kafka: str, tmp_path: Path, encoding: str, compression: str
) -> None:
    await recreate_topics(kafka, [LOGS])
    port, written = free_port(), 0
    lines = (tmp_path / "lines").open("a")
    async with AsyncExitStack() as stack:
        stack.callback(lines.close)
        producer = ConsumerProcess(
            {"PRODUCER_REGION": "region-a", "PRODUCER_KAFKA_BOOTSTRAP_SERVERS": kafka}, "producer"
        )
        await producer.start()
        stack.push_async_callback(producer.close)
        lives = await stack.enter_async_context(
            collector(tmp_path, url=f"http://127.0.0.1:{port}", encoding=encoding, compression=compression)
        )
        # This machine may be busy: that is no reason to give the producer up.
        patient = {"GATEWAY_ATTEMPT_TIMEOUT_MS": "60000", "GATEWAY_HEALTH_TIMEOUT_MS": "60000"}
        regions = {"GATEWAY_REGIONS": f"region-a={producer.internal_url}", **patient}

        async def events() -> float:
            lives()
            try:
                return await gateway.metric("gateway_records_total", protocol="otlp", outcome="accepted")
            except OSError:
                return 0

        for life in range(KILLS + 1):
            gateway = ConsumerProcess(regions, "gateway", port=port)
            await gateway.start()
            for _ in range(LINES):
                lines.write(f"line {written}: Grüße ☃\n")
                written += 1
                if not written % 100:
                    lines.flush()
                    await asyncio.sleep(0)
            if life < KILLS:
                # In the middle of its work: some of what it got is in Kafka, and not all of that was answered.
                await eventually(events, "the gateway has taken some records", within_s=120, every_s=0.01)
                gateway.kill()
                assert await gateway.ended() < 0
            else:
                stack.push_async_callback(gateway.close)

        async def all_there() -> list[LogRecord]:
            lives()
            found = await stored(kafka)
            return found if len({event.message for event in found}) >= written else []

        found: list[LogRecord] = await eventually(all_there, "all lines are stored", within_s=180, every_s=1)
        # What was sent again arrives under the same identity.
        once = {(event.event_id, event.timestamp): event for event in found}
        said = Counter(event.message for event in once.values())
        assert said == Counter(f"line {number}: Grüße ☃" for number in range(written))
        assert {event.service_name for event in found} == {"shop"}
