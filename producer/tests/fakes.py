"""A Kafka that does what a test tells it to."""

import asyncio

from producer.ports import Acknowledgement, KafkaClient, KafkaUnavailableError, RecordTooLargeError

MAX_VALUE_BYTES = 100_000


class FakeKafka:
    """
    The cluster: what it has written, and how it behaves.

    Attributes:
        reachable: Answers connects and checks.
        silent: Neither answers nor refuses: a check hangs.
        acknowledges: Writes what it is sent at once; otherwise `release` does.
        breaks_with: What every send fails with.
        written: Keys and values in order.
        traceparents: Of everything that was sent, in order.
        clients: Every client that ever connected.
        tries: Times a connect was tried.
        may_connect: While not set, a connect hangs.
        swallowed_cancellations: Times a connect was cancelled and went on.
    """

    def __init__(self) -> None:
        self.reachable = True
        self.silent = False
        self.acknowledges = True
        self.breaks_with: Exception | None = None
        self.written: list[tuple[bytes, bytes]] = []
        self.traceparents: list[bytes | None] = []
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
            # As some of aiokafka's waits do.
            self.swallowed_cancellations += 1
        if not self.reachable:
            raise KafkaUnavailableError("connection refused")
        client = FakeClient(self)
        self.clients.append(client)
        return client

    def release(self) -> None:
        """Acknowledge everything that was sent and not answered."""
        for client in self.clients:
            client.release()


class FakeClient:
    """`KafkaClient`."""

    def __init__(self, kafka: FakeKafka) -> None:
        self.kafka = kafka
        self.closed = False
        self.waiting: list[tuple[Acknowledgement, bytes, bytes]] = []

    async def send(self, key: bytes, value: bytes, traceparent: bytes | None = None) -> Acknowledgement:
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
