"""
Syslog over TCP, and over TLS.

Syslog has no acknowledgement. What it has is backpressure: nothing more is read of a connection while what was read of it is not
durable, so a sender keeps, or drops, what it cannot send. What was read is tried until a region takes it. Only the end of the
gateway ends that: what is left then is counted as lost, and told.
"""

import asyncio
import socket
import ssl

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import structlog

from uuid_utils import uuid7

from gateway.listeners.framing import Frame, Framer
from gateway.protocols.syslog import NAME
from gateway.protocols.syslog_events import batch
from shared.event.outcome import Accepted, EventSink, Refused
from shared.event.sealed import SealedEvent
from shared.ingest.asgi import log_refusal
from shared.ingest.caller import CALLER
from shared.ingest.protocol import Counts
from shared.ingest.shipping import Ledger
from shared.ingest.turns import Turns
from shared.process.bounds import Bounds, Cut

log: Final = structlog.stdlib.get_logger(__name__)

READ_BYTES: Final = 64 * 1024
# What is made durable at a time.
AT_ONCE: Final = 1000
# When the gateway ends, what was read has so long to become durable.
DRAIN_S: Final = 2.0
HANDSHAKE_S: Final = 10.0
# Between two attempts, and while there is no room in the budget.
_PAUSE_S: Final = 0.1
# As for HTTP: less of an unfinished message is not held in the budget.
_UNCOUNTED_BYTES: Final = 4096
# A peer that is gone without a word is noticed within two minutes. Being silent is no fault: syslog may have nothing to say.
_KEEPALIVE: Final = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))


@dataclass(frozen=True, slots=True)
class SyslogDoor:
    """
    Where syslog arrives.

    Attributes:
        sockets: Bound, and not listening yet.
        tls: None for plain TCP.
        max_connections: At the same time.
    """

    sockets: Sequence[socket.socket]
    tls: ssl.SSLContext | None
    max_connections: int


class SyslogListener:
    """
    Takes the connections of one gateway.

    Args:
        door: Where.
        sink: Makes the events durable.
        ledger: Counts the messages.
        turns: Where they are read.
        bounds: The gateway's budget of bytes.
        hold_s: How long one attempt waits for room, or for a region.
        on_lost: Told how many messages were read, and not acknowledged before the gateway ended.
    """

    def __init__(
        self,
        door: SyslogDoor,
        sink: EventSink,
        ledger: Ledger,
        *,
        turns: Turns,
        bounds: Bounds,
        hold_s: float,
        on_lost: Callable[[int], None],
    ) -> None:
        self._door = door
        self.sink = sink
        self.ledger = ledger
        self.turns = turns
        self.bounds = bounds
        self.hold_s = hold_s
        self.on_lost = on_lost
        self._servers: list[asyncio.Server] = []
        self._connections: dict[_Connection, asyncio.Task[None]] = {}
        self._is_full = False

    @property
    def connections(self) -> int:
        """How many there are; one that has ended counts until its messages are durable."""
        return len(self._connections)

    async def start(self) -> None:
        """Listen."""
        tls = self._door.tls
        for one in self._door.sockets:
            server = await asyncio.start_server(
                self._serve, sock=one, ssl=tls, ssl_handshake_timeout=HANDSHAKE_S if tls else None, limit=READ_BYTES
            )
            self._servers.append(server)

    async def close(self) -> None:
        """Take no more connections and read no more; give what was read some time to become durable."""
        for server in self._servers:
            server.close()
        for connection in self._connections:
            connection.stop()
        tasks = set(self._connections.values())
        if tasks:
            _, late = await asyncio.wait(tasks, timeout=DRAIN_S)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = (writer.get_extra_info("peername") or ("",))[0]
        if len(self._connections) >= self._door.max_connections:
            # An idle one is not closed for it: its sender would lose the next message that it writes.
            self.bounds.on_cut(Cut.CONNECTIONS)
            if not self._is_full:
                log.warning("as many syslog connections as there may be", peer=peer, limit=self._door.max_connections)
            self._is_full = True
            writer.transport.abort()
            return
        self._is_full = False
        CALLER.set(peer)
        keep_alive(writer.get_extra_info("socket"))
        connection = _Connection(self, reader, peer)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        self._connections[connection] = task
        try:
            await connection.run()
        except asyncio.CancelledError:
            pass  # the gateway ends; what is lost was told
        except Exception:
            log.exception("a syslog connection failed", peer=peer)
        finally:
            del self._connections[connection]
            self.bounds.finished(connection)
            if connection.is_broken and not writer.is_closing():
                writer.transport.abort()  # so that its sender does not take it for taken
            writer.close()


class _Connection:
    """One connection, and what was read of it. See `shared.process.bounds.Holder`, too."""

    def __init__(self, listener: SyslogListener, reader: asyncio.StreamReader, peer: str) -> None:
        self._listener = listener
        self._reader = reader
        self._peer = peer
        self._framer = Framer()
        self._reading: asyncio.Future[bytes] | None = None
        self._is_stopped = False
        self._gave_way = False

    @property
    def is_broken(self) -> bool:
        """Whether its bytes cannot be told apart any more."""
        return self._framer.broken

    async def run(self) -> None:
        """Make durable what arrives, until it ends."""
        while data := await self._read():
            self._framer.feed(data)
            while frames := self._framer.some(AT_ONCE):
                await self._take(frames)
            if self._framer.broken:
                log.warning("a syslog message claims to be longer than any may be", peer=self._peer)
                break
            self._note_unfinished()
        if frames := self._framer.end():
            await self._take(frames)

    def stop(self) -> None:
        """Read no more."""
        self._is_stopped = True
        if self._reading is not None:
            self._reading.cancel()

    def give_up(self, why: Cut) -> None:
        """Read no more of it, and keep what there is of its message."""
        self._listener.bounds.on_cut(why)
        self._gave_way = True
        self.stop()

    async def _read(self) -> bytes:
        if self._is_stopped:
            return b""
        self._reading = asyncio.ensure_future(self._reader.read(READ_BYTES))
        try:
            return await self._reading
        except OSError:  # reset, or no TLS any more: what came before is there
            return b""
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            return b""
        finally:
            self._reading = None

    def _note_unfinished(self) -> None:
        if (size := self._framer.buffered) > _UNCOUNTED_BYTES:
            self._listener.bounds.unfinished(self, size)
        else:
            self._listener.bounds.finished(self)

    async def _take(self, frames: Sequence[Frame]) -> None:
        here = self._listener
        here.bounds.finished(self)
        left: Sequence[SealedEvent] | int = len(frames)
        held = 0
        try:
            now = datetime.now(UTC).astimezone()
            found = await here.turns.run(batch(frames, now=now, peer=self._peer, key=uuid7().hex))
            # What gave way to others must not push them out now.
            size = 0 if self._gave_way else sum(len(event.encoded) for event in found.events)
            while not here.bounds.take(size):  # noqa: ASYNC110 - the budget has no event for room
                await asyncio.sleep(_PAUSE_S)
            held = size
            self._count(found.counts)
            left = found.events
            while left := await self._send(left):  # noqa: ASYNC110 - each time it waits for a region itself
                await asyncio.sleep(_PAUSE_S)
        finally:
            here.bounds.give_back(held)
            if number := left if isinstance(left, int) else len(left):
                here.on_lost(number)
                log.error("syslog messages were read and not acknowledged before the gateway ended", messages=number)

    async def _send(self, events: Sequence[SealedEvent]) -> Sequence[SealedEvent]:
        """Return those that were not acknowledged and have to be sent again."""
        ledger = self._listener.ledger
        outcomes = await self._listener.sink.accept(events, None, hold_s=self._listener.hold_s)
        log_refusal(events, outcomes, None)
        accepted = sum(isinstance(outcome, Accepted) for outcome in outcomes)
        again = [
            event
            for event, outcome in zip(events, outcomes, strict=True)
            if isinstance(outcome, Refused) and outcome.retryable
        ]
        for outcome, number in (("accepted", accepted), ("refused", len(events) - accepted - len(again))):
            if number:
                ledger.records(NAME, outcome, number)
        return again

    def _count(self, counts: Counts) -> None:
        ledger = self._listener.ledger
        for what, number in counts.repaired.items():
            ledger.repaired(NAME, what, number)
        if counts.untimed:
            ledger.untimed(NAME, counts.untimed)


def keep_alive(connection: socket.socket | None) -> None:
    """Let the kernel look, now and then, whether the peer is still there."""
    if connection is None:
        return
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
