from collections.abc import Sequence

import pytest

from hypothesis import given
from hypothesis import strategies as st

from consumer.copy_format import COLUMNS, TENANT_COLUMNS, columns_of, copy_rows, tenants_of
from consumer.envelope import Lateness, LateReason, Row
from consumer.tests.strategies import an_envelope, read_fields

reasons: st.SearchStrategy[LateReason] = st.sampled_from(["delayed", "replication_backlog", "pipeline", "clock_skew"])
latenesses = st.none() | st.builds(Lateness, reasons, st.integers(0, 2**40))
_FRAME = (b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff")


def read_rows(copied: bytes, sizes: Sequence[int], columns: Sequence[str] = COLUMNS) -> list[dict[str, bytes]]:
    """Return the fields of rows whose sizes are known."""
    assert copied.startswith(_FRAME[0])
    assert copied.endswith(_FRAME[1])
    at = len(_FRAME[0])
    rows: list[dict[str, bytes]] = []
    for size in sizes:
        assert int.from_bytes(copied[at : at + 2], "big") == len(columns)
        rows.append(dict(zip(columns, read_fields(copied[at + 2 : at + size]), strict=True)))
        at += size
    assert copied[at:] == _FRAME[1]
    return rows


def size_of(row: Row, stored_by: str) -> int:
    return len(copy_rows([row], stored_by)) - sum(map(len, _FRAME))


@given(st.lists(st.tuples(latenesses, st.sampled_from(["", "region-b"])), max_size=8), st.text(max_size=20))
def test_rows_come_one_after_the_other_each_with_where_it_stands(
    places: Sequence[tuple[Lateness | None, str]], stored_by: str
) -> None:
    rows = [
        Row(an_envelope(n, time_us=n, message=f"message {n}"), lateness, order)
        for n, (lateness, order) in enumerate(places)
    ]

    read = read_rows(copy_rows(rows, stored_by), [size_of(row, stored_by) for row in rows])

    assert [fields["message"] for fields in read] == [f"message {n}".encode() for n in range(len(rows))]
    for row, fields in zip(rows, read, strict=True):
        lateness = row.lateness
        assert fields["stored_by"].decode() == (f"{stored_by}/{row.order}" if row.order else stored_by)
        assert fields["event_id"] == row.envelope.event_id
        assert fields["late"] == (b"\0" if lateness is None else b"\1")
        assert fields["late_by_ms"] == (b"" if lateness is None else lateness.by_ms.to_bytes(8, "big"))
        assert fields["late_reason"] == (b"" if lateness is None else lateness.reason.encode())


@pytest.mark.parametrize("time_us", [0, 946_684_800_000_000, 1_795_000_000_000_001])
def test_times_are_microseconds_since_2000(time_us: int) -> None:
    row = Row(an_envelope(time_us=time_us))

    [fields] = read_rows(copy_rows([row], "x"), [size_of(row, "x")])

    assert int.from_bytes(fields["event_time"], "big", signed=True) == time_us - 946_684_800_000_000
    assert fields["event_time"] == fields["received_at"]


def test_rows_of_tenants_name_them_and_the_ids_that_they_know() -> None:
    envelopes = [an_envelope(1), an_envelope(2, tenant="acme"), an_envelope(3, tenant="beta")]
    rows = [Row(envelope) for envelope in envelopes]

    copied = copy_rows(rows, "x", {"acme": 7, "beta": 300})

    assert columns_of(copied) == TENANT_COLUMNS
    assert columns_of(copy_rows(rows[:1], "x")) == COLUMNS
    sizes = [len(copy_rows([row], "x", {"acme": 7, "beta": 300})) - sum(map(len, _FRAME)) for row in rows]
    sizes[0] += 6 + 4  # alone it would have no number and no NULL
    read = read_rows(copied, sizes, TENANT_COLUMNS)
    assert [int.from_bytes(fields["tenant_id"], "big") for fields in read] == [0, 7, 300]
    assert [fields["tenant_event_id"] for fields in read] == [b"", *(n.to_bytes(16, "big") for n in (2, 3))]
    assert [fields["event_id"] for fields in read] == [envelope.event_id for envelope in envelopes]
    assert {fields["message"] for fields in read} == {b"Hello"}


def test_a_tenant_without_a_number_is_no_row() -> None:
    rows = [Row(an_envelope(1)), Row(an_envelope(2, tenant="acme"))]

    assert tenants_of(rows) == {"acme"}
    with pytest.raises(KeyError):
        copy_rows(rows, "x")
