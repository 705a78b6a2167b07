"""What a client may cost that is slow, silent or endless: bytes and seconds, on simulated time and a played transport."""

import asyncio
import logging
import re
import socket

from collections.abc import Callable, Iterable
from typing import Any

import looptime
import pytest
import uvicorn

from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive, Scope, Send
from uvicorn.server import ServerState

from shared.process.bounds import BOUNDS, Bounds, Cut
from shared.process.http_protocol import LINGER_S, MAX_HEADER_BYTES
from shared.process.server import (
    DROP_S,
    HEADERS_S,
    KEEP_ALIVE_S,
    LEAST_BYTES_A_S,
    PAUSE_S,
    LogProtocol,
)
from shared.wire.problem import FORMS

HEAD = b"POST / HTTP/1.1\r\nHost: x\r\n"
SIZED = HEAD + b"Content-Length: 100\r\n\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HIGH_WATER = 64 * 1024


class Wire(asyncio.Transport):
    """
    The server's end of a connection.

    Attributes:
        protocol: What serves it.
        out: What was written.
        reads: Whether the client takes what is written.
        socket: Where bytes may lie that were not read yet.
    """

    def __init__(self, protocol: LogProtocol) -> None:
        super().__init__()
        self.protocol = protocol
        self.out = bytearray()
        self.reads = True
        self.reading_paused = False
        self._unsent = 0
        self._closing = False
        self.gone = False
        self.socket: socket.socket | None = None
        protocol.connection_made(self)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        known = {"peername": ("127.0.0.1", 1), "sockname": ("127.0.0.1", 2), "socket": self.socket}
        return known.get(name, default)

    def write(self, data: Any) -> None:
        self.out += data
        if not self.reads:
            self._unsent += len(data)
            if self._unsent > HIGH_WATER:
                self.protocol.pause_writing()

    def take(self, size: int) -> None:
        """The client takes so much of what waits for it."""
        self._unsent = max(0, self._unsent - size)
        if self._unsent < HIGH_WATER // 4:
            self.protocol.resume_writing()
        if self._closing and not self._unsent:
            self._lose()

    def get_write_buffer_size(self) -> int:
        return self._unsent

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        pass

    def is_closing(self) -> bool:
        return self._closing

    def close(self) -> None:
        self._closing = True
        if not self._unsent:
            self._lose()

    def abort(self) -> None:
        self._closing = True
        self._lose()

    def pause_reading(self) -> None:
        self.reading_paused = True

    def resume_reading(self) -> None:
        self.reading_paused = False

    def _lose(self) -> None:
        if not self.gone:
            self.gone = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)


class Server:
    """
    Protocols of one server, with an application that answers with the size of the body.

    Attributes:
        bounds: What they may hold together.
        cuts: Which were ended.
        scopes: Of all requests.
        hold: Requests wait for it before they are answered.
    """

    def __init__(self, **limits: int) -> None:
        self.cuts: list[Cut] = []
        self.bounds = Bounds(on_cut=self.cuts.append, **limits)
        self.scopes: list[Scope] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.answer_size = 0
        self.form: Callable[[Scope, int, str], Any] | None = None
        self._config = uvicorn.Config(
            self._app,
            ws="none",
            access_log=False,
            log_config=None,
            lifespan="off",
            interface="asgi3",
            proxy_headers=False,
        )
        self._config.timeout_keep_alive = KEEP_ALIVE_S
        self._config.load()
        self._state = ServerState()
        self._app_state: dict[str, Any] = {BOUNDS: self.bounds}

    def connect(self) -> Wire:
        if self.form:
            self._app_state[FORMS] = self.form
        return Wire(LogProtocol(self._config, self._state, self._app_state, asyncio.get_running_loop()))

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.scopes.append(scope)
        size = 0
        more = scope["path"] != "/early"
        while more:
            message: Message = await receive()
            if message["type"] == "http.disconnect":
                return
            size += len(message["body"])
            more = message["more_body"]
        await self.hold.wait()
        body = b"%d" % size + b" " * self.answer_size
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        await send({"type": "http.response.body", "body": body})


def now() -> float:
    return asyncio.get_running_loop().time()


async def gone(wire: Wire, within_s: float = 1000) -> float:
    """Wait until the server has closed; return how long it took from now."""
    begun = now()
    while not wire.gone:
        assert now() - begun < within_s, f"still open after {within_s} s; {bytes(wire.out[:200])!r}"
        await asyncio.sleep(0.25)
    return now() - begun


def statuses(wire: Wire) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", wire.out)]


async def dribble(wire: Wire, pieces: Iterable[bytes], every_s: float = 1.0) -> None:
    for piece in pieces:
        if wire.gone:
            return
        wire.protocol.data_received(piece)
        await asyncio.sleep(every_s)


def bytewise(data: bytes) -> list[bytes]:
    return [bytes([byte]) for byte in data]


async def test_who_says_nothing_is_let_go_after_the_time_of_an_idle_connection() -> None:
    wire = Server().connect()

    assert await gone(wire) == pytest.approx(KEEP_ALIVE_S, abs=1)
    assert wire.out == b""


async def test_empty_lines_are_no_request_and_win_no_time() -> None:
    wire = Server().connect()
    dribbling = asyncio.create_task(dribble(wire, [b"\r\n"] * 1000))

    assert await gone(wire) == pytest.approx(KEEP_ALIVE_S, abs=1)
    await dribbling


@pytest.mark.parametrize(
    ("begin", "time_s", "rest"),
    [
        (b"", KEEP_ALIVE_S, SIZED + b"x" * 100),
        (HEAD, HEADERS_S, b"Content-Length: 1\r\n\r\nx"),
        (SIZED, PAUSE_S, b"x" * 100),
    ],
)
async def test_what_has_arrived_and_was_not_read_yet_is_not_late(begin: bytes, time_s: float, rest: bytes) -> None:
    """Where the process stood still meanwhile, timers ring before sockets are read."""
    wire = Server().connect()
    wire.socket, client = socket.socketpair()
    with wire.socket, client:
        if begin:
            wire.protocol.data_received(begin)
        client.send(rest)
        await asyncio.sleep(time_s + 0.01)
        assert not wire.gone
        wire.protocol.data_received(wire.socket.recv(1000))
        await asyncio.sleep(1)

    assert statuses(wire) == [200]


@pytest.mark.parametrize(("begin", "time_s"), [(b"", KEEP_ALIVE_S), (HEAD, HEADERS_S), (SIZED, PAUSE_S)])
async def test_what_is_never_read_wins_no_time(begin: bytes, time_s: float) -> None:
    wire = Server().connect()
    wire.socket, client = socket.socketpair()
    with wire.socket, client:
        if begin:
            wire.protocol.data_received(begin)
        client.send(b"x")

        assert await gone(wire) == pytest.approx(time_s, abs=LINGER_S + 1)


@pytest.mark.parametrize("begin", [b"P", b"POST / HT", b"POST / HTTP/1.1\r\nHos", HEAD, HEAD + b"X-Long: "])
@pytest.mark.parametrize("dribbles", [False, True])
@pytest.mark.parametrize("before", [0, 2])
async def test_who_does_not_end_its_headers_is_told_and_let_go(begin: bytes, dribbles: bool, before: int) -> None:  # noqa: FBT001
    server = Server()
    wire = server.connect()
    for _ in range(before):
        wire.protocol.data_received(HEAD + b"Content-Length: 0\r\n\r\n")
        await asyncio.sleep(1)
    wire.protocol.data_received(begin)
    dribbling = asyncio.create_task(dribble(wire, bytewise(b"a" * 100 if dribbles else b"")))

    assert await gone(wire) <= HEADERS_S + LINGER_S + 1
    # Two of them go on to a line that is no HTTP.
    assert statuses(wire)[:-1] == [200] * before
    assert statuses(wire)[-1] in ((400, 408) if dribbles else (408,))
    assert server.bounds.held_bytes == 0
    await dribbling


HALF = [
    SIZED,
    SIZED + b"x" * 99,
    CHUNKED,
    CHUNKED + b"5",
    CHUNKED + b"5\r\nhel",
    CHUNKED + b"5\r\nhello\r\n0\r\n",
    CHUNKED + b"5\r\nhello\r\n0\r\nX-Trailer: a",
]


@pytest.mark.parametrize("begin", HALF)
async def test_who_does_not_end_its_body_is_told_and_let_go(begin: bytes) -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(begin)

    assert await gone(wire) == pytest.approx(PAUSE_S + LINGER_S, abs=1)
    assert statuses(wire) == [408]
    assert b"connection: close" in wire.out
    assert server.scopes[0]["refused_as"] == 408
    assert server.cuts == [Cut.BODY]
    assert server.bounds.held_bytes == 0


@pytest.mark.parametrize(
    ("begin", "rest"),
    [
        (HEAD + b"Content-Length: 100000\r\n\r\n", b"x"),
        (CHUNKED, b"1\r\nx\r\n"),
        (CHUNKED + b"5;", b"a"),
        (CHUNKED + b"5\r\nhello\r\n0\r\n", b"X-Trailer: a\r\n"),
    ],
)
async def test_a_body_below_the_least_rate_is_let_go(begin: bytes, rest: bytes) -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(begin)
    dribbling = asyncio.create_task(dribble(wire, [rest] * 1000))

    assert await gone(wire) == pytest.approx(PAUSE_S + LINGER_S, abs=2)
    assert statuses(wire) == [408]
    await dribbling


async def test_a_slow_body_above_the_least_rate_is_taken_however_long_it_lasts() -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(HEAD + b"Content-Length: 4096000\r\n\r\n")

    await dribble(wire, [b"x" * (LEAST_BYTES_A_S + 384)] * 244)
    await dribble(wire, [b"x" * (4096000 - 244 * (LEAST_BYTES_A_S + 384))])

    assert statuses(wire) == [200]
    assert wire.out.endswith(b"4096000")
    assert server.cuts == []


@pytest.mark.parametrize(("pause_s", "status"), [(PAUSE_S - 1, 200), (PAUSE_S + 1, 408)])
async def test_a_body_may_pause_for_a_time(pause_s: float, status: int) -> None:
    wire = Server().connect()
    wire.protocol.data_received(HEAD + b"Content-Length: 1000001\r\n\r\n" + b"x" * 1_000_000)
    await asyncio.sleep(pause_s)
    if not wire.gone:
        wire.protocol.data_received(b"x")
    await asyncio.sleep(0.1)

    assert statuses(wire) == [status]


async def test_a_client_that_is_not_read_from_is_not_late() -> None:
    server = Server()
    wire = server.connect()
    server.hold.clear()
    # Its body is not asked for, so reading pauses until it is answered.
    wire.protocol.data_received(b"GET /early HTTP/1.1\r\nHost: x\r\n\r\n" + SIZED + b"x")
    paused = [wire.reading_paused]
    await asyncio.sleep(100)
    assert not wire.gone

    server.hold.set()
    await asyncio.sleep(1)
    paused.append(wire.reading_paused)
    wire.protocol.data_received(b"x" * 99)
    await asyncio.sleep(1)

    assert paused == [True, False]
    assert statuses(wire) == [200, 200]
    assert server.bounds.held_bytes == 0


async def test_the_request_before_it_is_answered_before_half_a_request_is_refused() -> None:
    server = Server()
    wire = server.connect()
    server.hold.clear()
    wire.protocol.data_received(HEAD + b"Content-Length: 0\r\n\r\n" + HEAD)
    await asyncio.sleep(HEADERS_S + 5)
    assert wire.out == b""

    server.hold.set()
    await gone(wire, within_s=LINGER_S + 1)

    assert statuses(wire) == [200, 408]


async def test_trailers_are_no_headers() -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(
        CHUNKED + b"2\r\n{}\r\n0\r\nX-Region: region-b\r\nAuthorization: forged\r\nExpect: 100-continue\r\n\r\n"
    )
    await asyncio.sleep(1)

    assert statuses(wire) == [200]
    assert dict(server.scopes[0]["headers"]).keys() == {b"host", b"transfer-encoding"}


@pytest.mark.parametrize("piece", [b"x-t: " + b"a" * 1000 + b"\r\n", b"a" * 1000])
@pytest.mark.parametrize("part", ["trailers", "chunk extension"])
async def test_trailers_and_extensions_without_end_are_refused(piece: bytes, part: str) -> None:
    wire = Server().connect()
    wire.protocol.data_received(CHUNKED + b"2\r\n{}\r\n" + (b"0\r\n" if part == "trailers" else b"5;"))
    sent = 0
    while not wire.out and sent < 2 * MAX_HEADER_BYTES:
        wire.protocol.data_received(piece if part == "trailers" else b"a" * 1000)
        sent += len(piece)

    assert statuses(wire) == [431]
    assert sent <= MAX_HEADER_BYTES + 2 * len(piece)
    assert await gone(wire) <= LINGER_S + 1


EARLY = b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"


async def test_what_comes_after_the_answer_is_dropped_and_the_connection_serves_on() -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(EARLY)
    await asyncio.sleep(1)
    await dribble(wire, [b"x" * 200_000] * 5, every_s=0.5)
    assert server.bounds.held_bytes == 0
    wire.protocol.data_received(SIZED + b"x" * 100)
    await asyncio.sleep(1)

    assert statuses(wire) == [200, 200]
    assert await gone(wire) == pytest.approx(KEEP_ALIVE_S, abs=2)


@pytest.mark.parametrize("rest", [b"", b"x", b"x" * 10_000])
async def test_what_comes_after_the_answer_has_an_end(rest: bytes) -> None:
    server = Server()
    wire = server.connect()
    wire.protocol.data_received(EARLY + b"x")
    await asyncio.sleep(0)
    dribbling = asyncio.create_task(dribble(wire, [rest] * 1000))

    assert await gone(wire) == pytest.approx(DROP_S, abs=1)
    assert statuses(wire) == [200]
    await dribbling


@pytest.mark.parametrize("size", [10, 100_000, 1_000_000])
@pytest.mark.parametrize("ending", [b"", b"Connection: close\r\n"])
async def test_an_answer_that_is_not_taken_is_given_up(size: int, ending: bytes) -> None:
    server = Server()
    server.answer_size = size
    wire = server.connect()
    wire.reads = False
    wire.protocol.data_received(HEAD + ending + b"Content-Length: 0\r\n\r\n")

    await gone(wire, within_s=KEEP_ALIVE_S + PAUSE_S)

    assert not wire.protocol.tasks


async def test_an_answer_that_is_taken_slowly_is_written_to_its_end() -> None:
    server = Server()
    server.answer_size = 1_000_000
    wire = server.connect()
    wire.reads = False
    wire.protocol.data_received(HEAD + b"Content-Length: 0\r\n\r\n")
    await asyncio.sleep(0.1)
    while wire.get_write_buffer_size():
        wire.take(LEAST_BYTES_A_S + 1024)
        await asyncio.sleep(1)

    assert not wire.gone
    assert server.cuts == []


async def test_when_the_bytes_are_spent_the_one_that_waits_longest_gives_way() -> None:
    server = Server(max_bytes=1_000_000)
    sized = HEAD + b"Content-Length: 1000000\r\n\r\n"
    slow = [server.connect() for _ in range(20)]
    for wire in slow:
        wire.protocol.data_received(sized + b"x" * 90_000)
        await asyncio.sleep(0.01)
        assert server.bounds.held_bytes <= 1_000_000

    honest = server.connect()
    honest.protocol.data_received(sized)
    await dribble(honest, [b"x" * 50_000] * 20, every_s=0.01)

    assert statuses(honest) == [200]
    assert [statuses(wire) for wire in slow] == [[503]] * 20
    assert all(b"retry-after: 1\r\n" in wire.out for wire in slow)
    assert set(server.cuts) == {Cut.BYTES}
    assert all(scope["refused_as"] == 503 for scope in server.scopes[:20])
    assert server.bounds.held_bytes == 0
    assert all(not cycle.body for cycle in (wire.protocol.cycle for wire in slow))


async def test_headers_and_requests_that_wait_for_their_turn_are_held_in_the_same_budget() -> None:
    server = Server(max_bytes=100_000)
    server.hold.clear()
    heads = [server.connect() for _ in range(4)]
    for wire in heads:
        wire.protocol.data_received(HEAD + b"X: " + b"a" * 30_000)
    assert [statuses(wire) for wire in heads] == [[503], [], [], []]

    piped = server.connect()
    piped.protocol.data_received(HEAD + b"Content-Length: 0\r\n\r\n" + 900 * (SIZED + b"x" * 100))
    assert server.bounds.held_bytes <= 100_000
    server.hold.set()
    await asyncio.sleep(1)

    assert statuses(piped) == [200, 503]
    assert await gone(piped) <= LINGER_S + 1


async def test_what_waited_for_its_turn_is_held_no_longer_once_it_is_served() -> None:
    server = Server()
    server.hold.clear()
    wire = server.connect()
    whole = SIZED + b"x" * 100
    for _ in range(2):
        wire.protocol.data_received(b"GET /early HTTP/1.1\r\nHost: x\r\n\r\n" + 100 * whole + SIZED)
        held = server.bounds.held_bytes
        server.hold.set()
        await asyncio.sleep(1)
        assert 100 * len(whole) < held < 101 * len(whole)
        assert server.bounds.held_bytes == 0, "less than is counted"
        server.hold.clear()
        wire.protocol.data_received(b"x" * 100)
        server.hold.set()
        await asyncio.sleep(1)
        server.hold.clear()

    assert statuses(wire) == [200] * 204
    assert server.cuts == []


async def test_a_whole_body_needs_no_room_that_an_unfinished_one_has() -> None:
    server = Server(max_bytes=100_000)
    slow = server.connect()
    slow.protocol.data_received(HEAD + b"Content-Length: 1000000\r\n\r\n" + b"x" * 90_000)

    assert server.bounds.take(60_000)
    assert statuses(slow) == [503]
    assert not server.bounds.take(60_000)
    server.bounds.give_back(60_000)
    assert server.bounds.held_bytes == 0


async def test_beyond_the_limit_of_connections_the_longest_idle_one_is_closed() -> None:
    server = Server(max_connections=10)
    busy = server.connect()
    server.hold.clear()
    busy.protocol.data_received(HEAD + b"Content-Length: 0\r\n\r\n")
    idle = []
    for _ in range(9):
        idle.append(server.connect())
        await asyncio.sleep(0.2)
    newest = [server.connect()]
    await asyncio.sleep(0.2)
    newest.append(server.connect())
    await asyncio.sleep(0.2)

    assert [wire.gone for wire in idle] == [True] * 2 + [False] * 7
    assert not busy.gone
    assert not any(wire.gone for wire in newest)
    assert server.cuts == [Cut.CONNECTIONS] * 2


async def test_beyond_the_limit_of_connections_those_with_half_a_request_give_way() -> None:
    server = Server(max_connections=10)
    for _ in range(50):
        server.connect().protocol.data_received(HEAD)
        await asyncio.sleep(0.01)
    honest = server.connect()
    honest.protocol.data_received(HEAD + b"Content-Length: 0\r\n\r\n")
    await asyncio.sleep(1)
    open_now = len(honest.protocol.connections)
    await asyncio.sleep(LINGER_S)

    assert statuses(honest) == [200] or honest.gone
    assert open_now <= 12
    assert len(honest.protocol.connections) <= 10


async def test_what_is_no_http_writes_no_line_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    wire = Server().connect()
    wire.protocol.data_received(b"\x16\x03nonsense\r\n\r\n")
    await gone(wire)

    assert statuses(wire) == [400]
    assert [record for record in caplog.records if record.name.startswith("uvicorn")] == []


REQUESTS = [
    SIZED + b"x" * 100,
    CHUNKED + b"5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nTrailer: x\r\n\r\n",
    HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    b"GET /early HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /early HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc",
]


def run(main: Callable[[], Any]) -> Any:
    def loop() -> asyncio.AbstractEventLoop:
        return looptime.new_event_loop(_enabled=True)

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main())


@given(
    st.lists(st.sampled_from(REQUESTS), min_size=1, max_size=5),
    st.lists(st.tuples(st.integers(1, 60), st.sampled_from([0.0, 0.0, 0.5])), min_size=1, max_size=40),
    st.integers(0, 30),
)
def test_however_requests_are_cut_up_each_is_answered_and_nothing_stays_held(
    requests: list[bytes], segments: list[tuple[int, float]], missing: int
) -> None:
    async def main() -> None:
        server = Server()
        wire = server.connect()
        stream = b"".join(requests)
        sent = stream[: len(stream) - missing]
        position = 0
        for size, pause_s in segments:
            if position < len(sent) and not wire.reading_paused:
                wire.protocol.data_received(sent[position : position + size])
                position += size
            await asyncio.sleep(pause_s)
        while position < len(sent):
            if not wire.reading_paused:
                wire.protocol.data_received(sent[position : position + 100])
                position += 100
            await asyncio.sleep(0)
        await asyncio.sleep(1)
        if not missing:
            assert statuses(wire) == [200] * len(requests)
        assert missing or server.bounds.held_bytes == 0
        await gone(wire, within_s=KEEP_ALIVE_S + 60)
        await asyncio.sleep(0)
        assert server.bounds.held_bytes == 0
        assert not wire.protocol.tasks

    run(main)


class Held:
    """A holder that is told to give way."""

    def __init__(self) -> None:
        self.told: list[Cut] = []

    def give_up(self, why: Cut) -> None:
        self.told.append(why)


@given(st.lists(st.tuples(st.sampled_from(["part", "end", "take", "back"]), st.integers(0, 5), st.integers(0, 60))))
def test_what_is_held_is_the_sum_and_within_its_limit(steps: list[tuple[str, int, int]]) -> None:
    bounds = Bounds(max_bytes=100)
    holders = [Held() for _ in range(6)]
    parts: dict[int, int] = {}
    taken: list[int] = []
    for step, who, size in steps:
        if step == "part":
            parts.pop(who, None)
            parts[who] = size
            bounds.unfinished(holders[who], size)
        elif step == "end":
            parts.pop(who, None)
            bounds.finished(holders[who])
        elif step == "take":
            fits = sum(taken) + size <= 100
            assert bounds.take(size) is fits
            taken += [size] if fits else []
        elif taken:
            bounds.give_back(taken.pop())
        gone: list[int] = []
        while (
            sum(parts.values()) + max(sum(taken), size + sum(taken) if step == "take" and not fits else 0) > 100
            and parts
        ):
            gone.append(next(iter(parts)))  # the one that waits longest
            del parts[gone[-1]]
        assert [number for number, holder in enumerate(holders) if holder.told] == sorted(gone)
        for holder in holders:
            holder.told.clear()
        assert bounds.held_bytes == sum(parts.values()) + sum(taken) <= 100


@pytest.mark.parametrize("begin", [SIZED + b"x" * 99, CHUNKED + b"5\r\nhel", CHUNKED + b"nonsense\r\n"])
async def test_rule_5_what_the_server_itself_refuses_has_the_form_of_the_requests_protocol(begin: bytes) -> None:
    server = Server()
    server.form = lambda scope, status, detail: (
        503,
        b"text/own",
        f"{scope['path']} {status}".encode(),
        [(b"retry-after", b"1")],
    )
    wire = server.connect()
    wire.protocol.data_received(begin)

    await gone(wire)
    head, _, body = bytes(wire.out).partition(b"\r\n\r\n")
    assert head.startswith(
        b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-type: text/own\r\nretry-after: 1"
    )
    assert body in (b"/ 408", b"/ 400")


async def test_a_head_that_cannot_be_read_has_no_protocol_and_is_a_problem() -> None:
    server = Server()
    server.form = lambda *_: (200, b"text/own", b"", [])
    wire = server.connect()
    wire.protocol.data_received(b"nonsense\r\n\r\n")

    await gone(wire)
    assert statuses(wire) == [400]
    assert b"application/problem+json" in wire.out


async def test_a_path_that_is_no_protocols_has_problems() -> None:
    server = Server()
    server.form = lambda *_: None
    wire = server.connect()
    wire.protocol.data_received(SIZED + b"x")

    await gone(wire)
    assert statuses(wire) == [408]
    assert b"application/problem+json" in wire.out
