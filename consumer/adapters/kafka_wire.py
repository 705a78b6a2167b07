"""A question to the broker that the client library does not know: the ids of topics."""

from collections.abc import Collection, Mapping
from io import BytesIO
from typing import Any, Final
from uuid import UUID

from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

# Brokers give ids from this version of the question on; 4.0 and later do not answer much elder ones.
_VERSION: Final = 10
_METADATA: Final = 3
_NO_ID: Final = UUID(int=0)


class _Id:
    """Sixteen bytes, as the library's types are written."""

    @classmethod
    def encode(cls, value: UUID) -> bytes:
        return value.bytes

    @classmethod
    def decode(cls, data: BytesIO) -> UUID:
        return UUID(bytes=data.read(16))


def _fields(kind: type[Array], *fields: tuple[str, Any]) -> Array:
    return kind(*fields, ("tags", TaggedFields))


class _TopicsResponse(Response):  # type: ignore[misc]  # the library ships no types
    API_KEY = _METADATA
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            _fields(
                CompactArray, ("node_id", Int32), ("host", CompactString()), ("port", Int32), ("rack", CompactString())
            ),
        ),
        ("cluster_id", CompactString()),
        ("controller_id", Int32),
        (
            "topics",
            _fields(
                CompactArray,
                ("error_code", Int16),
                ("name", CompactString()),
                ("topic_id", _Id),
                ("is_internal", Boolean),
                (
                    "partitions",
                    _fields(
                        CompactArray,
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                    ),
                ),
                ("authorized_operations", Int32),
            ),
        ),
        ("cluster_authorized_operations", Int32),
        ("tags", TaggedFields),
    )


class _TopicsStruct(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = _METADATA
    API_VERSION = _VERSION
    RESPONSE_TYPE = _TopicsResponse
    SCHEMA = Schema(
        ("topics", _fields(CompactArray, ("topic_id", _Id), ("name", CompactString()))),
        ("allow_auto_topic_creation", Boolean),
        ("include_cluster_authorized_operations", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsRequest(Request[_TopicsStruct]):  # type: ignore[misc]
    """Ask about topics, by name."""

    API_KEY = _METADATA

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_TopicsStruct]) -> _TopicsStruct:
        """Fill the form in."""
        make_topics = tell_operations = False
        names: list[tuple[UUID, str, dict[int, bytes]]] = [(_NO_ID, name, {}) for name in self._topics]
        return request_struct_class(names, make_topics, tell_operations, tell_operations, {})


def topic_ids(response: Any) -> Mapping[str, str]:
    """Return the ids of those topics that exist."""
    return {name: str(topic_id) for code, name, topic_id, *_ in response.topics if code == 0 and topic_id != _NO_ID}
