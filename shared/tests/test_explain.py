"""What is wrong with an event, in words: all of it, at a bounded price."""

import json

from typing import Any

import pytest

from shared.event.decode import read_sent
from shared.event.explain import RefusalError, explain
from shared.event.model import LogEvent
from shared.event.sealed import MAX_EXPLAINED
from shared.tests.test_sealed import intake

MANY = 100_000


class Asked:
    """What the model was asked about."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.values: list[Any] = []
        validate = LogEvent.model_validate

        def note(value: object) -> LogEvent:
            self.values.append(value)
            return validate(value)

        monkeypatch.setattr(LogEvent, "model_validate", note)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Asked:
    return Asked(monkeypatch)


def test_nothing_is_wrong_with_what_is_taken() -> None:
    assert explain(LogEvent, {"serviceName": "s", "level": "warning", "message": "", "correlationId": "c"}) == []


def test_the_model_is_not_asked_about_what_is_taken(asked: Asked) -> None:
    intake().seal(
        b'{"serviceName":"s","level":"warning","message":"\\u0041","correlationId":"c","timestamp":1795435200123}'
    )

    assert not asked.values


def test_of_a_million_unknown_fields_the_model_sees_a_few_and_all_are_counted(asked: Asked) -> None:
    value = {"level": "INFO"} | {f"unknown-{n}": n for n in range(MANY)}

    problems = explain(LogEvent, value)

    assert [str(problem) for problem in problems] == [
        "serviceName: is required",
        "message: is required",
        "correlationId: is required",
        *(
            f"unknown-{n}: is not a field of an event; put your own data into attributes"
            for n in range(7)
        ),
        f"and {MANY - 7} more problems",
    ]  # fmt: skip
    [seen] = asked.values
    assert len(seen) < 20


@pytest.mark.parametrize("lines", [True, False])
def test_of_ten_thousand_refused_events_the_model_sees_so_many(asked: Asked, lines: bool) -> None:  # noqa: FBT001
    many = [b"{}"] * 10_000

    refused = (
        intake(MAX_EXPLAINED).seal_lines(b"\n".join(many))
        if lines
        else intake(MAX_EXPLAINED).seal_array(b"[" + b",".join(many) + b"]")
    )

    assert len(refused) == len(many)
    assert len(asked.values) == MAX_EXPLAINED


def test_a_refusal_that_is_not_explained_costs_no_model(asked: Asked) -> None:
    with pytest.raises(RefusalError) as refused:
        read_sent(json.dumps({"level": 7}).encode())

    assert str(refused.value.in_brief()) == "level: Expected `str`, got `int`"
    assert not asked.values
    assert "message: is required" in str(refused.value.in_full())
    assert len(asked.values) == 1
