"""
The catalogue: each fault as it happens in operation, what the fleet must do then, and how the fault is taken back.

A fault is a coroutine that does its harm, holds it for some seconds and takes it back, also after an error. It does not
judge the cost. The checker compares what clients sent with what the fleet has. The rotation measures how long the fleet
takes to recover.
"""

import asyncio
import math
import os
import sys

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

import asyncpg
import httpx

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.structs import TopicPartition
from redis.asyncio import Redis

from chaos.checker import Gone, Place
from chaos.fleet import REGIONS, Addresses, as_user, letter, pull
from shared.wire.regions import LOGS
from testbed.access import ROOT, kafka_settings, to_kafka

GROUP: Final = "log-consumer"


async def _send_nothing(_region: str, _event_bytes: int) -> int:
    return 0


@dataclass
class Scene:
    """
    The surroundings of a fault: its inputs, and what it notes for the checker and the report.

    Attributes:
        at: The addresses of the fleet.
        http: A client.
        random: Draws what the fault leaves open.
        region: The region that it hits. `other` is the one that it leaves alone.
        scratch: A folder for its files.
        send_from_the_future: Sends an event that is a number of seconds ahead, until it is acknowledged.
        remarks: Its observations, for the table.
        service: The run's name, as `serviceName` of its events.
        send_large: Sends a few events of a number of bytes each to the region, until they are acknowledged.
        gone: Records that it removed before the region's consumer had stored them.
        unreadable: Partitions and offsets of unreadable records that it wrote.
        impassable: Those of all these records that the observer's own client cannot read either.
        strange: Findings that only the fault could make.
        set_back_us: When the database lost committed rows, by its own clock. Infinite until the restore has ended.
    """

    at: Addresses
    http: httpx.AsyncClient
    random: Random
    region: str
    scratch: Path
    send_from_the_future: Callable[[str, int], Awaitable[None]]
    remarks: list[str] = field(default_factory=list)
    service: str = "chaos"
    send_large: Callable[[str, int], Awaitable[int]] = _send_nothing
    gone: list[Gone] = field(default_factory=list)
    unreadable: list[tuple[Place, int]] = field(default_factory=list)
    impassable: list[tuple[Place, int]] = field(default_factory=list)
    strange: list[str] = field(default_factory=list)
    set_back_us: float | None = None

    @property
    def other(self) -> str:
        """The region that is left alone."""
        return next(region for region in REGIONS if region != self.region)

    def part(self, kind: str) -> str:
        """Return the name of the region's part of that kind. A mirror belongs to the region that it writes to."""
        return f"{'mirror-to' if kind == 'mirror' else kind}-{letter(self.region)}"

    def link(self, source: str | None = None) -> str:
        """Return the name of the direction of replication away from `source`, by default from the region that is hit."""
        source = source or self.region
        return f"{letter(source)}-to-{letter(next(region for region in REGIONS if region != source))}"

    async def hold(self, seconds: float) -> None:
        """Let the harm last."""
        await asyncio.sleep(seconds)

    async def again(self, times: int, pause_s: float, action: Callable[[], Awaitable[Any]]) -> None:
        """Do the same harm several times."""
        for _ in range(times):
            await action()
            await self.hold(pause_s)

    @asynccontextmanager
    async def redis(self) -> AsyncIterator[Redis]:
        """Lend a client of the fleet's Redis that may do everything."""
        password = await _secret("redis_admin")
        async with Redis.from_url(
            self.at.redis, username="admin", password=password, socket_timeout=5, decode_responses=True
        ) as client:
            yield client


Inject = Callable[[Scene], Awaitable[None]]
MODES: Final = ("native", "compose")


@dataclass(frozen=True, slots=True)
class Fault:
    """
    One line of the catalogue.

    Attributes:
        name: Short and unique.
        what: What it does.
        expected: What the fleet has to do then.
        inject: Injects it and takes it back.
        place: Its position in a rotation: first, anywhere, last.
        modes: The modes of the fleet that have a lever for it.
    """

    name: str
    what: str
    expected: str
    inject: Inject
    place: int = 0
    modes: Collection[str] = MODES


CATALOGUE: Final[dict[str, Fault]] = {}


def fault(
    name: str, what: str, expected: str, *, place: int = 0, modes: Collection[str] = MODES
) -> Callable[[Inject], Inject]:
    """Enter a coroutine into the catalogue."""

    def enter(inject: Inject) -> Inject:
        CATALOGUE[name] = Fault(name, what, expected, inject, place, modes)
        return inject

    return enter


@asynccontextmanager
async def pulled(*lever: str, back: Sequence[str]) -> AsyncIterator[None]:
    """Pull a lever inside the block. It is taken back also if it failed, because it may have worked in part."""
    try:
        await pull(*lever)
        yield
    finally:
        await pull(*back)


# -- parts that die, stop and fall silent

_EXPECTED: Final = {
    "gateway": "clients retry under the same identity; the gateway had acknowledged nothing that it held",
    "producer": "the gateway serves from the other region and says so",
    "consumer": "its partitions are read again from what is durable; the other region's consumer goes on",
    "kafka": "the gateway serves from the other region; the mirror catches up afterwards",
    "mirror": "one direction stands still, is copied from its last noted position and partly twice",
    "postgres": "consumers pause and keep their place; events wait in Kafka",
    "redis": "PostgreSQL decides alone; Redis comes back empty",
}


def _single(kind: str) -> bool:
    return kind in {"gateway", "postgres", "redis"}


def _enter_kill(kind: str) -> None:
    @fault(f"kill {kind}", "SIGKILL", _EXPECTED[kind])
    async def kill(scene: Scene) -> None:
        await pull("kill", kind if _single(kind) else scene.part(kind))


def _enter_restart(kind: str) -> None:
    @fault(f"restart {kind}", "SIGTERM, and started again", "drains, hands over, goes on")
    async def restart(scene: Scene) -> None:
        await pull("restart", kind if _single(kind) else scene.part(kind))


def _enter_silence(kind: str, seconds: float, expected: str) -> None:
    @fault(f"silence {kind}", f"SIGSTOP for {seconds:g} s: connections stay open, without answers", expected)
    async def silence(scene: Scene) -> None:
        part = kind if _single(kind) else scene.part(kind)
        async with pulled("suspend", part, back=("resume", part)):
            await scene.hold(seconds)


for _kind in _EXPECTED:
    _enter_kill(_kind)
for _kind in ("gateway", "producer", "consumer", "kafka"):
    _enter_restart(_kind)
_enter_silence("producer", 8, "the gateway's attempt times out, and it serves from the other region")
_enter_silence("consumer", 14, "the group gives its partitions away; the zombie's next transaction is fenced")
_enter_silence("kafka", 10, "accepts connections and says nothing: deadlines, not resets, lead to the other region")
_enter_silence("mirror", 8, "one direction stands still and catches up")
_enter_silence("postgres", 8, "consumers wait; the transaction in flight times out or is answered late")
_enter_silence("redis", 6, "calls time out; PostgreSQL decides alone")


@fault("lose a region", "producer, consumer and Kafka stopped together, 12 s", "the other region serves all clients")
async def _lose_region(scene: Scene) -> None:
    parts = [scene.part("producer"), scene.part("consumer"), scene.part("kafka")]
    async with AsyncExitStack() as stopped:
        for part in parts:
            await stopped.enter_async_context(pulled("stop", part, back=("start", part)))
        await scene.hold(12)


# -- the network between the regions


@fault("cut one direction", "the link's packets are dropped for 10 s", "both regions acknowledge; one is told later")
async def _cut_one(scene: Scene) -> None:
    await _cut(scene, [scene.link()], 10)


@fault(
    "split brain", "both directions cut for 12 s", "both regions acknowledge and store; duplicates are known after it"
)
async def _split(scene: Scene) -> None:
    await _cut(scene, [scene.link(), scene.link(scene.other)], 12)


@fault("flapping link", "cut and healed four times in 12 s", "as a cut")
async def _flap(scene: Scene) -> None:
    async def once() -> None:
        await _cut(scene, [scene.link()], 1.5)

    await scene.again(4, 1.5, once)


async def _cut(scene: Scene, links: Sequence[str], seconds: float) -> None:
    async with AsyncExitStack() as severed:
        for link in links:
            await severed.enter_async_context(pulled("cut", link, back=("heal", link)))
        await scene.hold(seconds)


@fault(
    "retention overtakes the mirror",
    "during a cut, the source's records are deleted up to what its own consumer has committed",
    "the mirror skips them; they are stored already, by their own region",
)
async def _retention(scene: Scene) -> None:
    admin = AIOKafkaAdminClient(**to_kafka(scene.at.kafka[scene.region]))
    async with pulled("cut", scene.link(), back=("heal", scene.link())):
        try:
            await scene.hold(6)
            await admin.start()
            committed = await admin.list_consumer_group_offsets(GROUP)
            done = {tp: offset for tp, offset in offsets_of(committed).items() if tp.topic == LOGS}
            await admin.delete_records({tp: RecordsToDelete(offset) for tp, offset in done.items()})
        finally:
            await admin.close()


# -- disks


def _enter_full_disk(kind: str, expected: str) -> None:
    @fault(f"full disk of {kind}", "not a byte left for 8 s", expected)
    async def fill(scene: Scene) -> None:
        part = kind if _single(kind) else scene.part(kind)
        async with pulled("fill", part, back=("unfill", part)):
            await scene.hold(8)


_enter_full_disk("postgres", "transactions fail as a whole, the server may stop; all of it is tried again")
_enter_full_disk("kafka", "the broker stops rather than lie; the other region serves")


# -- Redis, which may lose everything


@fault("flush redis", "FLUSHALL ten times in 5 s", "PostgreSQL recognises what Redis has forgotten")
async def _flush(scene: Scene) -> None:
    async with scene.redis() as client:
        await scene.again(10, 0.5, client.flushall)


@fault("redis out of memory", "maxmemory 1 MB without eviction for 6 s", "not a write succeeds; degraded, nothing lost")
async def _oom(scene: Scene) -> None:
    async with scene.redis() as client:
        limits = {"maxmemory": "1mb", "maxmemory-policy": "noeviction"}
        before = {name: (await client.config_get(name))[name] or "" for name in limits}
        try:
            for name, value in limits.items():
                await client.config_set(name, value)
            await scene.hold(6)
        finally:
            for name, value in before.items():
                await client.config_set(name, value)


@fault(
    "redis read-only",
    "made the replica of a server that does not exist, for 6 s",
    "not a write succeeds; degraded, nothing lost",
)
async def _read_only(scene: Scene) -> None:
    async with scene.redis() as client:
        await client.replicaof("127.0.0.1", "1")
        try:
            await scene.hold(6)
        finally:
            await client.replicaof("NO", "ONE")


# -- PostgreSQL


@fault("end all sessions", "pg_terminate_backend on every consumer, eight times in 6 s", "the same batch, once more")
async def _terminate(scene: Scene) -> None:
    ended = 0

    async def end() -> None:
        nonlocal ended
        ended += int(
            await pull(
                *("psql", "--no-psqlrc", "--tuples-only", "--no-align", "--command"),
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name LIKE 'log-consumer%'",
            )
            or 0
        )

    await scene.again(8, 0.75, end)
    scene.remarks.append(f"{ended} sessions ended")


@fault(
    "restore an older database",
    "backup, 6 s of writing, and the database set back to the backup under way",
    "the consumers notice and replay what is missing from Kafka",
    place=-1,
)
async def _restore(scene: Scene) -> None:
    await _set_back(scene)


@fault(
    "restore behind a consumer's back",
    "as before, and a region's consumer suspended meanwhile, and for 6 s more",
    "the other one must not believe what is remembered of rows that are gone",
    place=-1,
)
async def _restore_unnoticed(scene: Scene) -> None:
    part = scene.part("consumer")
    await _set_back(scene, pulled("suspend", part, back=("resume", part)), 6)


async def _set_back(
    scene: Scene, meanwhile: AbstractAsyncContextManager[None] | None = None, hold_s: float = 0
) -> None:
    backup = str(scene.scratch / "backup")
    await pull("backup", backup)
    connection = await asyncpg.connect(scene.at.postgres)
    try:
        await scene.hold(6)
        before = await connection.fetchval("SELECT count(*) FROM logs")
        async with meanwhile or nullcontext():
            scene.set_back_us = math.inf
            await pull("restore", backup)
            scene.set_back_us = await connection.fetchval(
                "SELECT extract(epoch FROM clock_timestamp())::float8 * 1000000"
            )
            after = await connection.fetchval("SELECT count(*) FROM logs")
            await scene.hold(hold_s)
        scene.remarks.append(f"{max(0, before - after)} rows taken away")
    finally:
        await connection.close()


# -- the connections between a service and its stores: Toxiproxy


class Toxic:
    """
    A toxic on one proxy, in place inside the block.

    Args:
        scene: The scene.
        proxy: The proxy's name.
        kind: The toxic's type, by Toxiproxy's name.
        attributes: The toxic's attributes, by Toxiproxy's names.
    """

    def __init__(self, scene: Scene, proxy: str, kind: str, **attributes: int) -> None:
        self._http = scene.http
        self._toxics = f"{scene.at.toxiproxy}/proxies/{proxy}/toxics"
        self._body = {"name": kind, "type": kind, "stream": "downstream", "attributes": attributes}

    async def __aenter__(self) -> None:
        (await self._http.post(self._toxics, json=self._body)).raise_for_status()

    async def __aexit__(self, *_: object) -> None:
        (await self._http.delete(f"{self._toxics}/{self._body['name']}")).raise_for_status()


@fault(
    "lose the answer of COMMIT",
    "twenty times PostgreSQL's answers to the region's consumer vanish, then its connection ends",
    "the batch is sent again; what was committed is recognised",
)
async def _lost_commits(scene: Scene) -> None:
    proxy = f"postgres-of-{scene.part('consumer')}"
    before = await _resent(scene)
    for _ in range(20):
        async with Toxic(scene, proxy, "timeout", timeout=0):
            await scene.hold(0.15)
        await scene.hold(0.2 + 0.2 * scene.random.random())
    scene.remarks.append(f"{await _resent(scene) - before:.0f} duplicates recognised by PostgreSQL meanwhile")


async def _resent(scene: Scene) -> float:
    text = (await scene.http.get(f"{scene.at.services[scene.part('consumer')]}/metrics")).text
    name = f'dedup_hits_total{{layer="postgres",region="{scene.region}"}} '
    return next((float(line.removeprefix(name)) for line in text.splitlines() if line.startswith(name)), 0.0)


@fault(
    "lose the answer of a produce",
    "three times for 5 s Kafka's answers to the region's producer vanish",
    "503 or failover although it is written: one row all the same",
)
async def _lost_produces(scene: Scene) -> None:
    async def lose() -> None:
        async with Toxic(scene, f"kafka-of-{scene.part('producer')}", "timeout", timeout=0):
            await scene.hold(5)

    await scene.again(3, 1, lose)


@fault("slow stores", "200 ms on every answer of PostgreSQL and Kafka for 8 s", "slower, nothing else")
async def _slow(scene: Scene) -> None:
    async with (
        Toxic(scene, f"postgres-of-{scene.part('consumer')}", "latency", latency=200, jitter=50),
        Toxic(scene, f"kafka-of-{scene.part('producer')}", "latency", latency=200, jitter=50),
    ):
        await scene.hold(8)


# -- the consumer group


@fault(
    "rebalance storm",
    "a second consumer joins, and leaves or dies, four times",
    "each hand-over drains; what was not stored is read again",
)
async def _storm(scene: Scene) -> None:
    passwords = {
        "CONSUMER_POSTGRES_PASSWORD": await _secret("logs_consumer"),
        "CONSUMER_REDIS_PASSWORD": await _secret("redis_consumer"),
    }
    for turn in range(4):
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "consumer",
            cwd=ROOT,
            env=_second_consumer(scene, turn) | passwords,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            await scene.hold(3.5)
        finally:
            # Two of four leave the group in an orderly way. One that dies leaves its partitions without an owner until
            # its session times out.
            if turn % 2:
                process.kill()
            else:
                process.terminate()
            await process.wait()


async def _secret(name: str) -> str:
    """Return a password that the fleet made for itself."""
    return (await pull("secret", name)).strip()


def _second_consumer(scene: Scene, turn: int) -> dict[str, str]:
    return {
        "PATH": os.environ.get("PATH", ""),
        "CONSUMER_PORT": os.environ.get("CHAOS_CONSUMER_PORT", "8099"),
        "CONSUMER_REGION": scene.region,
        "CONSUMER_REGIONS": ",".join(REGIONS),
        "CONSUMER_INSTANCE": f"storm-{turn}",
        "CONSUMER_KAFKA_BOOTSTRAP_SERVERS": scene.at.kafka[scene.region],
        "CONSUMER_POSTGRES_DSN": as_user("logs_consumer", scene.at.postgres),
        "CONSUMER_REDIS_URL": as_user("consumer", scene.at.redis),
    } | kafka_settings("CONSUMER", scene.part("consumer"))


# -- clocks


@fault(
    "events from the future",
    "two hours and ten days ahead",
    "stored at once as clock_skew; no watermark follows them",
)
async def _future(scene: Scene) -> None:
    for ahead_s in (7_200, 864_000):
        await scene.send_from_the_future(scene.region, ahead_s)


def _enter_clock_step(kind: str, seconds: int, expected: str, place: int = 0, modes: Collection[str] = MODES) -> None:
    @fault(
        f"clock of {kind} {seconds:+d} s",
        "its wall clock steps, and back after 6 s",
        expected,
        place=place,
        modes=modes,
    )
    async def step(scene: Scene) -> None:
        part = kind if _single(kind) else scene.part(kind)
        async with pulled("clock", part, str(seconds), back=("clock", part, "0")):
            await scene.hold(6)


_enter_clock_step("consumer", 3600, "its watermarks follow no clock that steps")
_enter_clock_step(
    "producer", -3600, "its clock matters to no component: a record's time is the broker's, an event's its own"
)
# The brokers' image has a C library with which libfaketime has not been tested.
for _seconds in (-7200, 7200):
    _enter_clock_step(
        "kafka",
        _seconds,
        "the records' time is wrong, the events' is not; what it copies is accepted",
        modes=("native",),
    )
_enter_clock_step("gateway", -3600, "outvoted by the clocks behind it: nothing is late but what it dated", place=1)
_enter_clock_step(
    "gateway",
    3600,
    "receipts from the future are believed for a minute at most, events that it dated are stored at once as clock_skew",
    place=1,
)


def offsets_of(committed: dict[TopicPartition, Any]) -> dict[TopicPartition, int]:
    """Return the committed offsets of an admin client's answer about a group."""
    return {tp: place.offset for tp, place in committed.items() if place.offset >= 0}
