"""
How the documents of a client are built, learned from those before, so that further ones are read faster. Pure.

Most documents of a request have the same fields, each of the same type. Once many of a kind were seen, a decoder is made that
takes only these. It tells whether a document is one of them in the same step in which it reads it, without an object for each
nested one. What it does not take is read as if there were none: so what becomes of a document never depends on what was learned.
"""

from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from typing import Annotated, Any, Final

import msgspec

_WORTH_LEARNING: Final = 50
"""So many of a kind, since making a decoder costs as much as it saves with some hundred documents."""
_LEARNED_A_REQUEST: Final = 4
_NOTES_A_REQUEST: Final = 500
_LEARNED: Final = 64
_COUNTED: Final = 512
_MOST_FIELDS: Final = 64
# After so many documents in a row that were none of the kind expected, none is expected any more.
_PATIENCE: Final = 16
# An integer that is larger cannot be stored as one.
_PLAIN: Final[Mapping[type, Any]] = {
    str: str,
    int: Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)],
    bool: bool,
    type(None): None,
}

Shape = tuple[tuple[str, ...], tuple[type, ...]]
"""The names of all fields, and the types of their values."""


class Learned:
    """
    Reads the documents of one kind.

    Args:
        document: One of them, whose nested objects become its types.
        names: Its fields' names in the flat form, in its order.

    Raises:
        ValueError: Such a document cannot be learned.
    """

    __slots__ = ("_decode", "_get", "names")

    def __init__(self, document: dict[str, Any], names: Sequence[str]) -> None:
        paths: dict[str, str] = {}
        kind = _struct(document, "", "", paths)
        if tuple(paths) != tuple(names) or len(paths) < 2:  # noqa: PLR2004 - of one it would return no tuple
            raise ValueError("which of its fields has which name depends on their order")
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(kind).decode
        self._get = attrgetter(*paths.values())
        self.names = names

    def read(self, raw: bytes) -> dict[str, Any]:
        """
        Return the fields of a document with their dotted names. Their values are texts, integers of 64 bits, booleans and None.

        Raises:
            ValueError: It is no JSON, or not of this kind.
        """
        return dict(zip(self.names, self._get(self._decode(raw)), strict=True))


def _struct(document: dict[str, Any], prefix: str, above: str, paths: dict[str, str]) -> type[msgspec.Struct]:
    """Return the type of documents that have the same fields, and add its attributes' paths by the fields' dotted names."""
    fields: list[tuple[str, Any]] = []
    names: dict[str, str] = {}
    for number, (name, value) in enumerate(document.items()):
        # The sender's names are no attributes: none of them can be one that means something to Python.
        attribute = f"f{number}"
        kind: Any = type(value)
        if kind is dict and value:
            kind = _struct(value, f"{prefix}{name}.", f"{above}{attribute}.", paths)
        elif kind in _PLAIN:
            paths[prefix + name] = above + attribute
            kind = _PLAIN[kind]
        else:
            raise ValueError(f"a value of type {kind.__name__} is not learned")
        fields.append((attribute, kind))
        names[attribute] = name
    return msgspec.defstruct("Document", fields, rename=names, forbid_unknown_fields=True, gc=False)


class Shapes:
    """What was learned so far, for all requests of a process."""

    def __init__(self) -> None:
        self._learned: dict[Shape, Learned | None] = {}
        self._seen: dict[Shape, int] = {}

    def find(self, shape: Shape) -> Learned | None:
        """Return what reads documents of this shape, None if they were not learned."""
        return self._learned.get(shape)

    def is_worth_learning(self, shape: Shape) -> bool:
        """Count a document, and tell whether there were so many of its kind that it should be learned."""
        if shape in self._learned or len(shape[0]) > _MOST_FIELDS:
            return False
        if len(self._seen) >= _COUNTED:
            self._seen.clear()
        seen = self._seen[shape] = self._seen.get(shape, 0) + 1
        return seen >= _WORTH_LEARNING

    def learn(self, shape: Shape, document: dict[str, Any]) -> Learned | None:
        """Learn a shape and return what reads it, or that it cannot be learned."""
        if len(self._learned) >= _LEARNED:
            self._learned.clear()
        self._seen.pop(shape, None)
        try:
            learned = Learned(document, shape[0])
        except (ValueError, TypeError):
            learned = None
        self._learned[shape] = learned
        return learned


class Expected:
    """
    What is expected of the documents of one request.

    Args:
        shapes: What was learned so far.
    """

    __slots__ = ("_learned", "_left", "_missed", "_notes", "_shapes")

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._learned: Learned | None = None
        self._left = _LEARNED_A_REQUEST
        self._missed = 0
        self._notes = _NOTES_A_REQUEST

    def read(self, raw: bytes) -> dict[str, Any] | None:
        """Return a document's fields with dotted names; None if it is not as expected."""
        learned = self._learned
        if learned is None:
            return None
        try:
            fields = learned.read(raw)
        except (ValueError, RecursionError):
            self._missed += 1
            if self._missed >= _PATIENCE:
                self._learned = None
            return None
        self._missed = 0
        return fields

    def note(self, document: dict[str, Any], fields: dict[str, Any]) -> None:
        """
        Note a document that was read in the usual way.

        Args:
            document: As it was nested.
            fields: With dotted names.
        """
        if self._missed >= _PATIENCE or not self._notes:
            return
        self._notes -= 1
        shape = tuple(fields), tuple(map(type, fields.values()))
        if (learned := self._shapes.find(shape)) is not None:
            self._learned = learned
        elif self._left and self._shapes.is_worth_learning(shape):
            self._left -= 1
            self._learned = self._shapes.learn(shape, document)
