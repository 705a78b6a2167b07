"""Which fields of well-known JSON log formats say what. Pure."""

from collections.abc import Mapping
from typing import Final

import msgspec

from gateway.protocols.documents import Names
from gateway.protocols.levels import LevelName, of_pino, of_python, of_syslog

_PINO_FIRST: Final = 10


def _guessed(number: int) -> LevelName | None:
    """Return the level of a number of which nothing else is known: pino's from 10 on, syslog's below."""
    return of_pino(number) if number >= _PINO_FIRST else of_syslog(number)


_TIME: Final = ("@timestamp", "timestamp", "time", "ts", "date", "_time", "datetime", "eventTime")
_MESSAGE: Final = ("message", "msg", "log", "_msg", "MESSAGE", "body", "event", "short_message", "text")
_LEVEL: Final = ("level", "severity", "log.level", "loglevel", "lvl", "severity_text", "levelname", "PRIORITY")
_SERVICE: Final = (
    "service.name", "service", "serviceName", "service_name", "app", "application", "app_name", "kubernetes.labels.app",
    "kubernetes.container_name", "container_name", "SYSLOG_IDENTIFIER", "PROGRAM", "logger",
)  # fmt: skip
_OWN_ID: Final = ("eventId", "log.record.uid", "__CURSOR")
_HOST: Final = ("host.name", "hostname", "host", "kubernetes.pod_name", "_HOSTNAME", "HOST")
_FILE: Final = ("log.file.path", "file", "path", "filename", "pid", "container_id")

GUESSED: Final = Names(_TIME, _MESSAGE, _LEVEL, _SERVICE, _OWN_ID, _HOST, _FILE, _guessed)
"""For documents of which nothing is known."""

BULK: Final = Names(
    time=_TIME,
    message=("message", "event.original", *_MESSAGE[1:]),
    level=("log.level", *(name for name in _LEVEL if name != "log.level")),
    service=(
        "service.name",
        "kubernetes.labels.app",
        "container.name",
        "kubernetes.container.name",
        *_SERVICE[1:],
        "agent.name",
        "data_stream.dataset",
    ),
    own_id=(),
    host=_HOST,
    file=("log.file.path", "agent.id", *_FILE[1:]),
    number=_guessed,
)
"""For what is sent to Elasticsearch: its Common Schema first."""

HEC: Final = Names(
    time=_TIME,
    # `line` is what Docker's driver has of a container.
    message=("message", "msg", "line", "line.message", "line.msg", *_MESSAGE[2:]),
    level=("severity", *(name for name in _LEVEL if name != "severity"), "otel.log.severity.text", "line.level"),
    service=(
        *(name for name in _SERVICE if name not in {"PROGRAM", "logger"}),
        "k8s.container.name",
        "kubernetes.container.name",
        "container.name",
    ),
    own_id=_OWN_ID,
    host=_HOST,
    file=("log.file.path", "k8s.pod.uid", "pod", "container_id"),
    number=_guessed,
)
"""For what is sent to Splunk. Its source is a better name of a service than a logger is."""

PRESETS: Final[Mapping[str, Names]] = {
    "pino": msgspec.structs.replace(
        GUESSED, time=("time",), message=("msg", "message"), service=("name", "service"), number=of_pino
    ),
    "bunyan": msgspec.structs.replace(GUESSED, time=("time",), message=("msg",), service=("name",), number=of_pino),
    "ecs": msgspec.structs.replace(BULK, own_id=("event.id", *_OWN_ID)),
    "docker": msgspec.structs.replace(
        GUESSED,
        time=("time",),
        message=("log",),
        service=("attrs.tag", "tag", "container_name"),
        file=("stream", "container_id"),
    ),
    "fluentbit": msgspec.structs.replace(
        GUESSED,
        time=("date", "@timestamp", "timestamp", "time"),
        message=("log", "message", "MESSAGE", "msg"),
        service=("kubernetes.labels.app", "kubernetes.container_name", *_SERVICE),
        file=("file", "kubernetes.docker_id", "stream"),
    ),
    "vector": msgspec.structs.replace(
        GUESSED,
        time=("timestamp",),
        message=("message",),
        service=(
            "service",
            "kubernetes.pod_labels.app",
            "kubernetes.container_name",
            "container_name",
            "appname",
            "source_type",
        ),
        host=("host", "kubernetes.pod_name"),
        file=("file", "container_id"),
    ),
    "journald": Names(
        time=("_SOURCE_REALTIME_TIMESTAMP", "__REALTIME_TIMESTAMP"),
        message=("MESSAGE",),
        level=("PRIORITY",),
        service=("SYSLOG_IDENTIFIER", "_SYSTEMD_UNIT", "_COMM"),
        own_id=("__CURSOR",),
        host=("_HOSTNAME",),
        file=("_BOOT_ID",),
        number=of_syslog,
    ),
    # Its HTTP transport puts the record into `params` up to version 2.
    "winston": msgspec.structs.replace(
        GUESSED,
        time=("timestamp", "time", "params.meta.timestamp"),
        message=("message", "params.message"),
        level=("level", "params.level"),
        service=(*_SERVICE, "params.meta.service"),
    ),
    "python": msgspec.structs.replace(
        GUESSED,
        time=("created", "timestamp", "time", "asctime"),
        message=("message", "msg"),
        level=("levelname", "level", "levelno"),
        service=("service", "app", "name", "logger"),
        number=of_python,
    ),
    "gelf": msgspec.structs.replace(
        GUESSED,
        time=("timestamp",),
        message=("short_message", "full_message"),
        level=("level",),
        service=("_service", "_app", "_application_name", "_container_name", "facility", "host"),
        number=of_syslog,
    ),
}
