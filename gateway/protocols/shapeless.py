"""Lines of which nothing is known: JSON documents, and text. Pure."""

from typing import Final

from gateway.protocols.documents import Documents
from gateway.protocols.lenient_json import read_json
from gateway.protocols.lines import without_end_of_line
from gateway.protocols.record import Record
from shared.event.json_text import NotJSONError
from shared.wire.problem import BadRequestError

# How compressed data begin that are not called so.
_COMPRESSED: Final = ((b"\x1f\x8b", "gzip"), (b"\x28\xb5\x2f\xfd", "zstd"))


def refuse_compressed(body: bytes) -> None:
    """
    Refuse what would be a line of nonsense.

    Raises:
        BadRequestError: The body is compressed, and its head does not say so.
    """
    for mark, coding in _COMPRESSED:
        if body.startswith(mark):
            raise BadRequestError(f"the body is {coding}, which Content-Encoding has to say")


def document_record(raw: bytes, documents: Documents) -> tuple[Record, str]:
    """
    Return the record of a JSON object, and its host.

    Raises:
        NotJSONError: It is none.
    """
    if (read := documents.read(raw)) is None:
        raise NotJSONError("it is no JSON object")
    record, host = read
    record.message = without_end_of_line(record.message)
    return record, host


def text_record(raw: bytes) -> Record:
    """Return the record of a line of text; an element of an array may be one in quotes."""
    if raw[:1] == b'"':
        try:
            value, repairs = read_json(raw)
        except NotJSONError:
            pass
        else:
            return Record(raw, without_end_of_line(value), repairs=repairs)
    return Record(raw, raw)
