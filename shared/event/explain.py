"""
What is wrong with an event that was refused, in words for its sender. Pure.

The decoder has decided before; it knows the first mistake, and stopped there. A model finds all of them, at a price: it is
asked about so many events of a request as its caller decides (`shared.event.sealed.Intake`). It accepts nothing. Where it
finds nothing wrong, the decoder's own reason stands.
"""

import re

from collections.abc import Mapping
from typing import Final

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shared.event.fields import FieldProblem, InvalidEventError, cut
from shared.event.json_text import NotJSONError
from shared.event.model import LogEvent, LogRecord, ReceivedEvent

_MAX_PROBLEMS: Final = 10
_AT: Final = re.compile(r"(?P<what>.*) - at (?:`key` in )?`\$\.?(?P<path>[^`]*)`", re.DOTALL)
_NAMED: Final = re.compile(r"Object (?P<what>missing required|contains unknown) field `(?P<field>.*)`", re.DOTALL)
_MISSING: Final = "is required"
_UNKNOWN: Final = "is not a field of an event; put your own data into attributes"


def not_json(error: NotJSONError) -> InvalidEventError:
    """Return the error for bytes that are no JSON."""
    return InvalidEventError([FieldProblem("", f"not valid JSON: {error}")])


class RefusalError(Exception):
    """
    A JSON value is no event.

    Args:
        model: What it was to be.
        value: The value, as `shared.event.json_text` parses it.
        reason: The first thing that the decoder found wrong.
        explicable: Whether `value` is what was sent, so that more can be found wrong with it.
    """

    def __init__(self, model: type[BaseModel], value: object, reason: FieldProblem, *, explicable: bool = True) -> None:
        super().__init__(str(reason))
        self._model = model
        self._value = value
        self._reason = reason
        self._explicable = explicable

    def in_brief(self) -> InvalidEventError:
        """Return an error that names the first mistake; costs next to nothing."""
        return InvalidEventError([self._reason])

    def in_full(self) -> InvalidEventError:
        """Return an error that names every mistake, up to a number, where that is known."""
        if not self._explicable:
            return self.in_brief()
        return InvalidEventError(explain(self._model, self._value) or [self._reason])


def explain(model: type[BaseModel], value: object) -> list[FieldProblem]:
    """Return what a model finds wrong with a JSON value; nothing if it finds nothing."""
    left_out = 0
    if isinstance(value, dict):
        # Each unknown field costs an error, and an event may have a million of them.
        fields = _FIELDS[model]
        unknown = [key for key in value if key not in fields]
        named = dict.fromkeys(unknown[:_MAX_PROBLEMS])
        left_out = len(unknown) - len(named)
        if left_out:
            value = {key: item for key, item in value.items() if key in fields} | named
    try:
        model.model_validate(value)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
    else:
        return []
    problems = [_problem(error) for error in errors[:_MAX_PROBLEMS]]
    if (more := len(errors) + left_out - _MAX_PROBLEMS) > 0:
        problems.append(FieldProblem("", f"and {more} more problems"))
    return problems


def first_problem(error: ValueError | RecursionError) -> FieldProblem:
    """Return what msgspec says of a value that it refused, as a problem of the field that it names."""
    text = str(error)
    if found := _NAMED.fullmatch(text):
        return FieldProblem(cut(found["field"]), _MISSING if found["what"].startswith("missing") else _UNKNOWN)
    if found := _AT.fullmatch(text):
        return FieldProblem(found["path"].split("[")[0], cut(found["what"]))
    return FieldProblem("", cut(text))


def _problem(error: ErrorDetails) -> FieldProblem:
    context = error.get("ctx", {})
    messages = {
        "missing": _MISSING,
        "extra_forbidden": _UNKNOWN,
        "string_type": "must be a string",
        "string_unicode": "holds a lone surrogate, which is no character",
        "string_too_short": "must not be empty",
        "string_too_long": f"must have at most {context.get('max_length')} characters",
        "dict_type": "must be a JSON object",
        "model_type": "an event must be a JSON object",
        "value_error": str(context.get("error")),
    }
    return FieldProblem(cut(".".join(map(str, error["loc"]))), messages.get(error["type"], error["msg"]))


_FIELDS: Final[Mapping[type[BaseModel], frozenset[str]]] = {
    model: frozenset(str(field.alias) for field in model.model_fields.values())
    for model in (LogEvent, ReceivedEvent, LogRecord)
}
