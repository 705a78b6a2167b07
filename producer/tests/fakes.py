"""A Kafka that behaves as a test says."""

import asyncio

from producer.ports import Acknowledgement, KafkaClient, KafkaUnavailableError, RecordTooLargeError

MAX_VALUE_BYTES = 100_000


class FakeKafka:
    """
    The cluster: the records it has written, and its behaviour.

    Attributes:
        reachable: Whether it answers connects and checks.
        silent: Whether it neither answers nor refuses, so that a check hangs.
        acknowledges: Whether it writes records at once. Otherwise `release` does.
        breaks_with: Error of every send.
        written: Keys and values in order.
        traceparents: The traceparents of all sent records, in order.
        wanted: The regions that they were meant for, likewise.
        clients: All clients that ever connected.
        tries: Number of attempts to connect.
        may_connect: While not set, a connect hangs.
        swallowed_cancellations: Number of connects that were cancelled and continued.
    """

    def __init__(self) -> None:
        self.reachable = True
        self.silent = False
        self.acknowledges = True
        self.breaks_with: Exception | None = None
        self.written: list[tuple[bytes, bytes]] = []
        self.traceparents: list[bytes | None] = []
        self.wanted: list[bytes | None] = []
        self.clients: list[FakeClient] = []
        self.tries = 0
        self.swallowed_cancellations = 0
        self.may_connect = asyncio.Event()
        self.may_connect.set()

    async def connect(self) -> KafkaClient:
        self.tries += 1
        try:
            await self.may_connect.wait()
        except asyncio.CancelledError:
            # Some of aiokafka's waits swallow a cancellation, too.
            self.swallowed_cancellations += 1
        if not self.reachable:
            raise KafkaUnavailableError("connection refused")
        client = FakeClient(self)
        self.clients.append(client)
        return client

    def release(self) -> None:
        """Acknowledge all records in flight."""
        for client in self.clients:
            client.release()


class FakeClient:
    """`KafkaClient`."""

    def __init__(self, kafka: FakeKafka) -> None:
        self.kafka = kafka
        self.closed = False
        self.waiting: list[tuple[Acknowledgement, bytes, bytes]] = []

    async def send(
        self, key: bytes, value: bytes, traceparent: bytes | None = None, wanted: bytes | None = None
    ) -> Acknowledgement:
        self.kafka.wanted.append(wanted)
        self.kafka.traceparents.append(traceparent)
        if len(value) > MAX_VALUE_BYTES:
            raise RecordTooLargeError("too large")
        acknowledgement: Acknowledgement = asyncio.get_running_loop().create_future()
        self.waiting.append((acknowledgement, key, value))
        if self.kafka.breaks_with:
            self.waiting.pop()
            acknowledgement.set_exception(self.kafka.breaks_with)
        elif self.kafka.acknowledges:
            self.release()
        return acknowledgement

    async def check(self) -> None:
        if self.kafka.silent:
            await asyncio.Event().wait()
        if not self.kafka.reachable:
            raise KafkaUnavailableError("no broker answers")

    async def close(self, flush_s: float) -> None:
        if flush_s and self.kafka.acknowledges:
            self.release()
        self.closed = True
        for acknowledgement, _, _ in self.waiting:
            acknowledgement.set_exception(ConnectionError("closed"))
        self.waiting.clear()

    def release(self) -> None:
        for acknowledgement, key, value in self.waiting:
            self.kafka.written.append((key, value))
            acknowledgement.set_result(None)
        self.waiting.clear()
