"""The clients: what each is, how its program is called, and what it does when it is not heard. Tests hold each to its row."""

from dataclasses import dataclass
from enum import Enum
from typing import Final, Literal

from testbed.proxy import Act

Protocol = Literal["OTLP", "Loki", "`_bulk`", "HEC"]


class Then(Enum):
    """What a client does with a request that was not answered with success."""

    AGAIN = "sends the same bytes again"
    MERGED = "sends the records again, with newer ones"
    NEVER = "does not send it again"


class Outcome(Enum):
    """What becomes of the records of a request."""

    ONCE = "each is stored once"
    LOST = "none is stored"
    TWICE = "none is lost, and those that were stored may be stored again"


@dataclass(frozen=True)
class Unheard:
    """
    What a client does that gets no answer of success.

    Attributes:
        refused: After 503 with `Retry-After: 1`.
        reset: After a reset of its connection.
        hung_up: After the end of its connection, without an answer.
    """

    refused: Then
    reset: Then
    hung_up: Then


@dataclass(frozen=True)
class Client:
    """
    A client.

    Attributes:
        name: Its name, as people know it.
        protocol: What it speaks.
        version: The version in the lock of its kit.
        kit: What `install.py` installs for it.
        program: Name of its program in `client-programs`, and arguments before the common ones.
        unheard: What it does without an answer of success.
        how: When it tries again and how often, unless it is told otherwise.
        tells: Whether it tells the program that it gave records up.
    """

    name: str
    protocol: Protocol
    version: str
    kit: str
    program: tuple[str, ...]
    unheard: Unheard
    how: str
    tells: bool = True

    @property
    def id(self) -> str:
        """Its name, as a test's and as part of a service's name."""
        return "-".join(self.name.replace("@", "").replace("/", " ").replace(",", "").split()).lower()

    def then(self, act: Act) -> Then | None:
        """Return what it does with a request that this was done to; None if it was answered."""
        match act:
            case Act.REFUSE:
                return self.unheard.refused
            case Act.RESET | Act.SWALLOW:
                return self.unheard.reset
            case Act.HANG_UP:
                return self.unheard.hung_up
            case Act.PASS | Act.DELAY:
                return None

    def outcome(self, act: Act) -> Outcome:
        """Return what becomes of the records of a request that this was done to."""
        reached = act not in (Act.REFUSE, Act.RESET)
        match self.then(act):
            case Then.NEVER if not reached:
                return Outcome.LOST
            # Its times are whole milliseconds, so only equal requests are known as retries, and these differ.
            case Then.MERGED if reached:
                return Outcome.TWICE
            case _:
                return Outcome.ONCE


_ALWAYS: Final = Unheard(Then.AGAIN, Then.AGAIN, Then.AGAIN)
_MERGED: Final = Unheard(Then.MERGED, Then.MERGED, Then.MERGED)
_NEVER: Final = Unheard(Then.NEVER, Then.NEVER, Then.NEVER)

CLIENTS: Final = (
    Client(
        "OpenTelemetry for Python",
        "OTLP",
        "1.45.2",
        "python-otlp",
        ("send_otlp.py",),
        _ALWAYS,
        "503: after `Retry-After`, else after 1, 2, 4, 8 s. A broken connection: at once, then so. Gives up after 10 s in all.",
    ),
    Client(
        "OpenTelemetry for JavaScript, JSON",
        "OTLP",
        "0.220.0",
        "javascript",
        ("send_otlp.js", "json"),
        _ALWAYS,
        "After `Retry-After`, else after 1, 1.5, 2.3, 3.4, 5 s; gives up after 10 s in all.",
    ),
    Client(
        "OpenTelemetry for JavaScript, protobuf",
        "OTLP",
        "0.220.0",
        "javascript",
        ("send_otlp.js", "protobuf"),
        _ALWAYS,
        "As with JSON.",
    ),
    Client(
        "OpenTelemetry for Java",
        "OTLP",
        "1.68.0",
        "java",
        ("SendOtlp",),
        Unheard(Then.AGAIN, Then.AGAIN, Then.NEVER),
        "After `Retry-After`, else after 1, 1.5, 2.3, 3.4 s; gives up after 10 s in all.",
    ),
    Client(
        "elasticsearch-py 9",
        "`_bulk`",
        "9.5.1",
        "python-elasticsearch-9",
        ("send_bulk.py", "elasticsearch"),
        _ALWAYS,
        "Three times, at once, whatever `Retry-After` says.",
    ),
    Client(
        "elasticsearch-py 8",
        "`_bulk`",
        "8.19.3",
        "python-elasticsearch-8",
        ("send_bulk.py", "elasticsearch"),
        _ALWAYS,
        "Three times, at once, whatever `Retry-After` says.",
    ),
    Client(
        "opensearch-py",
        "`_bulk`",
        "3.2.0",
        "python-others",
        ("send_bulk.py", "opensearchpy"),
        _ALWAYS,
        "Three times, at once, whatever `Retry-After` says; not after 429.",
    ),
    Client(
        "@elastic/elasticsearch",
        "`_bulk`",
        "8.19.1",
        "javascript",
        ("send_bulk.js",),
        _ALWAYS,
        "Three times, whatever `Retry-After` says: after 503 at once, after a broken connection in 1 to 2 s; not after 429.",
    ),
    Client(
        "syslog-ng",
        "`_bulk`",
        "3.38.1 of Debian 12",
        "syslog-ng",
        ("send_syslog_ng.py",),
        _ALWAYS,
        "After `time-reopen`, whatever `Retry-After` says, and for ever.",
        tells=False,
    ),
    Client(
        "splunk-handler",
        "HEC",
        "3.0.0",
        "python-others",
        ("send_splunk_handler.py",),
        _ALWAYS,
        "Five times: 503 after `Retry-After`, a broken connection at once, and then after 4, 8, 16 and 32 s. Writes a line to the console.",
    ),
    Client(
        "loki4j",
        "Loki",
        "2.1.0",
        "java",
        ("SendLoki4j",),
        Unheard(Then.AGAIN, Then.NEVER, Then.NEVER),
        "Twice, after about 0.7 and 1.1 s, whatever `Retry-After` says. What is lost is a warning in Logback's status.",
        tells=False,
    ),
    Client(
        "winston-loki",
        "Loki",
        "6.1.7",
        "javascript",
        ("send_winston_loki.js",),
        _MERGED,
        "After a minute, and then for ever. If only the answer got lost, its records are stored twice.",
        tells=False,
    ),
    Client(
        "pino-loki",
        "Loki",
        "2.6.0",
        "javascript",
        ("send_pino_loki.js",),
        _NEVER,
        "Writes a line to the console.",
    ),
    Client(
        "python-logging-loki",
        "Loki",
        "0.3.1",
        "python-others",
        ("send_python_logging_loki.py",),
        _NEVER,
        "Calls `handleError`.",
    ),
    Client(
        "loki-logger-handler",
        "Loki",
        "1.1.2",
        "python-others",
        ("send_loki_logger_handler.py",),
        _NEVER,
        "Sets `handler.error`, and writes nothing unless asked to. A request in flight when Python ends is not waited for.",
    ),
)
