"""
Keeps one working Kafka client: connects it, watches it, and replaces it when it stays broken.

A client is replaced when a send failed for good (see `producer.kafka`). It is also replaced when, for `rebuild_after_ms`,
it owed acknowledgements and brought none, or could not reach Kafka. An outage of Kafka costs one replacement, not one a
retry: a new client counts only once it has connected. Until then the connect is retried, with a backoff of up to a second.
"""

import asyncio
import math
import time

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar

import structlog

from prometheus_client import Counter

from producer.ports import Connect, KafkaClient, KafkaUnavailableError
from producer.settings import ProducerSettings
from producer.silence import Silence
from shared.process.probes import Readiness

log: Final = structlog.stdlib.get_logger(__name__)

FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 1.0
# Limit for waits without a timeout of their own, such as that for a producer id which the cluster keeps refusing.
CONNECT_TIMEOUT_S: Final = 20.0

T = TypeVar("T")


class Connection:
    """
    Holds the current client.

    Attributes:
        client: The working client. None while there is none.
    """

    def __init__(
        self,
        connect: Connect,
        settings: ProducerSettings,
        rebuilds: Counter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.client: KafkaClient | None = None
        self._silence = Silence()
        self._connect = connect
        self._check_interval_s = settings.check_interval_ms / 1000
        self._check_timeout_s = settings.check_timeout_ms / 1000
        self._send_timeout_s = settings.send_timeout_ms / 1000
        self._rebuild_after_s = settings.rebuild_after_ms / 1000
        self._rebuilds = rebuilds
        self._clock = clock
        self._job: asyncio.Task[Any] | None = None
        self._broken = asyncio.Event()
        self._broken_why = ""
        self._acknowledged_at = -math.inf
        self._unreachable_since: float | None = None
        self._unreachable_why: str | None = "not connected to Kafka yet"
        self._pause_s = FIRST_PAUSE_S

    def asked(self, client: KafkaClient) -> None:
        """Note that `client` was given an event."""
        if client is self.client:
            self._silence.asked(self._clock())

    def acknowledged(self, client: KafkaClient, *, others_owed: bool) -> None:
        """Note that `client` brought an acknowledgement, and whether it owes more."""
        if client is self.client:
            self._acknowledged_at = self._clock()
            self._silence.acknowledged(self._acknowledged_at, others_owed=others_owed)
            # Only a client that has worked is replaced at once. If one breaks at its first event, the next one comes
            # after a backoff.
            self._pause_s = FIRST_PAUSE_S

    def broke(self, client: KafkaClient, why: str) -> None:
        """Note that a send of `client` failed for good. Does nothing if the client has been replaced already."""
        if client is self.client:
            # From here on new events are refused at once instead of feeding a client that is to be closed.
            self.client = None
            self._broken_why = why
            self._broken.set()

    def readiness(self) -> Readiness:
        """Return whether events can be made durable, as of the last check."""
        reasons = []
        if self._unreachable_why is not None:
            reasons.append(f"kafka: {self._unreachable_why}")
        elif self.client is None:
            reasons.append("kafka: the client is being replaced")
        elif self._silence.duration(self._clock()) > self._send_timeout_s:
            reasons.append("kafka: answers, but does not acknowledge")
        return Readiness(reasons=reasons)

    async def run(self) -> None:
        """Connect, watch and replace until cancelled."""
        while True:
            try:
                await self._live_once()
            except Exception:  # the outermost loop: the next client may work
                log.exception("kafka client failed in an unexpected way")
                await self._discard()
                await self._pause()

    async def close(self, flush_s: float) -> None:
        """
        Close the client, after `run` was cancelled. Records that Kafka does not acknowledge in time fail.

        Args:
            flush_s: Limit in seconds for records in flight. A connect or close that has begun gets the same time before.
        """
        self._unreachable_why = "shutting down"
        if self._job:
            done, _ = await asyncio.wait({self._job}, timeout=flush_s)
            if not done:
                self._job.cancel()
            elif not self._job.cancelled():
                # Retrieve the exception, or asyncio logs it as never retrieved.
                self._job.exception()
        client, self.client = self.client, None
        if client:
            await client.close(flush_s)

    async def _live_once(self) -> None:
        client = await self._connected()
        why = await self._watch(client)
        self._rebuilds.inc()
        log.warning("replacing the kafka client", reason=why)
        self.client = None
        await self._uninterrupted(client.close(flush_s=0))
        await self._pause()

    async def _connected(self) -> KafkaClient:
        while True:
            try:
                return await self._uninterrupted(self._establish())
            except KafkaUnavailableError as exc:
                self._note_unreachable(str(exc))
            except TimeoutError:
                self._note_unreachable("connecting takes too long")
            await self._pause()

    async def _establish(self) -> KafkaClient:
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            client = await self._connect()
        self._silence.end()
        self._broken.clear()
        self.client = client
        self._note_reachable()
        return client

    async def _uninterrupted(self, work: Coroutine[Any, Any, T]) -> T:
        # In some places aiokafka swallows a cancellation, which would keep `run` alive. In others it then leaks a
        # connection. So a cancelled `run` leaves the connect that it has begun to `close`, which ends it.
        job = self._job = asyncio.create_task(work)
        return await asyncio.shield(job)

    async def _watch(self, client: KafkaClient) -> str:
        while not await self._is_broken_within(self._check_interval_s):
            begin = self._clock()
            try:
                async with asyncio.timeout(self._check_timeout_s):
                    await client.check()
            except TimeoutError:
                # On a machine that is short of CPU a check may come too late while events still go through.
                if self._acknowledged_at < begin:
                    self._note_unreachable("no broker answers")
            except KafkaUnavailableError as exc:
                self._note_unreachable(str(exc))
            else:
                self._note_reachable()
            now = self._clock()
            if self._silence.duration(now) >= self._rebuild_after_s:
                return "nothing was acknowledged for too long"
            if self._unreachable_since is not None and now - self._unreachable_since >= self._rebuild_after_s:
                return "kafka was unreachable for too long"
        return self._broken_why

    async def _is_broken_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._broken.wait()
        except TimeoutError:
            return False
        return True

    async def _discard(self) -> None:
        client, self.client = self.client, None
        if client:
            await self._uninterrupted(client.close(flush_s=0))

    async def _pause(self) -> None:
        await asyncio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, LONGEST_PAUSE_S)

    def _note_reachable(self) -> None:
        if self._unreachable_why is not None:
            log.info("kafka answers")
        self._unreachable_why = self._unreachable_since = None

    def _note_unreachable(self, why: str) -> None:
        if self._unreachable_since is None:
            self._unreachable_since = self._clock()
            log.warning("kafka does not answer", reason=why)
        self._unreachable_why = why
