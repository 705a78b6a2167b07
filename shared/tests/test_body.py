"""Bodies are read within their limits, whatever the client claims or sends."""

import gzip
import tracemalloc

from collections.abc import Iterable
from itertools import chain

import pytest

from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message

from shared.ingest.body import read_body
from shared.ingest.head import Head
from shared.ingest.turns import Turns
from shared.wire.problem import PayloadTooLargeError, UnsupportedMediaTypeError

LIMIT = 1000


class Request:
    """A request whose body arrives in `chunks`; asking for more than was needed is seen in `was_read`."""

    def __init__(self, chunks: Iterable[bytes] = (), **headers: str) -> None:
        self._messages = chain(chunks, [b""])
        self.was_read = 0
        self.head = Head(
            {
                "type": "http",
                "headers": [
                    (name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()
                ],
            }
        )

    async def receive(self) -> Message:
        chunk = next(self._messages)
        self.was_read += len(chunk)
        return {"type": "http.request", "body": chunk, "more_body": chunk != b""}

    async def body(self) -> bytes:
        return await read_body(self.head, self.receive, LIMIT, Turns())


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=10))
async def test_a_body_is_the_sum_of_its_chunks(chunks: list[bytes]) -> None:
    assert await Request(chunks).body() == b"".join(chunks)


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=5), st.integers(1, 40))
async def test_gzip_of_any_number_of_members_in_any_chunks_is_undone(members: list[bytes], chunk: int) -> None:
    data = b"".join(gzip.compress(member) for member in members)
    pieces = [data[i : i + chunk] for i in range(0, len(data), chunk)]

    for coding in ("GZip", "x-gzip", "identity, gzip"):
        assert await Request(pieces, content_encoding=coding).body() == b"".join(members)


@pytest.mark.parametrize("coding", ["", "identity", " Identity ", "identity, identity"])
async def test_no_coding_is_no_coding(coding: str) -> None:
    assert await Request([b"plain"], content_encoding=coding).body() == b"plain"


async def test_the_limit_is_inclusive() -> None:
    exact = b"x" * LIMIT

    assert await Request([exact]).body() == exact
    with pytest.raises(PayloadTooLargeError):
        await Request([exact, b"x"]).body()


async def test_chunks_without_end_are_read_to_the_limit_only() -> None:
    endless = Request(b"x" * 100 for _ in range(10**9))

    with pytest.raises(PayloadTooLargeError):
        await endless.body()

    assert endless.was_read <= LIMIT + 100


async def test_a_body_declared_too_large_is_not_read_at_all() -> None:
    declared = Request([b"x"], content_length=str(100 * 1024 * 1024))

    with pytest.raises(PayloadTooLargeError):
        await declared.body()

    assert declared.was_read == 0


@pytest.mark.parametrize("length", ["5", "0", "", "x", "-1", "²", "9" * 5000])
async def test_a_length_that_lies_or_says_nothing_does_not_matter(length: str) -> None:
    """What arrives is counted; the server below refuses what HTTP forbids."""
    assert await Request([b"x" * 10], content_length=length).body() == b"x" * 10


@pytest.mark.parametrize("coding", ["br", "lzma", "gzip, gzip", "deflate, gzip", "x" * 10_000])
async def test_other_codings_are_refused_with_what_is_supported(coding: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError) as caught:
        await Request([b"x"], content_encoding=coding).body()

    assert caught.value.headers == {"Accept-Encoding": "gzip, deflate, zstd, snappy, lz4"}
    assert len(caught.value.detail) < 200


async def test_small_chunks_take_no_more_memory_than_what_is_in_them() -> None:
    limit = 1_000_000
    chunks = Request(b"xy" for _ in range(limit // 2))
    tracemalloc.start()
    try:
        body = await read_body(chunks.head, chunks.receive, limit, Turns())
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert len(body) == limit
    assert peak < 3 * limit


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
    assert Request(content_type=header).head.media_type == kind


@pytest.mark.parametrize("charset", ["utf-16", "latin-1", "UTF-32", "x" * 10_000])
def test_other_charsets_are_refused(charset: str) -> None:
    with pytest.raises(UnsupportedMediaTypeError, match="send UTF-8") as caught:
        _ = Request(content_type=f"application/json; charset={charset}").head.media_type

    assert len(caught.value.detail) < 200
