"""
Which partitions a topic has, and which topic it is.

The broker gives each topic an id when it is made. So a topic that was deleted and made again under the same name differs from
the one before. The client library asks in a form that is older than these ids; this is the first form that has them, of
Kafka 2.8. It asks about some topics by their names, and makes none.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final
from uuid import UUID

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import AbstractType as _Type
from aiokafka.protocol.types import Array, Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

_VERSION: Final = 10
_METADATA: Final = 3
_NO_ID: Final = UUID(int=0)
# Unknown, or without a leader because it is being made.
_NOT_THERE: Final = (3, 5)


@dataclass(frozen=True, slots=True)
class Topic:
    """
    A topic.

    Attributes:
        id: Which one; no other ever has it. None where the broker gives none.
        partitions: Its partitions' numbers, ascending.
    """

    id: UUID | None
    partitions: tuple[int, ...]


async def find_topics(client: AIOKafkaClient, names: Collection[str]) -> Mapping[str, Topic]:
    """
    Ask for those of these topics that there are.

    Raises:
        KafkaError: Kafka did not say.
        IncompatibleBrokerVersion: It is too old to know ids.
    """
    answer = await client.send(client.get_random_node(), _TopicsRequest(names))
    found = {}
    for error, name, identity, _, partitions, *_ in answer.topics:
        if error in _NOT_THERE:
            continue
        if error:
            raise for_code(error)(f"topic {name}")
        numbers = tuple(sorted(number for _, number, *_ in partitions))
        found[name] = Topic(None if identity == _NO_ID else identity, numbers)
    return found


class _Id(_Type[UUID]):  # type: ignore[misc]
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


class _TopicsRequest(Request[_TopicsStruct]):  # type: ignore[misc]
    """Ask about topics, by name."""

    API_KEY = _METADATA

    def __init__(self, topics: Collection[str]) -> None:
        self._topics = topics

    def build(self, request_struct_class: type[_TopicsStruct]) -> _TopicsStruct:
        """Fill the form in."""
        make_topics = tell_operations = False
        names: list[tuple[UUID, str, dict[int, bytes]]] = [(_NO_ID, name, {}) for name in self._topics]
        return request_struct_class(names, make_topics, tell_operations, tell_operations, {})
