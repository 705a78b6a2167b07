"""`python docs/write_clients.py`: writes the table of tested clients into docs/front-door.md. A test compares."""

import sys

from collections.abc import Iterator
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "integration-tests")]

from clients.table import CLIENTS, Client, Then  # noqa: E402 - the repository has to be found first

PAGE: Final = ROOT / "docs/front-door.md"
BEGIN: Final = "<!-- clients: made by python docs/write_clients.py -->\n"
END: Final = "<!-- /clients -->\n"
HEAD: Final = """
| client | protocol | version | after 503 with `Retry-After: 1` | after a reset | after a connection that ends without an answer | when, and how often |
| --- | --- | --- | --- | --- | --- | --- |
"""
WORDS: Final = {
    Then.AGAIN: "same bytes again",
    Then.MERGED: "again, with newer records",
    Then.NEVER: "**not again**",
}


def section() -> str:
    """Return the section, with its first and last line."""
    return BEGIN + HEAD + "".join(_rows()) + "\n" + END


def _rows() -> Iterator[str]:
    for client in CLIENTS:
        cells = (client.name, client.protocol, client.version, *_words(client), client.how)
        yield f"| {' | '.join(cells)} |\n"


def _words(client: Client) -> tuple[str, str, str]:
    unheard = client.unheard
    return WORDS[unheard.refused], WORDS[unheard.reset], WORDS[unheard.hung_up]


def page(now: str) -> str:
    """Return the page with the section as it should be."""
    before, _, rest = now.partition(BEGIN)
    return before + section() + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text()))
