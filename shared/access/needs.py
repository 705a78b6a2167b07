"""Which scopes a route asks for: a table, and nothing is allowed that is not in it. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from shared.access.scopes import ALL, Scope

Need = frozenset[Scope]
"""One of these suffices; none of them: no key is asked for."""

PUBLIC: Final[Need] = frozenset()
ANY_KEY: Final[Need] = ALL
WRITE: Final[Need] = frozenset({Scope.WRITE})
READ: Final[Need] = frozenset({Scope.READ})
SEEN: Final[Need] = frozenset({Scope.READ, Scope.OPS})
READS: Final = ("GET", "HEAD")


@dataclass(frozen=True, slots=True)
class Rule:
    """
    What one path asks for.

    Attributes:
        path: As routes have it. A part may be `{name}`, which any part matches; `/*` at the end matches all that is below.
        need: See `Need`.
        methods: For which; none: all that no earlier rule has.
    """

    path: str
    need: Need
    methods: tuple[str, ...] = ()


class Needs:
    """
    A table of rules, the first that matches is the one.

    Args:
        rules: In order.
    """

    def __init__(self, rules: Iterable[Rule]) -> None:
        rules = tuple(rules)
        self._exact: dict[str, list[Rule]] = {}
        for rule in rules:
            if "{" not in rule.path and not rule.path.endswith("/*"):
                self._exact.setdefault(rule.path, []).append(rule)
        self._else = [(rule, rule.path.split("/")) for rule in rules if rule.path not in self._exact]

    def of(self, method: str, path: str) -> Need | None:
        """Return what a request needs; None if no rule knows it."""
        for rule in self._exact.get(path, ()):
            if not rule.methods or method in rule.methods:
                return rule.need
        parts = path.split("/")
        for rule, pattern in self._else:
            if (not rule.methods or method in rule.methods) and _matches(pattern, parts):
                return rule.need
        return None


def _matches(pattern: list[str], parts: list[str]) -> bool:
    if pattern[-1] == "*":
        if len(parts) < len(pattern):
            return False
        pattern, parts = pattern[:-1], parts[: len(pattern) - 1]
    if len(pattern) != len(parts):
        return False
    return all(part == known or (known[:1] == "{" and part) for known, part in zip(pattern, parts, strict=True))


def named(need: Need) -> str:
    """Return the scopes of which one is needed, for a sentence."""
    return " or ".join(scope.value for scope in Scope if scope in need)
