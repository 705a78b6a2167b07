"""What the model makes of an event, to hold the decoder to: they share the types of fields, and nothing else."""

from typing import Any

from pydantic import BaseModel

from shared.event.explain import explain
from shared.event.fields import InvalidEventError
from shared.event.json_text import NotJSONError, parse_json


def described(model: type[BaseModel], raw: bytes) -> dict[str, Any] | str:
    """Return the fields of an event, or all that is wrong with it."""
    try:
        value = parse_json(raw)
    except NotJSONError as exc:
        return f"not valid JSON: {exc}"
    if problems := explain(model, value):
        return str(InvalidEventError(problems))
    return dict(model.model_validate(value))
