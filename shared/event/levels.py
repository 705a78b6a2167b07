"""
The names that logging systems give to severities, and what each is here. Pure.

Numbers are left out on purpose. 30 is WARNING in Python and INFO in pino; 3 is an error in syslog and an info in Ruby.
"""

from decimal import Decimal
from typing import Final, Literal, get_args

LevelName = Literal["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
LEVELS: Final[tuple[LevelName, ...]] = get_args(LevelName)

# syslog and journald; Python, loguru and structlog; java.util.logging, Log4j and Logback; .NET, Serilog and NLog with their
# short forms; slog, zap, zerolog, logrus and glog; pino, bunyan, winston and npm; Android's logcat and Timber; PostgreSQL, httpd.
_NAMES: Final[dict[LevelName, str]] = {
    "TRACE": "trace verbose finer finest silly prompt input trc trce vrb verb v",
    "DEBUG": "debug config fine http dbg dbug d",
    "INFO": "info notice information informational success log timing help data inf i",
    "WARN": "warn warning wrn w",
    "ERROR": "error err severe exception fail eror e",
    "FATAL": "fatal emerg emergency panic dpanic alert crit critical assert wtf ftl fatl pnc a f",
}
# Apache's trace1 to trace8, PostgreSQL's debug1 to debug5, OpenTelemetry's short names.
_NUMBERED: Final[dict[LevelName, range]] = {
    "TRACE": range(1, 9),
    "DEBUG": range(1, 6),
    "INFO": range(2, 5),
    "WARN": range(2, 5),
    "ERROR": range(2, 5),
    "FATAL": range(2, 5),
}
# slog writes what lies between its levels, which are four apart, as the distance to the next lower one.
_SLOG: Final = {"DEBUG": -4, "INFO": 0, "WARN": 4, "ERROR": 8}
_SLOG_FURTHEST: Final = 12


def _slog(value: int) -> LevelName:
    if value >= _SLOG["ERROR"] + 4:
        return "FATAL"
    if value >= _SLOG["ERROR"]:
        return "ERROR"
    if value >= _SLOG["WARN"]:
        return "WARN"
    if value >= _SLOG["INFO"]:
        return "INFO"
    return "DEBUG" if value >= _SLOG["DEBUG"] else "TRACE"


def _table() -> dict[str, LevelName]:
    table: dict[str, LevelName] = {name: level for level, names in _NAMES.items() for name in names.split()}
    for level, numbers in _NUMBERED.items():
        table |= {f"{level.lower()}{number}": level for number in numbers}
    for name, base in _SLOG.items():
        for distance in range(1, _SLOG_FURTHEST + 1):
            table[f"{name.lower()}+{distance}"] = _slog(base + distance)
            table[f"{name.lower()}-{distance}"] = _slog(base - distance)
    return table


BY_NAME: Final = _table()
"""One of `LEVELS` for each known name, in lower case."""

USUAL: Final = {form: level for name, level in BY_NAME.items() for form in (name, name.upper(), name.capitalize())}
"""The same for the three ways in which names are usually written, so that one look-up does."""


DESCRIPTION: Final = (
    "In any case; also by the names of syslog, Python, Java, .NET, Serilog, Go, Node and Android. "
    + ". ".join(
        f"{level}: {', '.join(name for name in names.split() if name != level.lower())}"
        for level, names in _NAMES.items()
    )
    + ". Numbers are refused, since they mean other things in other systems."
)
"""The table in words, for the reference."""


def parse_level(value: object) -> str:
    """
    Return the level that a severity's name stands for, in any case.

    Raises:
        ValueError: It is no name that is known.
    """
    # Letters outside ASCII may become ASCII ones in another case: the dotless i does.
    if isinstance(value, str) and value.isascii() and (level := BY_NAME.get(value.lower())):
        return level
    ours = ", ".join(LEVELS)
    if isinstance(value, int | float | Decimal) or (isinstance(value, str) and value.isascii() and value.isdecimal()):
        raise ValueError(f"must be one of {ours}; numbers mean other things in other systems, send the name")
    raise ValueError(f"must be one of {ours}, or what syslog and the usual libraries call them")
