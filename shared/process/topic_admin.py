"""
Topics of a Kafka: look at them, make them, alter them. The only module that knows aiokafka's admin client for that.

aiokafka can alter a topic's configuration only as a whole, which removes the settings of other programs and operators.
Kafka can alter setting by setting (IncrementalAlterConfigs), so this module has that request.
"""

import asyncio

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import (
    InvalidPartitionsError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

from shared.process.kafka_settings import OPEN, Access
from shared.wire.topic_needs import RETENTION, Change, Needs, Topic, config_for

REQUEST_TIMEOUT_MS = 5000
_LOOK_AGAIN_S: Final = 0.05
_TOPIC: Final = 2
_SET: Final = 0


class _AlterResponse(Response):  # type: ignore[misc]  # aiokafka tells no types
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "resources",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _AlterStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _AlterResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "config_entries",
                    Array(("name", String("utf-8")), ("operation", Int8), ("value", String("utf-8"))),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class _Alter(Request[_AlterStruct]):  # type: ignore[misc]
    API_KEY = 44

    def __init__(self, topic: str, changes: Sequence[Change]) -> None:
        self._resource = (_TOPIC, topic, [(change.name, _SET, change.new) for change in changes])

    def build(self, request_struct_class: type[_AlterStruct]) -> _AlterStruct:
        return request_struct_class([self._resource], False)  # noqa: FBT003 - fields of the wire format


class TopicAdmin:
    """
    Connected while inside; each call raises `KafkaError` when Kafka does not answer, or refuses.

    Args:
        bootstrap_servers: The Kafka.
        access: How it lets a client in.
    """

    def __init__(self, bootstrap_servers: str, access: Access = OPEN) -> None:
        self._admin = AIOKafkaAdminClient(
            bootstrap_servers=bootstrap_servers, request_timeout_ms=REQUEST_TIMEOUT_MS, **access
        )

    async def __aenter__(self) -> "TopicAdmin":
        try:
            await self._admin.start()
        except BaseException:
            await self._admin.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def read(self, configured: Collection[str]) -> dict[str, Topic]:
        """Return all topics that there are, and the configuration of those named."""
        found: dict[str, Sequence[Any]] = {}
        for topic in await self._admin.describe_topics():
            if topic["error_code"] and not topic["partitions"]:
                raise for_code(topic["error_code"])(topic["topic"])  # about to be made, or to go
            found[topic["topic"]] = topic["partitions"]
        configs = await self._configs([name for name in configured if name in found])
        return {
            name: Topic(
                name,
                len(partitions),
                min((len(partition["replicas"]) for partition in partitions), default=0),
                configs.get(name, {}),
            )
            for name, partitions in found.items()
        }

    async def _configs(self, names: Collection[str]) -> Mapping[str, Mapping[str, str]]:
        if not names:
            return {}
        found: dict[str, Mapping[str, str]] = {}
        for answer in await self._admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, n) for n in names]):
            for code, message, _, name, entries in answer.resources:
                if code:
                    raise for_code(code)(f"{name}: {message}")
                found[name] = {key: value for key, value, *_ in entries}
        return found

    async def create(self, names: Sequence[str], needs: Needs) -> list[str]:
        """Make topics; return the names of those that this call has made, and not another program meanwhile."""
        if not names:
            return []
        answer = await self._admin.create_topics(
            [
                NewTopic(name, needs.partitions, needs.replicas, topic_configs=config_for(name, needs, needs.replicas))
                for name in names
            ]
        )
        created = []
        for name, code, *message in answer.topic_errors:
            error = for_code(code)
            if not code:
                created.append(name)
            elif error is not TopicAlreadyExistsError:
                raise error(f"{name}: {message[0] if message else ''}")
        return created

    async def appear(self, names: Collection[str]) -> None:
        """Wait until topics that were just made can be seen: Kafka answers the request that makes them before that."""
        if not await self._seen(lambda topics: set(names) <= topics.keys()):
            raise KafkaTimeoutError(f"topics {', '.join(names)} are made, and cannot be seen")

    async def grow(self, name: str, partitions: int) -> None:
        """Add partitions until there are so many."""
        try:
            await self._admin.create_partitions({name: NewPartitions(partitions)})
        except InvalidPartitionsError:
            # Another program was faster.
            if not await self._seen(lambda topics: topics[name].partitions == partitions):
                raise

    async def _seen(self, state: Callable[[Mapping[str, Topic]], bool]) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(REQUEST_TIMEOUT_MS / 1000):
                while True:
                    with suppress(LeaderNotAvailableError, UnknownTopicOrPartitionError):  # one that is just being made
                        if state(await self.read(())):
                            return True
                    await asyncio.sleep(_LOOK_AGAIN_S)
        return False

    async def alter(self, name: str, changes: Sequence[Change]) -> None:
        """Alter these settings of a topic and no others."""
        answer = await self._admin._send_request(_Alter(name, changes))  # noqa: SLF001 - there is no public way
        for code, message, *_ in answer.resources:
            if code:
                raise for_code(code)(f"{name}: {message}")


async def ensure_like(bootstrap_servers: str, access: Access, name: str, other: str) -> None:
    """
    Make a topic of this region exist again, with another one's number of partitions and replicas, and its retention.

    Raises:
        KafkaError: Kafka did not answer in time, or refused it, or there is no such other one.
    """
    async with TopicAdmin(bootstrap_servers, access) as admin:
        like = (await admin.read([other])).get(other)
        if like is None:
            raise UnknownTopicOrPartitionError(other)
        await admin.create([name], Needs(like.partitions, like.replicas, int(like.config[RETENTION])))
        await admin.appear([name])
