"""The protocol that every service speaks: uvicorn's on httptools, with the bounds that it lacks."""

import select

from asyncio import BaseTransport, TimerHandle
from http import HTTPStatus
from typing import Any, Final, cast

from shared.process.bounds import BOUNDS, Bounds, Cut, Places
from shared.process.http_protocol import PlainProtocol
from shared.process.listeners import Listener, Listeners

# Longer than a client's or a balancer's pause between two requests, so that the other side closes idle connections.
KEEP_ALIVE_S: Final = 65
# From a request's first byte to the end of its headers.
HEADERS_S: Final = 10.0
# A body, and an answer, may pause so long; and it may take so long beyond what it takes at the least rate.
PAUSE_S: Final = 15.0
LEAST_BYTES_A_S: Final = 16 * 1024
# What comes when the answer is out already is read and dropped so long, so that the client goes on to its answer.
DROP_S: Final = 10.0
# A request of which less has arrived is not held in the budget: connections are bounded as well.
UNCOUNTED_BYTES: Final = 4096
ENDING: Final = "ending"
"""Where an application's state may have an `asyncio.Event`: it is set when the server is told to end, so that endless answers end."""
READ_SLOWLY: Final = "read slowly"
"""Where the state of a request is True if its answer has no end: its client takes what it can, and that is all right."""

# Who takes nothing of such an answer for so long is away.
SLOW_PAUSE_S: Final = 300.0
# Where the state of an application has the only listener of its server.
_LISTENER: Final = "listener"
_SHORTEST_S: Final = min(HEADERS_S, PAUSE_S, DROP_S)
# After a time that is over, what has arrived and was not read yet gets so much more.
_LAST_LOOK_S: Final = 0.05
_NO_HEADERS: Final = f"the headers did not arrive within {HEADERS_S:g} seconds"
_NO_BODY: Final = (
    f"the body did not arrive in time; it may pause for {PAUSE_S:g} seconds, and beyond them needs "
    f"{LEAST_BYTES_A_S // 1024} KiB a second"
)
_NO_ROOM: Final = "the service holds as many unfinished requests as it may, and others were faster; retry after a pause"


class LogProtocol(PlainProtocol):
    """
    The protocol that every service speaks, bounded in time and bytes.

    A request that comes in one piece meets none of this: only what is left unfinished at the end of a read has a deadline,
    and is held in the server's budget. A connection has one timer for its deadlines. It is not cancelled when the rest comes,
    and rings before any deadline that there may be by then.

    Args:
        args: As uvicorn gives them.
        listeners: By port; without them there is one for every port, and it is called anything.
        kwargs: As uvicorn gives them.
    """

    def __init__(self, *args: Any, listeners: Listeners | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._listeners = listeners
        # Known from its first moment on.
        self._listener: Any = None
        self._bounds: Bounds = self.app_state.setdefault(BOUNDS, Bounds())
        self._deadline: TimerHandle | None = None
        self._writing: TimerHandle | None = None
        # What is waited for: the rest of which request, of its headers or of its body.
        self._part: object = None
        self._part_in_body = False
        self._began = 0.0
        self._last_byte = 0.0
        self._looked = False
        self._holds = False
        self._piped_bytes = 0

    def connection_made(self, transport: BaseTransport) -> None:
        """Wait for the first request as for every later one."""
        super().connection_made(cast("Any", transport))
        if self._listeners is None:
            listener = self.app_state.setdefault(_LISTENER, Listener(self.app))
        else:
            listener = self._listeners[self.transport.get_extra_info("sockname")[1]]
        self._arrive_at(listener)
        self._expect_request()
        places = listener.places = listener.places or Places(self._bounds.max_connections)
        if not places.find(listener.connections, self.loop.time()):
            self._bounds.on_cut(Cut.CONNECTIONS)
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait for nothing any more."""
        super().connection_lost(exc)
        self._listener.connections.discard(self)
        self._wait_no_more()
        if self._deadline is not None:
            self._deadline.cancel()
        self.resume_writing()

    def eof_received(self) -> None:
        """Let the transport close, and not wait for ever until the client has taken its answers."""
        self._see_off()

    def data_received(self, data: bytes) -> None:
        """Parse what arrived; what is left unfinished has its time."""
        super().data_received(data)
        if self.scope is not None or self.pipeline:
            self._wait_for_more(len(data))
        elif self._part is not None:
            self._wait_no_more()
            if self._refusal is None and self.cycle.response_complete:
                self._expect_request()

    def on_response_complete(self) -> None:
        """Drop what still comes of a request that is answered, for a time; then go on with the next one."""
        super().on_response_complete()
        if self._holds and not self.pipeline:
            self._release()
        if self.scope is not None:
            self._unset_keepalive_if_required()
            if self._is_dropping:
                self._part = None
                self._wait_for_more(0)
        if self.transport.is_closing():
            self._see_off()

    def pause_writing(self) -> None:
        """Wait for the client to take what was written."""
        super().pause_writing()
        self._expect_progress()

    def resume_writing(self) -> None:
        """Write on."""
        super().resume_writing()
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None

    def shutdown(self) -> None:
        """End once the request in flight is answered; tell answers that have no end."""
        if (ending := self.app_state.get(ENDING)) is not None:
            ending.set()
        super().shutdown()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, unless the next request is there and only was not read yet."""
        if self._has_unread_bytes():
            self.timeout_keep_alive_task = self.loop.call_later(_LAST_LOOK_S, self._close)
        else:
            self._close()

    def idle_until(self) -> float | None:
        """See `shared.process.bounds.Idler`; who has begun a request comes after all who have not."""
        if self.transport.is_closing() or self._refusal is not None:
            return None
        if self.timeout_keep_alive_task is not None:
            return self.timeout_keep_alive_task.when()
        return None if self._part is None else self._due() + KEEP_ALIVE_S

    def vacate(self) -> bool:
        """See `shared.process.bounds.Idler`."""
        if self.idle_until() is None or self._has_unread_bytes():
            return False
        if self._part is not None and not self._is_dropping:
            self.give_up(Cut.CONNECTIONS)
        else:
            self._bounds.on_cut(Cut.CONNECTIONS)
            self._unset_keepalive_if_required()
            self._close()
        return True

    def give_up(self, why: Cut) -> None:
        """See `shared.process.bounds.Holder`; requests that wait for their turn are given up as well."""
        self._cut(why, HTTPStatus.SERVICE_UNAVAILABLE, _NO_ROOM, retry_after_s=1)
        self.pipeline.clear()

    def _arrive_at(self, listener: Listener) -> None:
        peers = listener.peers
        app = listener.app if peers is None else peers.app_for(self.transport.get_extra_info("peercert"))
        self.app = cast("Any", app)
        self._hosts = listener.hosts
        self._listener = listener
        listener.connections.add(self)

    def _refuse_host(self, host: bytes) -> None:
        self._bounds.on_cut(Cut.HOST)
        super()._refuse_host(host)

    @property
    def _in_body(self) -> bool:
        return self.cycle is not None and bool(self.cycle.scope is self.scope)

    @property
    def _is_dropping(self) -> bool:
        return self._in_body and bool(self.cycle.response_complete)

    def _expect_request(self) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _wait_for_more(self, arrived: int) -> None:
        if self._refusal is not None or self.transport.is_closing():
            return
        if self.pipeline:
            self._piped_bytes += arrived
            self._hold(self._piped_bytes)
        if self.scope is None or self._refusal is not None:  # everything is there, and waits for its turn; or gave way
            self._part = None
            return
        self._last_byte = now = self.loop.time()
        in_body = self._in_body
        if self._part is not self.scope or self._part_in_body is not in_body:
            self._part, self._part_in_body = self.scope, in_body
            self._began = now
            self._unset_keepalive_if_required()
            if self._deadline is None:
                self._set_deadline(now + _SHORTEST_S)
        held = self._body_bytes if in_body else self._head_bytes
        if held > UNCOUNTED_BYTES and not self.pipeline and not self._is_dropping:
            self._hold(held)

    def _wait_no_more(self) -> None:
        self._part = None
        if self._holds:
            self._release()

    def _hold(self, size: int) -> None:
        self._holds = True
        self._bounds.unfinished(self, size)

    def _release(self) -> None:
        self._holds = False
        self._piped_bytes = 0
        self._bounds.finished(self)

    def _set_deadline(self, at: float) -> None:
        self._deadline = self.loop.call_at(at, self._look)

    def _due(self) -> float:
        if self._is_dropping:
            return self._began + DROP_S
        if self._in_body:
            return PAUSE_S + min(self._began + self._body_bytes / LEAST_BYTES_A_S, self._last_byte)
        return self._began + HEADERS_S

    def _look(self) -> None:
        """See whether the client has had its time."""
        self._deadline = None
        now = self.loop.time()
        if self.transport.is_closing() or self._part is None:
            return
        if self.flow.read_paused:  # it is not the client who keeps us waiting
            self._began = self._last_byte = now
        looked, self._looked = self._looked, False
        if (due := self._due()) > now:
            self._set_deadline(min(due, now + _SHORTEST_S))
        elif not looked and self._has_unread_bytes():
            self._looked = True
            self._set_deadline(now + _LAST_LOOK_S)
        elif self._is_dropping:
            self._bounds.on_cut(Cut.BODY)
            self._close()
        elif self._in_body:
            self._cut(Cut.BODY, HTTPStatus.REQUEST_TIMEOUT, _NO_BODY)
        else:
            self._cut(Cut.HEADERS, HTTPStatus.REQUEST_TIMEOUT, _NO_HEADERS)

    def _expect_progress(self) -> None:
        is_slow = self.cycle is not None and self.cycle.scope["state"].get(READ_SLOWLY, False)
        pause_s, least = (SLOW_PAUSE_S, 1.0) if is_slow else (PAUSE_S, LEAST_BYTES_A_S * PAUSE_S)
        left = self.transport.get_write_buffer_size()
        self._writing = self.loop.call_later(pause_s, self._look_at_answer, left, least)

    def _look_at_answer(self, before: int, least: float) -> None:
        if before - self.transport.get_write_buffer_size() < least:
            self._bounds.on_cut(Cut.ANSWER)
            self.transport.abort()
        else:
            self._expect_progress()

    def _cut(self, why: Cut, status: HTTPStatus, detail: str, retry_after_s: int = 0) -> None:
        self._bounds.on_cut(why)
        self._refuse(status, detail, retry_after_s)

    def _refuse(self, status: HTTPStatus, detail: str, retry_after_s: int = 0) -> None:
        self._wait_no_more()
        super()._refuse(status, detail, retry_after_s)

    def _see_off(self) -> None:
        """Give the client as long to take what is written as it would have had otherwise."""
        left = self.transport.get_write_buffer_size()
        if left and self._linger is None:
            self._linger = self.loop.call_later(PAUSE_S + left / LEAST_BYTES_A_S, self.transport.abort)

    def _has_unread_bytes(self) -> bool:
        socket = self.transport.get_extra_info("socket")
        descriptor = -1 if socket is None else socket.fileno()
        if descriptor < 0:
            return False
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        return bool(poll.poll(0))
