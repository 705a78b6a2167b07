"""
Failpoints: where in the consumer's work a test can have its process killed, so that nothing is tidied up.

`CONSUMER_FAILPOINT=before-commit:3` kills at the third arrival there. Without it a failpoint costs one call that does nothing,
once a batch.

* after-decode         records were read and decoded
* before-commit        rows and progress are written, COMMIT is not sent
* after-commit         COMMIT was answered; nothing is remembered
* after-remember       the caches know the ids; Kafka has no offset
* after-offset-commit  Kafka has the offset
"""

import os
import signal

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, get_args

import structlog

log: Final = structlog.stdlib.get_logger(__name__)

FailpointName = Literal["after-decode", "before-commit", "after-commit", "after-remember", "after-offset-commit"]
Arrive = Callable[[FailpointName], None]
FAILPOINT_NAMES: Final[tuple[FailpointName, ...]] = get_args(FailpointName)


def pass_by(_place: FailpointName) -> None:
    """Do nothing; the default."""


def failpoint(wanted: str) -> Arrive:
    """
    Return what to call on arrival at a failpoint.

    Args:
        wanted: `none`, the name of a failpoint, or `NAME:N` for the N-th arrival there.

    Raises:
        ValueError: It is none of these; says what is.
    """
    if wanted == "none":
        return pass_by
    name, separator, number = wanted.partition(":")
    place = next((place for place in FAILPOINT_NAMES if place == name), None)
    arrivals = int(number) if number.isascii() and number.isdecimal() else 0
    if place is None or (separator and arrivals < 1):
        raise ValueError(
            f"must be none, or one of {', '.join(FAILPOINT_NAMES)}, "
            f"with :N for the N-th arrival, N from 1 on where it is given; not {wanted!r}"
        )
    return _Failpoint(place, arrivals if separator else 1)


@dataclass(slots=True)
class _Failpoint:
    place: FailpointName
    left: int

    def __call__(self, place: FailpointName) -> None:
        if place != self.place:
            return
        self.left -= 1
        if self.left == 0:
            log.critical("failpoint reached", place=place)
            _die()


def _die() -> None:
    # Not an exit: a crash runs no handler, flushes no buffer and tells no server.
    os.kill(os.getpid(), signal.SIGKILL)
