"""
A day as a Parquet file: written in groups of rows as they come, so that its size does not matter, and read back.

What PostgreSQL sends is CSV: pyarrow reads that without a Python object for each value.
"""

import hashlib

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

import pyarrow as pa
import pyarrow.compute as pc

from pyarrow import csv, parquet

# The default one keeps what it has freed, and grows with the day by 200 MiB.
pa.set_memory_pool(pa.system_memory_pool())

_TIME: Final = pa.timestamp("us", tz="UTC")
SCHEMA: Final = pa.schema(
    [
        pa.field("event_id", pa.string(), nullable=False),
        pa.field("event_time", _TIME, nullable=False),
        pa.field("seq", pa.int64(), nullable=False),
        pa.field("service_name", pa.string(), nullable=False),
        pa.field("level", pa.string(), nullable=False),
        pa.field("message", pa.string(), nullable=False),
        pa.field("correlation_id", pa.string(), nullable=False),
        pa.field("attributes", pa.string(), nullable=False),
        pa.field("origin_region", pa.string(), nullable=False),
        pa.field("received_at", _TIME, nullable=False),
        pa.field("stored_at", _TIME, nullable=False),
        pa.field("stored_by", pa.string(), nullable=False),
        pa.field("late", pa.bool_(), nullable=False),
        pa.field("late_by_ms", pa.int64()),
        pa.field("late_reason", pa.string()),
        pa.field("tenant_id", pa.int16(), nullable=False),
        pa.field("tenant_event_id", pa.string()),
    ]
)
COLUMNS: Final = tuple(SCHEMA.names)
# As COPY writes what is missing; a value that looks like it is in quotes.
NULL: Final = r"\N"
_BLOCK_BYTES: Final = 4 * 1024 * 1024
_GROUP_BYTES: Final = 8 * 1024 * 1024
_READ_ROWS: Final = 8192
_CONVERSION: Final = csv.ConvertOptions(
    column_types=SCHEMA,
    null_values=[NULL],
    strings_can_be_null=True,
    quoted_strings_can_be_null=False,
    true_values=["t"],
    false_values=["f"],
)
_ROWS, _SUM_SEQ = b"rows", b"sum_seq"


@dataclass(frozen=True, slots=True)
class Content:
    """
    What is in a file.

    Attributes:
        rows: How many.
        sum_seq: The sum of their `seq`.
        digest: Of all values in their order, however they were grouped.
    """

    rows: int
    sum_seq: int
    digest: str


def write(source: BinaryIO, target: BinaryIO) -> Content:
    """
    Write what comes as CSV.

    Raises:
        OSError: The file cannot be written.
        pyarrow.ArrowInvalid: What comes is no such CSV.
    """
    total = _Total()
    with parquet.ParquetWriter(target, SCHEMA, compression="zstd") as writer:
        for batches in _groups(source):
            for batch in batches:
                total.add(batch)
            writer.write_table(pa.Table.from_batches(batches), row_group_size=2**31 - 1)
            pa.default_memory_pool().release_unused()
        content = total.content()
        writer.add_key_value_metadata({_ROWS: str(content.rows), _SUM_SEQ: str(content.sum_seq)})
    return content


def read_back(source: BinaryIO) -> Content:
    """
    Read all of a file.

    Raises:
        OSError: It cannot be read.
        pyarrow.ArrowInvalid: It is no Parquet file, or a broken one.
    """
    total = _Total()
    with parquet.ParquetFile(source, pre_buffer=False) as file:
        if not file.schema_arrow.equals(SCHEMA):
            raise pa.ArrowInvalid("it has other columns")
        for batch in file.iter_batches(_READ_ROWS, use_threads=False):
            total.add(batch)
    return total.content()


def said(source: BinaryIO) -> tuple[int, int] | None:
    """Return rows and sum of `seq` as they were when the file was written, or None for a file that is not of this kind."""
    try:
        metadata = parquet.read_metadata(source).metadata or {}
        return int(metadata[_ROWS]), int(metadata[_SUM_SEQ])
    except (pa.ArrowInvalid, KeyError):
        return None


def _groups(source: BinaryIO) -> Iterator[list[Any]]:
    group: list[Any] = []
    for block in _blocks(source):
        group += (
            csv.read_csv(
                pa.py_buffer(block),
                read_options=csv.ReadOptions(column_names=COLUMNS, block_size=len(block) + 1, use_threads=False),
                parse_options=csv.ParseOptions(newlines_in_values=True),
                convert_options=_CONVERSION,
            )
            .cast(SCHEMA)
            .to_batches()
        )
        if sum(batch.nbytes for batch in group) >= _GROUP_BYTES:
            yield group
            group = []
    if group:
        yield group


def _blocks(source: BinaryIO) -> Iterator[bytes]:
    """
    Cut what comes behind the end of a row.

    pyarrow's own reader of streams cannot take a row that is longer than its block, and reads 32 blocks ahead.
    """
    rest = b""
    while more := source.read(_BLOCK_BYTES):
        rest += more
        end = rest.rfind(b"\n")
        # A line break between quotes is part of a value.
        while end >= 0 and rest.count(b'"', 0, end) % 2:
            end = rest.rfind(b"\n", 0, end)
        if end >= 0:
            yield rest[: end + 1]
            rest = rest[end + 1 :]
    if rest:
        yield rest


class _Total:
    def __init__(self) -> None:
        self._rows = 0
        self._sum_seq = 0
        # Of each column: which values there are, how long they are, and their bytes. Apart, since batches end anywhere.
        self._hashes = [(hashlib.blake2b(), hashlib.blake2b(), hashlib.blake2b()) for _ in COLUMNS]

    def add(self, batch: Any) -> None:
        self._rows += batch.num_rows
        self._sum_seq += pc.sum(batch.column("seq")).as_py() or 0
        for (present, lengths, values), column in zip(self._hashes, batch.columns, strict=True):
            present.update(_flat(column.is_valid().cast(pa.uint8())))
            if pa.types.is_string(column.type):
                filled = column.fill_null("")
                lengths.update(_flat(pc.binary_length(filled)))
                values.update(_text(filled))
            else:
                numbers = column.cast(pa.uint8() if pa.types.is_boolean(column.type) else pa.int64())
                values.update(_flat(numbers.fill_null(0)))

    def content(self) -> Content:
        parts = [each.digest() for column in self._hashes for each in column]
        return Content(self._rows, self._sum_seq, hashlib.blake2b(b"".join(parts), digest_size=32).hexdigest())


def _flat(numbers: Any) -> memoryview:
    width = numbers.type.bit_width // 8
    return memoryview(numbers.buffers()[1])[numbers.offset * width : (numbers.offset + len(numbers)) * width]


def _text(strings: Any) -> memoryview:
    _, ends, text = strings.buffers()
    if text is None or not len(strings):
        return memoryview(b"")
    places = memoryview(ends).cast("i")
    return memoryview(text)[places[strings.offset] : places[strings.offset + len(strings)]]
