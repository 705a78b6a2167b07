"""
Syslog over TCP, and over TLS.

Syslog has no acknowledgement. What it has is backpressure: nothing more is read of a connection while what was read of it is not
durable, so a sender keeps, or drops, what it cannot send. What was read is tried until a region takes it. Only the end of the
gateway ends that: what is left then is counted as lost, and told.
"""

import asyncio
import socket
import ssl

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, cast

import structlog

from gateway.listeners.connection import READ_BYTES, Connection, Means
from shared.ingest.caller import CALLER
from shared.process.bounds import Cut
from shared.process.tls import Refusing

log: Final = structlog.stdlib.get_logger(__name__)

# When the gateway ends, what was read has so long to become durable.
DRAIN_S: Final = 2.0
HANDSHAKE_S: Final = 10.0
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
        means: What they need.
    """

    def __init__(self, door: SyslogDoor, means: Means) -> None:
        self._door = door
        self._means = means
        self._servers: list[asyncio.Server] = []
        self._connections: dict[Connection, asyncio.Task[None]] = {}
        self._is_full = False
        self._is_closed = False

    @property
    def connections(self) -> int:
        """How many there are; one that has ended counts until its messages are durable."""
        return len(self._connections)

    @property
    def waiting(self) -> int:
        """How many messages were tried, and no region has taken yet."""
        return sum(connection.waiting for connection in self._connections)

    async def start(self) -> None:
        """Listen."""
        tls = self._door.tls
        if isinstance(tls, Refusing):
            tls.max_handshakes = self._door.max_connections
            tls.on_full = partial(self._means.bounds.on_cut, Cut.CONNECTIONS)
        for one in self._door.sockets:
            server = await asyncio.start_server(
                self._serve, sock=one, ssl=tls, ssl_handshake_timeout=HANDSHAKE_S if tls else None, limit=READ_BYTES
            )
            self._servers.append(server)

    async def close(self) -> None:
        """Take no more connections and read no more; give what was read some time to become durable."""
        self._is_closed = True
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
        if self._is_closed:
            writer.transport.abort()
            return
        if len(self._connections) >= self._door.max_connections:
            # An idle one is not closed for it: its sender would lose the next message that it writes.
            self._means.bounds.on_cut(Cut.CONNECTIONS)
            if not self._is_full:
                log.warning("as many syslog connections as there may be", peer=peer, limit=self._door.max_connections)
            self._is_full = True
            writer.transport.abort()
            return
        self._is_full = False
        CALLER.set(peer)
        keep_alive(writer.get_extra_info("socket"))
        connection = Connection(self._means, reader, cast("asyncio.Transport", writer.transport), peer)
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - for the type checker
        self._connections[connection] = task
        try:
            await connection.run()
        except asyncio.CancelledError:
            connection.count_left()  # the gateway ends
        except Exception:
            log.exception("a syslog connection failed", peer=peer)
            connection.count_left()
        finally:
            del self._connections[connection]
            self._means.bounds.finished(connection)
            if connection.is_broken and not writer.is_closing():
                writer.transport.abort()  # so that its sender does not take it for taken
            writer.close()


def keep_alive(connection: socket.socket | None) -> None:
    """Let the kernel look, now and then, whether the peer is still there."""
    if connection is None:
        return
    with suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            connection.setsockopt(socket.IPPROTO_TCP, option, value)
