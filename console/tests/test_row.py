"""How a row is shown: all of it, or the beginning of what is long; always JSON, with numbers as they were."""

import json

from hypothesis import given
from hypothesis import strategies as st

from console.row import MAX_SHOWN_ATTRIBUTES, MAX_SHOWN_MESSAGE, encode, shown
from console.tests.fakes import a_row

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
ATTRIBUTES = st.dictionaries(
    TEXT, TEXT | st.integers() | st.booleans() | st.none() | st.sampled_from(["x" * 3000, "ü" * 5000]), max_size=8
)


@given(TEXT | st.sampled_from(["é" * 2048, "\U0001f680" * 600, "x" * 2048]), ATTRIBUTES)
def test_a_short_form_is_a_part_of_the_whole_and_bounded(message: str, attributes: dict[str, object]) -> None:
    row = a_row(1, message=message, attributes=json.dumps(attributes, ensure_ascii=False))
    short, whole = json.loads(encode(shown(row))), json.loads(encode(shown(row, full=True)))

    assert (whole["message"], whole["attributes"]) == (message, attributes)
    assert message.startswith(short["message"])
    assert len(short["message"].encode()) <= MAX_SHOWN_MESSAGE
    assert len(encode(short["attributes"])) <= MAX_SHOWN_ATTRIBUTES + 64
    for name, value in short["attributes"].items():
        assert value == attributes[name] or (isinstance(value, str) and str(attributes[name]).startswith(value))
    assert short.get("cut", False) == (short["message"] != message or short["attributes"] != attributes)


def test_numbers_are_as_they_were_and_a_late_row_says_why() -> None:
    row = a_row(
        1, attributes='{"n": 1.50, "m": 1e0, "u": 18446744073709551615}', late=True, late_reason="mirror", late_by_ms=7
    )

    assert b'"attributes":{"n": 1.50, "m": 1e0, "u": 18446744073709551615}' in encode(shown(row))
    assert json.loads(encode(shown(row)))["lateReason"] == "mirror"
    assert json.loads(encode(shown(row)))["lateByMs"] == 7
