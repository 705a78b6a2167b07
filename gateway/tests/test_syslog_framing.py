"""Where syslog's messages end, however they are written and in whatever pieces they arrive."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.listeners.framing import MAX_COUNT, MAX_MESSAGE_BYTES, Frame, Framer

MOST = 1000


def frames(*pieces: bytes, most: int = MOST) -> list[Frame]:
    """All messages of a connection that ends."""
    framer = Framer()
    found: list[Frame] = []
    for piece in pieces:
        framer.feed(piece)
        while some := framer.some(most):
            assert len(some) <= most
            found += some
    return [*found, *framer.end()]


def messages(*pieces: bytes) -> list[bytes]:
    return [frame.message for frame in frames(*pieces)]


@pytest.mark.parametrize(
    ("sent", "found"),
    [
        (b"<1>a\n<2>b\n", [b"<1>a", b"<2>b"]),
        (b"<1>a\r\n<2>b\x00\n<3>c", [b"<1>a", b"<2>b", b"<3>c"]),
        (b"4 <1>a5 <2>bc", [b"<1>a", b"<2>bc"]),
        (b"4 <1>a\n5 <2>bc\n", [b"<1>a", b"<2>bc"]),
        (b"7 <1>a\nb\n<2>c\n4 <3>d", [b"<1>a\nb\n", b"<2>c", b"<3>d"]),
        (b"\n\n\x00\n", []),
        (b"", []),
        (b"plain\n  indented\n", [b"plain", b"  indented"]),
        (b"2026-11-27 started\n", [b"2026-11-27 started"]),
        (b"404 not found\n<1>a\n", [b"404 not found", b"<1>a"]),
        (b"12345678901 <1>a\n", [b"12345678901 <1>a"]),
        (b"0 <1>a\n", [b"0 <1>a"]),
        (b"17", [b"17"]),
    ],
)
def test_each_message_ends_as_its_first_byte_says(sent: bytes, found: list[bytes]) -> None:
    assert messages(sent) == found
    assert messages(*(bytes([byte]) for byte in sent)) == found


MESSAGES = st.lists(
    st.tuples(st.booleans(), st.binary(max_size=30).map(lambda text: b"<13>" + text)), min_size=1, max_size=8
)


@given(sent=MESSAGES, cuts=st.lists(st.integers(0, 200), max_size=6), most=st.integers(1, 5))
def test_all_messages_are_found_whatever_framing_each_has_and_wherever_it_is_cut(
    sent: list[tuple[bool, bytes]], cuts: list[int], most: int
) -> None:
    stream, wanted = b"", []
    for is_counted, text in sent:
        if is_counted:
            stream += b"%d %b" % (len(text), text)
            wanted.append(text)
        else:
            line = text.replace(b"\n", b"")
            stream += line + b"\n"
            wanted.append(line.rstrip(b"\r\0"))
    ends = sorted({min(cut, len(stream)) for cut in cuts} | {len(stream)})
    pieces = [stream[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]
    assert [frame.message for frame in frames(*pieces, most=most)] == wanted


@given(stream=st.binary(max_size=80) | st.text("0123456789 <>\n\0ab", max_size=60).map(str.encode))
def test_no_byte_of_any_stream_is_lost_but_what_is_between_messages(stream: bytes) -> None:
    counted = sum(len(frame.message) for frame in frames(stream))
    kept = b"".join(messages(stream)).translate(None, b"0123456789 \r\n\0")
    assert kept == stream.translate(None, b"0123456789 \r\n\0")
    assert counted <= len(stream)


def test_of_a_message_that_is_too_long_the_beginning_is_kept_and_its_length() -> None:
    long = b"<1>" + b"x" * MAX_MESSAGE_BYTES
    assert frames(long + b"\n<2>b\n") == [Frame(long[:MAX_MESSAGE_BYTES], len(long)), Frame(b"<2>b", 4)]
    assert frames(b"%d %b4 <2>b" % (len(long), long)) == [Frame(long[:MAX_MESSAGE_BYTES], len(long)), Frame(b"<2>b", 4)]
    assert frames(long) == [Frame(long[:MAX_MESSAGE_BYTES], len(long))]


def test_no_more_of_it_is_held_than_is_kept() -> None:
    for begin in (b"", b"%d " % MAX_COUNT):
        framer = Framer()
        framer.feed(begin + b"<1>")
        for _ in range(64):
            framer.feed(b"x" * 64 * 1024)
            assert not framer.some(MOST)
            assert framer.buffered <= MAX_MESSAGE_BYTES + 64 * 1024 + 16


def test_a_message_that_the_end_of_the_connection_cuts_is_kept_with_its_length() -> None:
    assert frames(b"100 <1>half") == [Frame(b"<1>half", 100)]


def test_a_length_that_is_none_breaks_the_connection_and_what_came_before_and_after_is_kept() -> None:
    framer = Framer()
    framer.feed(b"<1>a\n99999999 <2>b\n<3>c\n")
    assert framer.some(MOST) == [Frame(b"<1>a", 4)]
    assert framer.broken
    assert not framer.some(MOST)
    [rest] = framer.end()
    assert rest.message == b"99999999 <2>b\n<3>c\n"


def test_a_line_that_arrives_byte_by_byte_is_looked_at_once() -> None:
    framer = Framer()
    for _ in range(100_000):
        framer.feed(b"x")
        framer.some(MOST)
    framer.feed(b"\n")
    assert [len(frame.message) for frame in framer.some(MOST)] == [100_000]
