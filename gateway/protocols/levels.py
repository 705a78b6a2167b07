"""Severities as numbers, and as words in any way they are written. Pure."""

from collections.abc import Sequence
from typing import Final

from shared.event.levels import BY_NAME, LEVELS, USUAL, LevelName

_SYSLOG: Final[Sequence[LevelName]] = ("FATAL", "FATAL", "FATAL", "ERROR", "WARN", "INFO", "INFO", "DEBUG")
_OTLP_STEP: Final = 4
_OTLP_LAST: Final = 24


def of_word(word: str) -> LevelName | None:
    """Return the level that a severity's name means, None if it is none that is known."""
    if (level := USUAL.get(word)) is not None:
        return level
    word = word.strip()
    return BY_NAME.get(word.lower()) if word.isascii() else None


def of_otlp(number: int) -> LevelName | None:
    """Return the level of OpenTelemetry's numbers 1 to 24, None for others."""
    return LEVELS[(number - 1) // _OTLP_STEP] if 1 <= number <= _OTLP_LAST else None


def of_syslog(number: int) -> LevelName | None:
    """Return the level of syslog's and journald's numbers 0 to 7, None for others."""
    return _SYSLOG[number] if 0 <= number < len(_SYSLOG) else None


def of_pino(number: int) -> LevelName | None:
    """Return the level of pino's and bunyan's numbers, 10 (trace) to 60 (fatal) and what lies between; None below 10."""
    return LEVELS[min(number // 10, len(LEVELS)) - 1] if number >= 10 else None  # noqa: PLR2004


def of_python(number: int) -> LevelName | None:
    """Return the level of Python's numbers, 10 (debug) to 50 (critical) and what lies between; None below 0."""
    return LEVELS[min(number // 10, len(LEVELS) - 1)] if number >= 0 else None


__all__ = ["LEVELS", "LevelName", "of_otlp", "of_pino", "of_python", "of_syslog", "of_word"]
