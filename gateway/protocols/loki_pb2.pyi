from collections.abc import Iterable as _Iterable
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar

from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from google.protobuf.internal import containers as _containers

DESCRIPTOR: _descriptor.FileDescriptor

class PushRequest(_message.Message):
    __slots__ = ("streams",)
    STREAMS_FIELD_NUMBER: _ClassVar[int]
    streams: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, streams: _Iterable[bytes] | None = ...) -> None: ...

class Stream(_message.Message):
    __slots__ = ("entries", "labels")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    labels: bytes
    entries: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, labels: bytes | None = ..., entries: _Iterable[bytes] | None = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("line", "structured_metadata", "timestamp")
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    STRUCTURED_METADATA_FIELD_NUMBER: _ClassVar[int]
    timestamp: Timestamp
    line: bytes
    structured_metadata: _containers.RepeatedCompositeFieldContainer[LabelPair]
    def __init__(
        self,
        timestamp: Timestamp | _Mapping | None = ...,
        line: bytes | None = ...,
        structured_metadata: _Iterable[LabelPair | _Mapping] | None = ...,
    ) -> None: ...

class Timestamp(_message.Message):
    __slots__ = ("nanos", "seconds")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    NANOS_FIELD_NUMBER: _ClassVar[int]
    seconds: int
    nanos: int
    def __init__(self, seconds: int | None = ..., nanos: int | None = ...) -> None: ...

class LabelPair(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    value: bytes
    def __init__(self, name: bytes | None = ..., value: bytes | None = ...) -> None: ...
