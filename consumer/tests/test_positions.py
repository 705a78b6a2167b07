"""How far MirrorMaker is, from the bytes it writes."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from consumer.positions import Mark, Positions, read_note, read_sync
from shared.wire.replication import Copies, Pair

NOTE_KEY = b'["MirrorSourceConnector",{"cluster":"region-a","partition":4,"topic":"logs"}]'
SYNC_KEY = b"\x00\x04logs\x00\x00\x00\x04"


def sync_value(upstream: int, downstream: int = 0) -> bytes:
    return upstream.to_bytes(8, "big") + downstream.to_bytes(8, "big")


def positions(*marks: tuple[str, int | None]) -> Copies:
    """Take in notes and syncs, `("note", 5)` for one of logs/0."""
    held = Positions(("logs", "heartbeats"))
    for kind, offset in marks:
        (held.note if kind == "note" else held.sync)(Mark("logs/0", offset))
    return held.copies(None)


def test_a_note_names_the_last_record_that_was_copied() -> None:
    assert read_note(NOTE_KEY, b'{"offset":41}', "region-a") == Mark("logs/4", 42)


def test_a_note_without_a_value_takes_back_what_was_noted() -> None:
    assert read_note(NOTE_KEY, None, "region-a") == Mark("logs/4", None)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b'["MirrorHeartbeatConnector",{"sourceClusterAlias":"region-a","targetClusterAlias":"region-b"}]', b"{}"),
        (NOTE_KEY.replace(b"region-a", b"region-c"), b'{"offset":41}'),
        (NOTE_KEY, b'{"position":41}'),
        (NOTE_KEY, b"not JSON"),
        (b"not JSON", b'{"offset":41}'),
        (b"[1]", b'{"offset":41}'),
        (None, None),
    ],
)
def test_what_is_no_note_about_the_source_is_passed_over(key: bytes | None, value: bytes | None) -> None:
    assert read_note(key, value, "region-a") is None


def test_a_sync_names_the_record_that_was_copied() -> None:
    assert read_sync(SYNC_KEY, sync_value(41, 99)) == Mark("logs/4", 42, 100)


@given(st.none() | st.binary(max_size=40), st.none() | st.binary(max_size=40))
def test_any_other_bytes_are_passed_over(key: bytes | None, value: bytes | None) -> None:
    read_sync(key, value)
    assert read_note(key, value, "region-a") is None


def test_what_is_copied_is_the_larger_of_both() -> None:
    assert positions(("note", 10), ("sync", 15)).copied == {"logs/0": 15}
    assert positions(("note", 10), ("sync", 7)).copied == {"logs/0": 10}
    assert positions(("sync", 7)).copied == {"logs/0": 7}


def test_after_a_crash_records_are_copied_twice_and_stay_copied() -> None:
    seen = positions(("note", 10), ("sync", 15), ("sync", 11), ("note", 11))

    assert seen.copied == {"logs/0": 15}
    assert seen.noted == {"logs/0": 11}


def test_a_note_that_goes_back_begins_anew() -> None:
    seen = positions(("note", 10), ("sync", 15), ("note", 3))

    assert (seen.copied, seen.noted) == ({"logs/0": 3}, {"logs/0": 3})


def test_a_note_that_was_taken_back_leaves_nothing() -> None:
    seen = positions(("note", 10), ("sync", 15), ("note", None))

    assert (seen.copied, seen.noted) == ({}, {})


def test_the_newest_pair_is_kept_also_where_it_goes_back() -> None:
    held = Positions(("logs",))
    assert not held.copies(None).pairs
    for upstream, downstream in ((41, 17), (42, 18), (30, 19)):
        held.sync(read_sync(SYNC_KEY, sync_value(upstream, downstream)))

    assert held.copies(None).pairs == {"logs/4": Pair(source=31, target=20)}
    assert held.copies(None).copied == {"logs/4": 43}


def test_topics_that_do_not_count_are_left_out() -> None:
    held = Positions(("logs",))
    held.note(Mark("other/0", 5))
    held.sync(Mark("other/0", 5))

    assert held.copies(1.5) == Copies(copied={}, noted={}, heartbeat_age_s=1.5)
