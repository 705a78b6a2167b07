"""
`mirrormaker/watch.sh` ends a MirrorMaker that stands still, and no other.

The child is a script that waits, what it tells Prometheus is made up here, and the two Kafkas answer one question. Needs no
server; the same on real ones is in `test_end_to_end.py`.
"""

import asyncio
import os
import signal

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from functools import partial
from pathlib import Path
from typing import Final

import pytest

from testbed.patience import eventually, patience

WATCH: Final = Path(__file__).parent.parent / "mirrormaker" / "watch.sh"
KAFKA_QUESTION_BYTES: Final = 14
PATIENT_CHILD: Final = "trap 'echo farewell; exit 7' TERM; echo child $$; while :; do sleep 0.05; done"
STUBBORN_CHILD: Final = "trap '' TERM; echo child $$; while :; do sleep 0.05; done"
PATIENCE: Final = 4
ROUNDS: Final = 2 * PATIENCE


class Scene:
    """What a watch sees, and the watch itself."""

    def __init__(self) -> None:
        self.failed: list[str] = []
        self.copied = {"region-a.logs/0": 10, "region-a.logs/1": 10}
        self.unread = {"region-a.logs/0": 0, "region-a.logs/1": 0}
        self.answers = 0
        self.metrics_answer = True
        self.kafka_answers = {"region-a": True, "region-b": True}
        self.process: asyncio.subprocess.Process
        self.lines: list[str] = []
        self._stack = AsyncExitStack()
        self._reader: asyncio.Task[None]
        self._under_way = 0

    async def open(self) -> None:
        """Open the ports that the watch asks."""
        self._metrics_port = await self._serve(self._tell_metrics)
        self._kafka_ports = {
            region: await self._serve(partial(self._tell_versions, region)) for region in self.kafka_answers
        }

    async def add_region(self, region: str, *, answers: bool) -> None:
        """Have one region more, before the watch is started."""
        self.kafka_answers[region] = answers
        self._kafka_ports[region] = await self._serve(partial(self._tell_versions, region))

    async def watch(self, *command: str) -> None:
        """Start the watch over a command and wait until that runs."""
        addresses = {
            f"MIRROR_{region.upper().replace('-', '_')}_BOOTSTRAP_SERVERS": f"127.0.0.1:{port}"
            for region, port in self._kafka_ports.items()
        }
        # Where a question stays without an answer, each look waits that long for it.
        silent = not (self.metrics_answer and all(self.kafka_answers.values()))
        times = {
            "MIRROR_WATCH_EVERY_S": "0.1",
            "MIRROR_WATCH_PATIENCE_LOOKS": str(PATIENCE),
            "MIRROR_WATCH_YOUTH_LOOKS": "0",
            "MIRROR_WATCH_ANSWER_S": f"{patience(0.25):.2f}" if silent else "1",
            "MIRROR_WATCH_FAREWELL_S": "1",
        }
        self.process = await asyncio.create_subprocess_exec(
            WATCH,
            str(self._metrics_port),
            *command,
            env=os.environ | addresses | times,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
        self._stack.push_async_callback(self._end)
        self._reader = asyncio.create_task(self._read())
        await eventually(lambda: self.child, "the child runs")

    @property
    def child(self) -> int:
        """Pid of the child, 0 until it said so."""
        return next((int(line.split()[1]) for line in self.lines if line.startswith("child ")), 0)

    @property
    def warnings(self) -> list[str]:
        """What the watch said."""
        return [line for line in self.lines if " WARN " in line]

    async def rounds(self, number: int = ROUNDS) -> None:
        """Wait until the watch has looked that often."""
        until = self.answers + number
        await eventually(lambda: self.answers >= until, f"{number} more looks")

    async def close(self) -> None:
        """End everything."""
        await self._stack.aclose()

    async def _serve(self, tell: Callable[[asyncio.StreamReader], Awaitable[bytes]]) -> int:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._under_way += 1
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                writer.write(await tell(reader))
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self._under_way -= 1

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        # The child that asks may outlive the watch by a moment.
        self._stack.push_async_callback(eventually, lambda: not self._under_way, "all is answered")
        self._stack.callback(server.close)
        return int(server.sockets[0].getsockname()[1])

    async def _tell_metrics(self, reader: asyncio.StreamReader) -> bytes:
        await reader.readline()
        self.answers += 1
        if self.metrics_answer:
            return ("HTTP/1.0 200 OK\r\n\r\n" + self._metrics()).encode()
        return await reader.read()

    def _metrics(self) -> str:
        lines = ["# HELP mirrormaker_task_status 1 for the state that a connector's task is in."]
        for what in ("MirrorSourceConnector", "MirrorHeartbeatConnector", "MirrorCheckpointConnector"):
            state = "failed" if what in self.failed else "running"
            lines.append(f'mirrormaker_connector_status{{connector="{what}",status="{state}"}} 1.0')
            for task in (0, 1):
                state = "failed" if f"{what}/{task}" in self.failed else "running"
                lines.append(f'mirrormaker_task_status{{connector="{what}",status="{state}",task="{task}"}} 1.0')
        for name, values in (("copied_records_total", self.copied), ("unread_records", self.unread)):
            for place, value in values.items():
                topic, partition = place.split("/")
                labels = f'partition="{partition}",source="region-a",target="region-b",topic="{topic}"'
                lines.append(f"mirrormaker_{name}{{{labels}}} {value:.1f}")
        return "\n".join(lines) + "\n"

    async def _tell_versions(self, region: str, reader: asyncio.StreamReader) -> bytes:
        question = await reader.readexactly(KAFKA_QUESTION_BYTES)
        if self.kafka_answers[region]:
            return b"\0\0\0\x0a" + question[8:12] + bytes(6)
        return await reader.read()

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    async def _end(self) -> None:
        if self.process.returncode is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        await self.process.wait()
        await self._reader


@pytest.fixture
async def scene() -> AsyncIterator[Scene]:
    scene = Scene()
    await scene.open()
    try:
        yield scene
    finally:
        await scene.close()


def alive(pid: int) -> bool:
    """Tell whether a process runs; one that waits to be reaped does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def watched(scene: Scene, child: str = PATIENT_CHILD) -> None:
    await scene.watch("bash", "-c", child, "mirror", "--clusters", "region-b")


@pytest.mark.parametrize(
    "failed", [["MirrorSourceConnector/1"], ["MirrorSourceConnector"], ["MirrorHeartbeatConnector/0"]]
)
async def test_what_failed_is_ended_and_one_line_says_why(scene: Scene, failed: Sequence[str]) -> None:
    await watched(scene)
    await scene.rounds(2)
    assert alive(scene.child)
    scene.failed += failed

    assert await asyncio.wait_for(scene.process.wait(), 20) == 7
    assert "farewell" in scene.lines
    [line] = scene.warnings
    assert line.endswith(f"MirrorMaker is ended, to be started again: {failed[0]} failed")


async def test_what_neither_copies_nor_beats_may_fail(scene: Scene) -> None:
    scene.failed.append("MirrorCheckpointConnector/0")
    await watched(scene)
    await scene.rounds()

    assert alive(scene.child)


async def test_a_failure_that_is_gone_at_the_next_look_is_none(scene: Scene) -> None:
    await watched(scene)
    for _ in range(3):
        scene.failed = ["MirrorSourceConnector/0"]
        await scene.rounds(1)
        scene.failed = []
        await scene.rounds(1)

    assert alive(scene.child)


async def test_one_partition_that_stands_still_while_others_move_ends_it(scene: Scene) -> None:
    await watched(scene)
    scene.unread["region-a.logs/1"] = 5

    async def moved_on() -> bool:
        scene.copied["region-a.logs/0"] += 1
        return scene.process.returncode is not None

    await eventually(moved_on, "the watch ends it")
    [line] = scene.warnings
    assert line.endswith("region-a.logs/1 has unread records and copied none in 4 looks, 0.1 s apart")


async def test_a_backlog_that_is_being_copied_is_no_reason(scene: Scene) -> None:
    scene.unread = dict.fromkeys(scene.unread, 1000)
    await watched(scene)
    for _ in range(ROUNDS):
        scene.copied = {place: count + 1 for place, count in scene.copied.items()}
        await scene.rounds(1)

    assert alive(scene.child)


async def test_with_nothing_to_copy_nothing_needs_to_move(scene: Scene) -> None:
    await watched(scene)
    await scene.rounds(ROUNDS)

    assert alive(scene.child)


@pytest.mark.parametrize("region", ["region-a", "region-b"])
@pytest.mark.parametrize("trouble", ["failed", "stuck"])
async def test_while_a_kafka_does_not_answer_nothing_is_judged_and_afterwards_it_is(
    scene: Scene, region: str, trouble: str
) -> None:
    scene.kafka_answers[region] = False
    scene.failed += ["MirrorSourceConnector/0"] if trouble == "failed" else []
    scene.unread["region-a.logs/1"] = 5 if trouble == "stuck" else 0
    await watched(scene)
    # A question without an answer takes its time.
    await eventually(lambda: scene.answers >= 4, "looks", within_s=60)
    assert alive(scene.child)
    assert not scene.warnings

    scene.kafka_answers[region] = True
    assert await asyncio.wait_for(scene.process.wait(), 30) == 7


@pytest.mark.parametrize("seen", [True, False], ids=["failed later", "failed at its start"])
async def test_a_third_region_that_is_away_does_not_keep_a_failed_task_of_two_others(
    scene: Scene, *, seen: bool
) -> None:
    await scene.add_region("region-c", answers=False)
    if not seen:
        scene.unread.clear()
    await watched(scene)
    await eventually(lambda: scene.answers >= 2, "looks", within_s=60)
    # With the task its consumer is gone, and with that its count of unread records.
    scene.failed.append("MirrorSourceConnector/1")
    scene.unread.pop("region-a.logs/1", None)

    assert await asyncio.wait_for(scene.process.wait(), 60) == 7
    [line] = scene.warnings
    assert line.endswith("MirrorSourceConnector/1 failed")


async def test_what_failed_towards_a_region_that_is_away_does_not_end_what_copies(scene: Scene) -> None:
    """All partitions of the other direction are read, so it is not that one."""
    await scene.add_region("region-c", answers=False)
    scene.failed.append("MirrorSourceConnector/0")
    await watched(scene)
    # A question without an answer takes its time.
    await eventually(lambda: scene.answers >= 4, "looks", within_s=60)
    assert alive(scene.child)

    scene.kafka_answers["region-c"] = True
    assert await asyncio.wait_for(scene.process.wait(), 30) == 7


async def test_a_child_that_does_not_answer_is_not_judged(scene: Scene) -> None:
    scene.failed.append("MirrorSourceConnector/0")
    scene.metrics_answer = False
    await watched(scene)
    await eventually(lambda: scene.answers >= 3, "looks", within_s=60)

    assert alive(scene.child)


async def test_time_in_which_all_of_it_was_suspended_does_not_count(scene: Scene) -> None:
    await watched(scene)
    scene.unread["region-a.logs/1"] = 5
    await scene.rounds(2)
    os.killpg(scene.process.pid, signal.SIGSTOP)
    # More than its patience.
    await asyncio.sleep(1)
    scene.unread["region-a.logs/1"] = 0
    os.killpg(scene.process.pid, signal.SIGCONT)
    await scene.rounds()

    assert alive(scene.child)


async def test_a_child_that_does_not_heed_its_end_is_killed(scene: Scene) -> None:
    scene.failed.append("MirrorSourceConnector/0")
    await watched(scene, STUBBORN_CHILD)

    assert await asyncio.wait_for(scene.process.wait(), 20) == 128 + signal.SIGKILL
    assert not alive(scene.child)


async def test_sigterm_goes_through_and_the_childs_status_comes_back(scene: Scene) -> None:
    await watched(scene)
    scene.process.terminate()

    assert await asyncio.wait_for(scene.process.wait(), 10) == 7
    assert "farewell" in scene.lines


async def test_a_child_that_ends_by_itself_ends_the_watch_with_its_status(scene: Scene) -> None:
    await watched(scene, "echo child $$; exit 3")

    assert await asyncio.wait_for(scene.process.wait(), 10) == 3


async def test_who_kills_the_watch_kills_the_child(scene: Scene) -> None:
    await scene.watch("setpriv", "--pdeathsig", "KILL", "bash", "-c", PATIENT_CHILD)
    scene.process.kill()

    await eventually(lambda: not alive(scene.child), "the child is gone")
