"""Content codings are undone within their limit, whatever the bytes are."""

import contextlib
import gzip
import tracemalloc
import zlib

from collections.abc import Callable

import cramjam
import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.ingest.codings import Decompression, decoder, gunzip, hold_any, undeflate, unlz4, unsnappy, unzstd
from shared.ingest.turns import at_once
from shared.wire.problem import BadRequestError, PayloadTooLargeError

LIMIT = 1000

SNAPPY_BEGIN = b"\xff\x06\x00\x00sNaPpY"

Coder = Callable[[bytes], bytes]


def raw_deflate(data: bytes) -> bytes:
    coder = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return coder.compress(data) + coder.flush()


def zstd(data: bytes) -> bytes:
    return bytes(cramjam.zstd.compress(data))


def snappy(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress_raw(data))


def framed_snappy(data: bytes) -> bytes:
    return bytes(cramjam.snappy.compress(data)) or SNAPPY_BEGIN


def lz4(data: bytes) -> bytes:
    return bytes(cramjam.lz4.compress(data))


WAYS: dict[str, tuple[Coder, str]] = {
    "gzip": (gzip.compress, "gzip"),
    "x-gzip": (gzip.compress, "X-GZip"),
    "deflate": (zlib.compress, "deflate"),
    "raw deflate": (raw_deflate, "Deflate"),
    "zstd": (zstd, "zstd"),
    "snappy": (snappy, "snappy"),
    "framed snappy": (framed_snappy, "x-snappy-framed"),
    "lz4": (lz4, "lz4"),
}


def undo(name: str, data: bytes, limit: int = LIMIT) -> bytes:
    coding = decoder(WAYS[name][1])
    assert coding is not None
    return at_once(coding(data, limit, hold_any))


@pytest.mark.parametrize("name", WAYS)
@given(st.binary(max_size=LIMIT))
def test_what_was_coded_is_undone(name: str, data: bytes) -> None:
    assert undo(name, WAYS[name][0](data)) == data


@pytest.mark.parametrize("name", WAYS)
def test_the_limit_is_inclusive(name: str) -> None:
    coder, _ = WAYS[name]

    assert undo(name, coder(b"x" * LIMIT)) == b"x" * LIMIT
    with pytest.raises(PayloadTooLargeError, match="at most 1000 bytes"):
        undo(name, coder(b"x" * (LIMIT + 1)))


@pytest.mark.parametrize("name", ["gzip", "zstd", "lz4"])
@given(st.lists(st.binary(max_size=100), min_size=1, max_size=5))
def test_several_members_are_one_body(name: str, members: list[bytes]) -> None:
    coder, _ = WAYS[name]

    assert undo(name, b"".join(map(coder, members))) == b"".join(members)


@pytest.mark.parametrize("name", ["gzip", "x-gzip", "deflate", "raw deflate"])
@pytest.mark.parametrize("zeros", [1, 512, 20_000])
def test_zeros_behind_the_end_are_padding(name: str, zeros: int) -> None:
    assert undo(name, WAYS[name][0](b"text") + bytes(zeros)) == b"text"
    with pytest.raises(BadRequestError):
        undo(name, WAYS[name][0](b"text") + bytes(zeros) + b"x")


@pytest.mark.parametrize("name", WAYS)
def test_a_bomb_is_defused_before_it_unfolds(name: str) -> None:
    bomb = WAYS[name][0](b"\0" * (64 * 1024 * 1024))
    tracemalloc.start()

    with pytest.raises(PayloadTooLargeError):
        undo(name, bomb, 8 * 1024 * 1024)

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 32 * 1024 * 1024


@pytest.mark.parametrize("name", ["gzip", "zstd", "lz4"])
def test_a_bomb_in_the_second_member_is_defused_too(name: str) -> None:
    coder, _ = WAYS[name]
    with pytest.raises(PayloadTooLargeError):
        undo(name, coder(b"x") + coder(b"\0" * 10_000_000))


def test_members_without_content_are_not_taken_without_end() -> None:
    """8 MiB of empty members are 400,000 of them: each costs a decompressor, together they would block the service."""
    with pytest.raises(BadRequestError, match="more than 10000 members"):
        at_once(gunzip(gzip.compress(b"") * 400_000, LIMIT))


@pytest.mark.parametrize("name", WAYS)
def test_what_is_cut_off_anywhere_is_refused(name: str) -> None:
    whole = WAYS[name][0](b"some text that is compressed, and then cut off")

    for keep in range(len(whole)):
        if whole[:keep] == SNAPPY_BEGIN:  # this format has no end, so that is a whole body without content
            continue
        with pytest.raises(BadRequestError, match=r"cut off|not valid"):
            undo(name, whole[:keep])


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("gzip", b"plain text"),
        ("gzip", zlib.compress(b"zlib is another format")),
        ("gzip", gzip.compress(b"a", mtime=0) + b"trailing"),
        ("gzip", b"\x1f\x8b\x00" * 9),
        ("deflate", b"plain text"),
        ("deflate", zlib.compress(b"a") + b"trailing"),
        ("deflate", zlib.compress(b"a") + zlib.compress(b"b")),
        ("zstd", b"plain text"),
        ("zstd", zstd(b"a") + b"trailing"),
        ("zstd", gzip.compress(b"a", mtime=0)),
        ("snappy", b"plain text"),
        ("snappy", snappy(b"a") + b"trailing"),
        ("framed snappy", framed_snappy(b"a") + b"trailing"),
        ("lz4", b"plain text"),
        ("lz4", lz4(b"a") + b"trailing"),
    ],
)
def test_what_is_something_else_is_refused(name: str, data: bytes) -> None:
    with pytest.raises(BadRequestError, match=f"not valid {name.rsplit(maxsplit=1)[-1]}"):
        undo(name, data)


def test_a_wrong_checksum_is_refused() -> None:
    for coder, undone, place in ((gzip.compress, gunzip, -5), (zlib.compress, undeflate, -1)):
        data = bytearray(coder(b"some text"))
        data[place] ^= 1
        with pytest.raises(BadRequestError, match="not valid"):
            at_once(undone(bytes(data), LIMIT))


@pytest.mark.parametrize("coding", [gunzip, undeflate, unzstd, unsnappy, unlz4])
@given(
    data=st.binary(max_size=300),
    begin=st.sampled_from(
        [b"", SNAPPY_BEGIN, b"\x1f\x8b\x08\x00", b"\x78\x9c", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"]
    ),
)
def test_any_bytes_unfold_or_are_refused(
    coding: Callable[[bytes, int], Decompression], data: bytes, begin: bytes
) -> None:
    with contextlib.suppress(BadRequestError, PayloadTooLargeError):
        assert len(at_once(coding(begin + data, LIMIT))) <= LIMIT


def test_a_bomb_is_unfolded_in_many_steps() -> None:
    bomb = gzip.compress(bytes(8 * 1024 * 1024))

    assert sum(1 for _ in gunzip(bomb, 8 * 1024 * 1024)) > 30


@pytest.mark.parametrize("name", WAYS)
@given(st.integers(0, 3000), st.integers(0, 3000))
def test_who_holds_the_bytes_is_told_before_they_are_there(name: str, size: int, room: int) -> None:
    held = [0]

    def hold(so_far: int) -> None:
        held.append(so_far)
        if so_far > room:
            raise OverflowError

    coding = decoder(WAYS[name][1])
    assert coding is not None
    try:
        whole = at_once(coding(WAYS[name][0](b"x" * size), 3000, hold))
    except OverflowError:
        return
    assert held[-1] == len(whole) == size
    assert max(held) <= room


@pytest.mark.parametrize("claim", [2**20, 2**31, 2**32 - 1])
def test_a_block_that_claims_to_be_huge_is_refused_by_its_first_bytes(claim: int) -> None:
    length = bytearray()
    while claim > 127:
        length.append(claim & 127 | 128)
        claim >>= 7
    tracemalloc.start()
    with pytest.raises((BadRequestError, PayloadTooLargeError)):
        undo("snappy", bytes([*length, claim, 0, 1]), 64 * 1024 * 1024)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1024 * 1024
