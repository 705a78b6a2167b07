"""
Whether a text matches an expression, in a time that no expression can make long. Pure.

Python's own engine tries one way after the other, and there are expressions of which it never ends. Here all places where a match may
be are followed at once.
"""

from bisect import bisect_right

from console.loki.expressions import WORD, Border, Chars, Choice, InOrder, Node, Ranges, Repeat

Places = frozenset[int]


def ends(node: Node, text: str, begins: Places) -> Places:
    """Return where matches may end that begin at one of these places."""
    match node:
        case Chars(ranges, negated):
            return frozenset(at + 1 for at in begins if at < len(text) and _has(ranges, text[at]) is not negated)
        case Border(kind):
            return frozenset(at for at in begins if _is_border(kind, text, at))
        case InOrder(parts):
            for part in parts:
                begins = ends(part, text, begins)
            return begins
        case Choice(branches):
            return frozenset().union(*(ends(branch, text, begins) for branch in branches))
        case Repeat():
            return _repeated(node, text, begins)


def _repeated(node: Repeat, text: str, begins: Places) -> Places:
    for _ in range(node.least):
        if not begins:
            return begins
        begins = ends(node.of, text, begins)
    found, times = begins, node.least
    while begins and (node.most is None or times < node.most):
        # A place that was reached with fewer times needs no second look.
        begins = ends(node.of, text, begins) - found
        found |= begins
        times += 1
    return found


def _has(ranges: Ranges, letter: str) -> bool:
    code = ord(letter)
    at = bisect_right(ranges, (code, code)) - 1
    # A range that begins with this very letter, and ends later, comes behind.
    return any(low <= code <= high for low, high in ranges[max(at, 0) : at + 2])


def _is_border(kind: str, text: str, at: int) -> bool:
    if kind in ("begin", "end"):
        return at == (0 if kind == "begin" else len(text))
    before = at > 0 and _has(WORD, text[at - 1])
    behind = at < len(text) and _has(WORD, text[at])
    return (before is not behind) is (kind == "word")
