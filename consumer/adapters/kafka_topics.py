"""
Which partitions a topic has, and which topic it is.

The broker gives each topic an id when it is made, so one that was deleted and made again under the same name is told from
the one before.

The client library asks in a form that is older than these ids. This is the same question in the form of Kafka 3.1 (version 12),
about some topics by their names; it makes none.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from aiokafka.client import AIOKafkaClient
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import AbstractType as _Type
from aiokafka.protocol.types import Boolean, CompactArray, CompactString, Int16, Int32, Schema, TaggedFields

_METADATA: Final = 3
_VERSION: Final = 12
# Unknown, or without a leader because it is being made.
_NOT_THERE: Final = (3, 5)
_NO_ID: Final = bytes(16)


@dataclass(frozen=True, slots=True)
class Topic:
    """
    A topic.

    Attributes:
        id: Which one; no other ever has it.
        partitions: Its partitions' numbers, ascending.
    """

    id: str
    partitions: tuple[int, ...]


async def find_topics(client: AIOKafkaClient, names: Collection[str]) -> Mapping[str, Topic]:
    """
    Ask for those of these topics that there are.

    Raises:
        KafkaError: Kafka did not say.
    """
    answer = await client.send(client.get_random_node(), _Question(names))
    found = {}
    for error, name, identity, _, partitions, *_ in answer.topics:
        if error in _NOT_THERE:
            continue
        if error:
            raise for_code(error)(f"topic {name}")
        found[name] = Topic(identity.hex(), tuple(sorted(number for _, number, *_ in partitions)))
    return found


class _Id(_Type[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(len(_NO_ID))


class _Answer(Response):  # type: ignore[misc]
    API_KEY = _METADATA
    API_VERSION = _VERSION
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("name", CompactString("utf-8")),
                ("topic_id", _Id),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("in_sync", CompactArray(Int32)),
                        ("offline", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _Asked(RequestStruct):  # type: ignore[misc]
    API_KEY = _METADATA
    API_VERSION = _VERSION
    FLEXIBLE_VERSION = True
    RESPONSE_TYPE = _Answer
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Id), ("name", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class _Question(Request[_Asked]):  # type: ignore[misc]
    API_KEY = _METADATA

    def __init__(self, names: Collection[str]) -> None:
        self._names = names

    def build(self, request_struct_class: type[_Asked]) -> Any:
        return request_struct_class([(_NO_ID, name, {}) for name in self._names], False, False, {})  # noqa: FBT003
