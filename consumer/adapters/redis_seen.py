"""
`SeenIds` on Redis: one call a batch in each direction.

An id is a field of a hash that covers one minute of event time and one of 4,096 shards, so that at high rates a hash holds
some hundred ids in Redis' compact encoding (about 26 bytes an id, where a key of its own costs 133) and expires as a whole.
The field is the event id; its value says which event time within the minute (an id with another time is another event) and,
in 16 bits, which record was stored. Where two records share the 16 bits, PostgreSQL is asked once too often; never too
seldom.
"""

import time
import zlib

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from consumer.envelope import Envelope
from consumer.ports import SeenIdsUnavailableError

_MINUTE_US: Final = 60_000_000
_SHARDS: Final = 4096
_LONGEST_REST_S: Final = 5.0
_ASK: Final = """
local answers = {}
for i, key in ipairs(KEYS) do answers[i] = redis.call('HGET', key, ARGV[i]) end
return answers
"""
_REMEMBER: Final = """
local ttl = ARGV[#ARGV]
for i, key in ipairs(KEYS) do
  if redis.call('HSETNX', key, ARGV[2 * i - 1], ARGV[2 * i]) == 1 then redis.call('EXPIRE', key, ttl) end
end
return redis.status_reply('OK')
"""


@dataclass(slots=True)
class _Rest:
    length_s: float = 0.0
    until: float = 0.0
    reason: str = ""

    def begin(self, now: float, reason: str) -> None:
        self.length_s = min(max(2 * self.length_s, 0.25), _LONGEST_REST_S)
        self.until = now + self.length_s
        self.reason = reason


class RedisSeenIds:
    """
    Ids of stored events in Redis.

    After a failure Redis is left alone for a while, longer each time up to five seconds: one that is slow or dead must not
    cost every batch a timeout. One that answers, and refuses to write because it is full or a replica, is still asked.

    Args:
        client: With a socket timeout; answers as bytes.
        region: The consumer's own.
        ttl_s: How long an id is remembered at least, in seconds.
        clock: Seconds, monotonic.
    """

    def __init__(self, client: Redis, *, region: str, ttl_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._region = region
        self._ttl_s = ttl_s
        self._clock = clock
        self._prefix = "seen:"
        self._ask = client.register_script(_ASK)
        self._remember = client.register_script(_REMEMBER)
        self._reading, self._writing = _Rest(), _Rest()

    def use_store(self, store_id: str) -> None:
        """Remember and ask for ids of this store only; see `SeenIds`."""
        self._prefix = f"seen:{store_id}:"

    async def duplicates(self, envelopes: Sequence[Envelope]) -> Collection[int]:
        """Return the indices of those stored from another record; see `SeenIds`."""
        answers = await self._call(
            self._reading,
            lambda: self._ask([self._key(e) for e in envelopes], [e.record.event_id.bytes for e in envelopes]),
        )
        found: set[int] = set()
        for index, (envelope, answer) in enumerate(zip(envelopes, cast("list[Any]", answers), strict=True)):
            if isinstance(answer, bytes) and len(answer) == _VALUE_BYTES:
                value = self._value(envelope)
                same_time, same_record = answer[:4] == value[:4], answer[4:] == value[4:]
                if same_time and not same_record:
                    found.add(index)
        return found

    async def remember(self, envelopes: Sequence[Envelope]) -> None:
        """Remember these; see `SeenIds`."""
        arguments: list[bytes | int] = []
        for envelope in envelopes:
            arguments += (envelope.record.event_id.bytes, self._value(envelope))
        arguments.append(self._ttl_s)
        await self._call(self._writing, lambda: self._remember([self._key(e) for e in envelopes], arguments))

    async def _call(self, rest: _Rest, call: Callable[[], Awaitable[object]]) -> object:
        if self._clock() < rest.until:
            raise SeenIdsUnavailableError(f"{rest.reason} (left alone for a moment)")
        try:
            answer = await call()
        except (TimeoutError, RedisError, OSError) as exc:
            reason = f"{type(exc).__name__}: {exc}"
            for each in (rest,) if isinstance(exc, ResponseError) else (self._reading, self._writing):
                each.begin(self._clock(), reason)
            raise SeenIdsUnavailableError(reason) from exc
        rest.length_s = 0.0
        return answer

    def _key(self, envelope: Envelope) -> str:
        shard = zlib.crc32(envelope.record.event_id.bytes) % _SHARDS
        return f"{self._prefix}{envelope.time_us // _MINUTE_US}:{shard}"

    def _value(self, envelope: Envelope) -> bytes:
        source = f"{self._region}/{envelope.partition.topic}/{envelope.partition.number}/{envelope.offset}"
        within_minute = envelope.time_us % _MINUTE_US
        return within_minute.to_bytes(4, "big") + (zlib.crc32(source.encode()) & 0xFFFF).to_bytes(2, "big")


_VALUE_BYTES: Final = 6
