"""Levers that are taken back, also after errors."""

import re

from collections.abc import Awaitable, Callable
from typing import Final

from chaos.fleet import LeverError, pull
from loadtest.scenarios import INVERSE

_STAMP: Final = re.compile(r"^(\x1b\[\d*m)?\[ *\d+s\](\x1b\[0m)? ?|\x1b\[\d*m")


class Levers:
    """
    Pulls levers, and remembers which have to be taken back.

    Args:
        say: Shows a line of progress.
        pull: Pulls one lever.

    Attributes:
        trouble: Errors while levers were taken back.
    """

    def __init__(self, say: Callable[[str], None], pull: Callable[..., Awaitable[str]] = pull) -> None:
        self._say = say
        self._pull = pull
        self._due: dict[tuple[str, str], None] = {}
        self.trouble: list[str] = []

    async def pull(self, verb: str, target: str) -> None:
        """
        Pull one lever.

        Raises:
            LeverError: `./setup.sh` refused or failed.
        """
        if verb in INVERSE:
            # Note the lever first, so that one which fails or is interrupted halfway is taken back, too.
            self._due[INVERSE[verb], target] = None
        said = await self._pull(verb, target)
        self._due.pop((verb, target), None)
        self._say(f"{verb} {target}: {_gist(said)}")

    async def take_back(self) -> None:
        """Pull the inverse of each lever in effect, the last one first."""
        for verb, target in reversed(tuple(self._due)):
            try:
                await self.pull(verb, target)
            except LeverError as exc:
                self._say(f"NOT TAKEN BACK: {exc}")
                self.trouble.append(str(exc))


def _gist(said: str) -> str:
    lines = [_STAMP.sub("", line).strip() for line in said.splitlines()]
    return "; ".join(line for line in lines if line) or "done"
