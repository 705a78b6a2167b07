"""Bodies are read within their limits, whatever the client claims or sends."""

import asyncio
import gzip

from collections.abc import Iterable
from itertools import chain

import pytest

from fastapi import Request
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from shared.ingest import body as body_module
from shared.ingest.body import media_type, read_body
from shared.wire.problem import PayloadTooLargeError, RequestTimeoutError, UnsupportedMediaTypeError

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

    for coding in ("GZip", "x-gzip", "identity, gzip"):
        assert await read_body(request(pieces, content_encoding=coding), LIMIT) == b"".join(members)


@pytest.mark.parametrize("coding", ["", "identity", " Identity ", "identity, identity"])
async def test_no_coding_is_no_coding(coding: str) -> None:
    assert await read_body(request([b"plain"], content_encoding=coding), LIMIT) == b"plain"


async def test_the_limit_is_inclusive() -> None:
    exact = b"x" * LIMIT

    assert await read_body(request([exact]), LIMIT) == exact
    with pytest.raises(PayloadTooLargeError):
        await read_body(request([exact, b"x"]), LIMIT)


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


@pytest.mark.parametrize("coding", ["br", "lz4", "gzip, gzip", "deflate, gzip", "x" * 10_000])
async def test_other_codings_are_refused_with_what_is_supported(coding: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError) as caught:
        await read_body(request([b"x"], content_encoding=coding), LIMIT)

    assert caught.value.headers == {"Accept-Encoding": "gzip, deflate, zstd"}
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
        ("application/json;charset=utf8", "application/json"),
        ("application/json; charset = 'UTF_8'", "application/json"),
        ("application/json ; CHARSET=Utf-8 ; q=1", "application/json"),
        ("application/json; charset=US-ASCII", "application/json"),
        ("application/json; profile=utf-16", "application/json"),
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
