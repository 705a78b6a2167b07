"""The answers of Loki's API. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from console.loki.counting import Counted, Labels, Steps
from console.loki.fields import LABELS, labels_of, metadata_of
from console.loki.lines import Entry
from console.loki.syntax import Constant

CATEGORIZE: Final = "categorize-labels"
VERSION: Final = "3.2.0-compat"
_US: Final = 10**6


def success(data: Any, *, warnings: Sequence[str] = ()) -> dict[str, Any]:
    """Return an answer with data, and with sentences about what is missing."""
    return {"status": "success", "data": data} | ({"warnings": list(warnings)} if warnings else {})


def streams(entries: Iterable[Entry], *, categorized: bool) -> dict[str, Any]:
    """
    Return lines.

    Args:
        entries: In the order in which each stream has them.
        categorized: Tell what is known of each line besides its labels.
    """
    found: dict[tuple[str, ...], list[list[Any]]] = {}
    for entry in entries:
        value: list[Any] = [str(entry.ns), entry.row.message]
        if categorized:
            value.append({"structuredMetadata": metadata_of(entry.row), "parsed": {}})
        found.setdefault(labels_of(entry.row), []).append(value)
    result = [{"stream": dict(zip(LABELS, labels, strict=True)), "values": values} for labels, values in found.items()]
    return {"resultType": "streams", "result": result, "stats": {}} | (
        {"encodingFlags": [CATEGORIZE]} if categorized else {}
    )


def matrix(counted: Counted, steps: Steps, divisor: float = 1.0) -> dict[str, Any]:
    """Return a series for each set of labels; `divisor` is what each count is divided by."""
    result = [
        {
            "metric": dict(labels),
            "values": [[seconds(steps.first + at * steps.step), number(rows / divisor)] for at, rows in values.items()],
        }
        for labels, values in sorted(counted.series.items())
        if values
    ]
    return {"resultType": "matrix", "result": result, "stats": {}}


def vector(counted: Mapping[Labels, float], at_us: int) -> dict[str, Any]:
    """Return one value for each set of labels."""
    result = [{"metric": dict(labels), "value": [seconds(at_us), number(value)]} for labels, value in counted.items()]
    return {"resultType": "vector", "result": result, "stats": {}}


def constant(value: Constant, at_us: int) -> dict[str, Any]:
    """Return a number at one time."""
    if value.is_vector:
        return vector({(): value.value}, at_us)
    return {"resultType": "scalar", "result": [seconds(at_us), number(value.value)], "stats": {}}


def constant_steps(value: Constant, steps: Steps) -> dict[str, Any]:
    """Return a number at each step."""
    values = [[seconds(steps.first + at * steps.step), number(value.value)] for at in range(steps.number)]
    return {"resultType": "matrix", "result": [{"metric": {}, "values": values}], "stats": {}}


def detected_fields(entries: Sequence[Entry]) -> list[dict[str, Any]]:
    """Return what is known of lines besides their labels, with the kind and the number of values of each."""
    known: dict[str, set[str]] = {}
    for entry in entries:
        for name, text in metadata_of(entry.row).items():
            known.setdefault(name, set()).add(text)
    return [
        {"label": name, "type": _type_of(texts), "cardinality": len(texts), "parsers": None}
        for name, texts in sorted(known.items())
    ]


def field_values(entries: Sequence[Entry], name: str) -> list[str]:
    """Return the values of one of them."""
    return sorted({text for entry in entries if (text := metadata_of(entry.row).get(name)) is not None})


def seconds(us: int) -> int | float:
    """Return seconds since 1970, whole ones as such."""
    return us // _US if us % _US == 0 else us / _US


def number(value: float) -> str:
    """Return a number as text."""
    return str(int(value)) if value == int(value) else repr(value)


def _type_of(texts: set[str]) -> str:
    if texts <= {"true", "false"}:
        return "boolean"
    for kind, read in (("int", int), ("float", float)):
        try:
            for text in texts:
                read(text)
        except ValueError:
            continue
        return kind
    return "string"
