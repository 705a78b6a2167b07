"""
The access list of a Kafka: read it, and make it what it should be. The only module that knows Kafka's requests for that.

aiokafka knows the requests one by one, and its client for administrators has no call for them.
"""

from collections.abc import Collection, Sequence
from typing import Any, Final

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import for_code
from aiokafka.protocol.admin import (
    CreateAclsRequest_v1,
    DeleteAclsRequest_v1,
    DescribeAclsRequest,
)
from aiokafka.protocol.api import Request

from shared.process.kafka_settings import OPEN, Access

Line = tuple[int, str, int, str, int]
"""Kind, name, pattern, service and operation, by Kafka's numbers; from every address, and allowed."""

_REQUEST_TIMEOUT_MS: Final = 5000
_ANY: Final = 1
_ALLOW: Final = 3
_EVERYWHERE: Final = "*"
_USER: Final = "User:"


class _Create(Request[CreateAclsRequest_v1]):  # type: ignore[misc]  # aiokafka tells no types
    API_KEY = CreateAclsRequest_v1.API_KEY

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    def build(self, request_struct_class: type[Any]) -> Any:
        return request_struct_class(_acls(self._lines))


class _Delete(Request[DeleteAclsRequest_v1]):  # type: ignore[misc]
    API_KEY = DeleteAclsRequest_v1.API_KEY

    def __init__(self, lines: Sequence[Line]) -> None:
        self._lines = lines

    def build(self, request_struct_class: type[Any]) -> Any:
        return request_struct_class(_acls(self._lines))


def _acls(lines: Sequence[Line]) -> list[tuple[int, str, int, str, str, int, int]]:
    return [(kind, name, pattern, _USER + who, _EVERYWHERE, may, _ALLOW) for kind, name, pattern, who, may in lines]


class AclAdmin:
    """
    Connected while inside; each call raises `KafkaError` when Kafka does not answer, or refuses.

    Args:
        bootstrap_servers: The Kafka.
        access: How it lets in a client that may do everything.
    """

    def __init__(self, bootstrap_servers: str, access: Access = OPEN) -> None:
        self._admin = AIOKafkaAdminClient(
            bootstrap_servers=bootstrap_servers, request_timeout_ms=_REQUEST_TIMEOUT_MS, **access
        )

    async def __aenter__(self) -> "AclAdmin":
        try:
            await self._admin.start()
        except BaseException:
            await self._admin.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._admin.close()

    async def read(self) -> set[Line]:
        """Return the lines of services, from every address, that allow something."""
        answer = await self._send(DescribeAclsRequest(_ANY, None, _ANY, None, None, _ANY, _ANY))
        _raise_for(answer.error_code, answer.error_message)
        return {
            (kind, name, pattern, who.removeprefix(_USER), may)
            for kind, name, pattern, acls in answer.resources
            for who, where, may, how in acls
            if (where, how) == (_EVERYWHERE, _ALLOW)
        }

    async def make(self, wanted: Collection[Line], services: Collection[str]) -> tuple[int, int]:
        """
        Make the lines of these services the wanted ones, and leave those of others alone. What is new comes first.

        Returns:
            How many were added, and how many removed.
        """
        there = {line for line in await self.read() if line[3] in services}
        missing, spare = sorted(set(wanted) - there), sorted(there - set(wanted))
        if missing:
            answer = await self._send(_Create(missing))
            for code, message in answer.creation_responses:
                _raise_for(code, message)
        if spare:
            answer = await self._send(_Delete(spare))
            for code, message, _ in answer.filter_responses:
                _raise_for(code, message)
        return len(missing), len(spare)

    async def delete_topics(self, names: Collection[str]) -> list[str]:
        """Delete those of these topics that there are, and return them."""
        there = sorted(set(names) & set(await self._admin.list_topics()))
        if there:
            answer = await self._admin.delete_topics(there)
            for name, code, *_ in answer.topic_error_codes:
                _raise_for(code, name)
        return there

    async def _send(self, request: Request[Any]) -> Any:
        return await self._admin._send_request(request)  # noqa: SLF001 - there is no public way


def _raise_for(code: int, message: str | None) -> None:
    if code:
        raise for_code(code)(message or "")
