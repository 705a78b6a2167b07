"""
Which rows are wanted: one object for the search, which PostgreSQL does, and for the tail, which is filtered in memory. Pure.

`Filter.matches` and `Filter.conditions` say the same; a property test holds them together.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property
from hashlib import blake2b
from typing import Any, Final

from console.caseless import Needle
from console.row import Row
from shared.event.json_text import NotJSONError, parse_json


class Values:
    """Values of a statement's parameters, in the order of their numbers."""

    def __init__(self, *first: Any) -> None:
        self.all: list[Any] = list(first)

    def add(self, value: Any) -> str:
        """Take one more; return how the statement calls it."""
        self.all.append(value)
        return f"${len(self.all)}"


@dataclass(frozen=True, slots=True)
class Attribute:
    """
    What an attribute must be.

    Attributes:
        name: Of it.
        value: JSON of a scalar that it must equal; None: it must only be there.
    """

    name: str
    value: str | None = None

    def is_in(self, attributes: dict[str, Any]) -> bool:
        """Tell whether attributes have it."""
        if self.name not in attributes:
            return False
        if self.value is None:
            return True
        wanted, found = parse_json(self.value.encode()), attributes[self.name]
        # True is no number, although Python thinks so.
        return isinstance(wanted, bool) == isinstance(found, bool) and bool(wanted == found)


@dataclass(frozen=True)
class Filter:
    """
    What a row must be; one that is left as it is lets everything through.

    Attributes:
        services: Names, of which it must have one, or begin with one of `service_prefixes`.
        service_prefixes: See there.
        levels: Of which it must have one; None: any.
        correlation_id: Exactly.
        region: Where the event was acknowledged.
        late: Whether it came too late to be put in order.
        late_reason: Why.
        stored_by: Which consumer stored it.
        contains: Texts that its message must contain, in any case.
        lacks: Texts that its message must not contain.
        attributes: What its attributes must be.
    """

    services: tuple[str, ...] = ()
    service_prefixes: tuple[str, ...] = ()
    levels: tuple[str, ...] | None = None
    correlation_id: str | None = None
    region: str | None = None
    late: bool | None = None
    late_reason: str | None = None
    stored_by: str | None = None
    contains: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    attributes: tuple[Attribute, ...] = ()

    def matches(self, row: Row) -> bool:
        """Tell whether a row is wanted."""
        exact = (
            (self.correlation_id, row.correlation_id),
            (self.region, row.origin_region),
            (self.late, row.late),
            (self.late_reason, row.late_reason),
            (self.stored_by, row.stored_by),
        )
        if any(wanted is not None and wanted != found for wanted, found in exact):
            return False
        if self.levels is not None and row.level not in self.levels:
            return False
        if (self.services or self.service_prefixes) and not (
            row.service_name in self.services or row.service_name.startswith(self.service_prefixes)
        ):
            return False
        contains, lacks = self._needles
        if not all(needle.is_in(row.message) for needle in contains):
            return False
        if any(needle.is_in(row.message) for needle in lacks):
            return False
        return not self.attributes or self._has_attributes(row.attributes)

    def conditions(self, values: Values) -> list[str]:
        """
        Return what a statement's WHERE has to demand, all of it.

        Args:
            values: Gets what the conditions name by number.
        """
        exact: tuple[tuple[str, Any], ...] = (
            ("correlation_id", self.correlation_id),
            ("origin_region", self.region),
            ("late_reason", self.late_reason),
            ("stored_by", self.stored_by),
        )
        found = [f"{column} = {values.add(wanted)}" for column, wanted in exact if wanted is not None]
        if self.late is not None:
            found.append("late" if self.late else "NOT late")
        if self.levels is not None:
            found.append(f"level = ANY({values.add(list(self.levels))}::text[])")
        services = []
        if self.services:
            services.append(f"service_name = ANY({values.add(list(self.services))}::text[])")
        services += [f"starts_with(service_name, {values.add(prefix)})" for prefix in self.service_prefixes]
        if services:
            found.append(f"({' OR '.join(services)})")
        contains, lacks = self._needles
        found += [f"{_place(needle, values)} > 0" for needle in contains]
        found += [f"{_place(needle, values)} = 0" for needle in lacks]
        for attribute in self.attributes:
            name = values.add(attribute.name)
            if attribute.value is None:
                found.append(f"attributes ? {name}")
            else:
                found.append(f"attributes -> {name}::text = {values.add(attribute.value)}::jsonb")
        return found

    @property
    def is_indexed(self) -> bool:
        """Whether an index leads to the few rows that are wanted, so that a wide span is no more work than a narrow one."""
        return self.correlation_id is not None

    @cached_property
    def fingerprint(self) -> bytes:
        """Eight bytes that differ for different filters."""
        said = [(one.name, getattr(self, one.name)) for one in fields(self)]
        return blake2b(repr(said).encode(errors="surrogatepass"), digest_size=8).digest()

    @cached_property
    def _needles(self) -> tuple[Sequence[Needle], Sequence[Needle]]:
        return [Needle(text) for text in self.contains], [Needle(text) for text in self.lacks]

    def _has_attributes(self, written: str) -> bool:
        try:
            attributes = parse_json(written.encode())
        except NotJSONError:
            return False
        return all(attribute.is_in(attributes) for attribute in self.attributes)


def _place(needle: Needle, values: Values) -> str:
    message = 'message COLLATE "C"'
    if needle.forms:
        message = f"translate({message}, {values.add(needle.forms)}, {values.add(needle.instead)})"
    return f"strpos(lower({message}), {values.add(needle.folded)})"


EVERYTHING: Final = Filter()
