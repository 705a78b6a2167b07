"""Bodies are read within their limits, whatever the client claims or sends."""

import asyncio
import contextlib
import gzip
import tracemalloc
import zlib

from collections.abc import Iterable
from itertools import chain

import pytest

from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from shared import body as body_module
from shared.body import gunzip, media_type, read_body
from shared.problem import (
    BadRequestError,
    PayloadTooLargeError,
    RequestTimeoutError,
    UnsupportedMediaTypeError,
)

LIMIT = 1000


def request(chunks: Iterable[bytes] = (), **headers: str) -> Request:
    """A request whose body arrives in `chunks`; asking for more than was needed is seen in `request.state.read`."""
    messages = chain(chunks, [b""])
    scope = {
        "type": "http",
        "headers": [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()],
        "state": {"read": 0},
    }

    async def receive() -> Message:
        chunk = next(messages)
        scope["state"]["read"] += len(chunk)  # type: ignore[index]
        return {"type": "http.request", "body": chunk, "more_body": chunk != b""}

    return Request(scope, receive)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10))
async def test_a_body_is_the_sum_of_its_chunks(chunks: list[bytes]) -> None:
    assert await read_body(request(chunks), LIMIT) == b"".join(chunks)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.integers(1, 40))
async def test_gzip_of_any_number_of_members_in_any_chunks_is_undone(members: list[bytes], chunk: int) -> None:
    data = b"".join(gzip.compress(member) for member in members)
    pieces = [data[i : i + chunk] for i in range(0, len(data), chunk)]

    assert await read_body(request(pieces, content_encoding="GZip"), LIMIT) == b"".join(members)


async def test_the_limit_is_inclusive() -> None:
    exact = b"x" * LIMIT

    assert await read_body(request([exact]), LIMIT) == exact
    # Compressible or not, the limit holds on both sides of the decompressor.
    assert gunzip(gzip.compress(exact), LIMIT) == exact
    with pytest.raises(PayloadTooLargeError):
        await read_body(request([exact, b"x"]), LIMIT)
    with pytest.raises(PayloadTooLargeError):
        gunzip(gzip.compress(exact + b"x"), LIMIT)


async def test_chunks_without_end_are_read_to_the_limit_only() -> None:
    endless = request(b"x" * 100 for _ in range(10**9))

    with pytest.raises(PayloadTooLargeError):
        await read_body(endless, LIMIT)

    assert endless.state.read <= LIMIT + 100


async def test_a_body_declared_too_large_is_not_read_at_all() -> None:
    declared = request([b"x"], content_length=str(100 * 1024 * 1024))

    with pytest.raises(PayloadTooLargeError):
        await read_body(declared, LIMIT)

    assert declared.state.read == 0


@pytest.mark.parametrize("length", ["5", "0", "", "x", "-1", "²", "9" * 5000])
async def test_a_length_that_lies_or_says_nothing_does_not_matter(length: str) -> None:
    """What arrives is counted; the server below refuses what HTTP forbids."""
    assert await read_body(request([b"x" * 10], content_length=length), LIMIT) == b"x" * 10


def test_a_bomb_is_defused_before_it_unfolds() -> None:
    bomb = gzip.compress(b"\0" * (128 * 1024 * 1024))
    tracemalloc.start()

    with pytest.raises(PayloadTooLargeError):
        gunzip(bomb, 8 * 1024 * 1024)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * 1024 * 1024


def test_a_bomb_in_the_second_member_is_defused_too() -> None:
    with pytest.raises(PayloadTooLargeError):
        gunzip(gzip.compress(b"x") + gzip.compress(b"\0" * 10_000_000), LIMIT)


def test_members_without_content_are_not_taken_without_end() -> None:
    """8 MiB of empty members are 400,000 of them: each costs a decompressor, together they would block the service."""
    with pytest.raises(BadRequestError, match="more than 10000 members"):
        gunzip(gzip.compress(b"") * 400_000, LIMIT)


@pytest.mark.parametrize("keep", [0, 1, 5, 10, 15, -8, -1])
def test_a_cut_off_member_is_refused(keep: int) -> None:
    with pytest.raises(BadRequestError, match="cut off"):
        gunzip(gzip.compress(b"some text that is compressed", mtime=0)[:keep], LIMIT)


@pytest.mark.parametrize(
    "data",
    [b"plain text", zlib.compress(b"zlib is another format"), gzip.compress(b"a") + b"trailing", b"\x1f\x8b\x00" * 9],
)
def test_what_is_no_gzip_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequestError, match="not valid gzip"):
        gunzip(data, LIMIT)


def test_a_wrong_checksum_is_refused() -> None:
    data = bytearray(gzip.compress(b"some text"))
    data[-5] ^= 1

    with pytest.raises(BadRequestError, match="not valid gzip"):
        gunzip(bytes(data), LIMIT)


@given(st.binary(max_size=300))
def test_any_bytes_unfold_or_are_refused(data: bytes) -> None:
    with contextlib.suppress(BadRequestError, PayloadTooLargeError):
        gunzip(b"\x1f\x8b\x08\x00" + data, LIMIT)


@pytest.mark.parametrize("coding", ["br", "deflate", "zstd", "gzip, gzip", "x" * 10_000])
async def test_other_codings_are_refused_with_what_is_supported(coding: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError) as caught:
        await read_body(request([b"x"], content_encoding=coding), LIMIT)

    assert caught.value.headers == {"Accept-Encoding": "gzip"}
    assert len(caught.value.detail) < 200


async def test_a_body_that_does_not_arrive_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(body_module, "BODY_TIMEOUT_S", 0.01)
    stalled = Request({"type": "http", "headers": []}, _never)

    with pytest.raises(RequestTimeoutError, match="did not arrive"):
        await read_body(stalled, LIMIT)


async def _never() -> Message:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("application/json", "application/json"),
        ("Application/JSON; Charset=UTF-8", "application/json"),
        ('application/json; charset="utf-8"; x=y', "application/json"),
        ("", ""),
        ("text/plain", "text/plain"),
    ],
)
def test_the_media_type_is_read_without_its_parameters(header: str, kind: str) -> None:
    assert media_type(request(content_type=header)) == kind


@pytest.mark.parametrize("charset", ["utf-16", "latin-1", "UTF-32", "x" * 10_000])
def test_other_charsets_are_refused(charset: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match="send UTF-8") as caught:
        media_type(request(content_type=f"application/json; charset={charset}"))

    assert len(caught.value.detail) < 200
