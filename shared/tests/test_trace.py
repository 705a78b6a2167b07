"""What counts as a traceparent, and that anything else is left out."""

import pytest

from shared.wire.trace import is_traceparent, of_record, of_request

GOOD = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize("value", [GOOD, b"cc" + GOOD[2:], GOOD[:-2] + b"00"])
def test_what_the_recommendation_allows_is_passed_on(value: bytes) -> None:
    assert is_traceparent(value)
    assert of_request([(b"host", b"x"), (b"traceparent", value)]) == value
    assert of_record([("traceparent", value)]) == value


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        GOOD.upper(),
        GOOD + b"-extra",
        GOOD + b"\n",
        b"ff" + GOOD[2:],
        b"00-" + b"0" * 32 + GOOD[35:],
        GOOD[:36] + b"0" * 16 + GOOD[52:],
        GOOD.replace(b"-", b"\t"),
    ],
)
def test_anything_else_is_left_out(value: bytes) -> None:
    assert not is_traceparent(value)
    assert of_request([(b"traceparent", value)]) is None
    assert of_record([("traceparent", value)]) is None


def test_two_of_them_are_none() -> None:
    assert of_request([(b"traceparent", GOOD), (b"traceparent", GOOD)]) is None
    assert of_request([]) is None
