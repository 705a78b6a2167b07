"""
`SeenIds` on Redis: one call a batch in each direction.

Ids are kept together that happened together. A minute of event time is cut into slots, so many that each gets some hundred ids
at the present rate; a slot is one string, `RECORD_BYTES` an id. So a batch, which is ordered by time, touches few keys, and a
slot expires as a whole. An id costs 22 bytes where a key of its own costs 129 (`bench/run.sh redis`). The first consumer that
writes into a minute writes beside it into how many slots it is cut. Where these turn out to be too few, the minute gets a finer
cut beside the first one, and ids are looked for in both.

What a record says of its event is in `consumer.seen_format`. An event with the same id that says something else has another
record, so PostgreSQL judges it. Where two contents share a checksum, one in four billion, the second is taken for a retry of
the first. Where two Kafka records share their two bytes, PostgreSQL is asked once too often; never too seldom.
"""

import time

from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Final, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from consumer.envelope import Envelope
from consumer.ports import SeenIdsUnavailableError
from consumer.seen_format import EVENT_BYTES, PASSED_BYTES, RECORD_BYTES, TIME_MASK, mixed

_MINUTE_US: Final = 60_000_000
_time, _memory = (itemgetter(Envelope._fields.index(name)) for name in ("time_us", "memory"))
_IDS_A_SLOT: Final = 256
_SAMPLE: Final = 1000
_FEWEST_SLOTS: Final = 64
_MOST_SLOTS: Final = 1 << 14
_LONGEST_REST_S: Final = 5.0
# A slot that holds as much as this is full.
_SLOT_BYTES: Final = 32_768
# `look` loads a slot into `cut.held`. `place_of` finds an event in it; a match that is not at a multiple of the record's size is
# made of two records' bytes, and is passed over.
_FIND: Final = f"""
local size, step, byte, find, floor = {RECORD_BYTES}, {PASSED_BYTES}, string.byte, string.find, math.floor
local function cuts_of(base, minute, written)
  local cuts, begin = {{}}, minute * {_MINUTE_US} % {TIME_MASK + 1}
  for slots in string.gmatch(written, '%d+') do
    cuts[#cuts + 1] = {{begin = begin, slots = tonumber(slots), name = base .. ':' .. slots .. ':', held = ''}}
  end
  return cuts
end
local function slot_of(cut, blob, at)
  local a, b, c, d = byte(blob, at + {PASSED_BYTES - 4}, at + {PASSED_BYTES - 1})
  local within = ((((a * 256 + b) * 256 + c) * 256 + d) - cut.begin) % {TIME_MASK + 1}
  return floor(within * cut.slots / {_MINUTE_US})
end
local function look(cut, slot)
  if slot ~= cut.slot then
    cut.slot, cut.held = slot, redis.call('GET', cut.name .. slot) or ''
  end
end
local function event_of(blob, at)
  return blob:sub(at, at + {EVENT_BYTES - 1})
end
local function place_of(held, event)
  local from = find(held, event, 1, true)
  while from and (from - 1) % size ~= 0 do
    from = find(held, event, from + 1, true)
  end
  return from
end
local function find_in(cuts, blob, at)
  local event = event_of(blob, at)
  for _, cut in ipairs(cuts) do
    look(cut, slot_of(cut, blob, at))
    local from = place_of(cut.held, event)
    if from then return cut.held:sub(from, from + size - 1) end
  end
end
"""
# ARGV: prefix; then a minute and its records. Answers '1' for each event that was stored from another record.
_ASK: Final = (
    _FIND
    + """
local answers = {}
for i = 2, #ARGV, 2 do
  local base, blob = ARGV[1] .. ARGV[i], ARGV[i + 1]
  local cuts = cuts_of(base, ARGV[i], redis.call('GET', base) or '')
  for at = 1, #blob, step do
    local found = find_in(cuts, blob, at)
    local other = found and found ~= blob:sub(at, at + size - 1)
    answers[#answers + 1] = other and '1' or '0'
  end
end
return table.concat(answers)
"""
)
# ARGV: prefix, seconds to live, the slots of a new minute; then a minute and its records. What finds no room in the finest cut
# is not remembered: forgetting is allowed, standing still for a slot without end is not.
_REMEMBER: Final = (
    _FIND
    + f"""
local ttl, full, most = ARGV[2], {_SLOT_BYTES}, {_MOST_SLOTS}
for i = 4, #ARGV, 2 do
  local base, blob = ARGV[1] .. ARGV[i], ARGV[i + 1]
  local cuts, finest, added, bytes, here = {{}}, nil, {{}}, 0, {{}}
  local written = redis.call('GET', base) or ARGV[3]
  -- The first write of all, and one that a full Redis refuses: after any other it would let everything else pass.
  local function write(cuts_written)
    written = cuts_written
    redis.call('SET', base, written, 'EX', ttl)
    cuts = cuts_of(base, ARGV[i], written)
    finest = cuts[#cuts]
  end
  write(written)
  local function keep()
    if bytes > 0 then
      finest.held = finest.held .. table.concat(added)
      redis.call('SET', finest.name .. finest.slot, finest.held, 'EX', ttl)
    end
    added, bytes, here = {{}}, 0, {{}}
  end
  for at = 1, #blob, step do
    local slot = slot_of(finest, blob, at)
    if slot ~= finest.slot then
      keep()
      look(finest, slot)
    end
    local event = event_of(blob, at)
    if not here[event] and not find_in(cuts, blob, at) then
      if #finest.held + bytes >= full and finest.slots < most then
        keep()
        write(written .. ' ' .. math.min(most, finest.slots * 8))
        look(finest, slot_of(finest, blob, at))
      end
      if #finest.held + bytes < full then
        here[event] = true
        added[#added + 1] = blob:sub(at, at + size - 1)
        bytes = bytes + size
      end
    end
  end
  keep()
end
return redis.status_reply('OK')
"""
)

# A slot holds records of one length: those of another version are under other keys, until they expire.
KEYS: Final = f"ids{RECORD_BYTES}"


@dataclass(slots=True)
class _Rest:
    length_s: float = 0.0
    until: float = 0.0
    reason: str = ""

    def begin(self, now: float, reason: str) -> None:
        self.length_s = min(max(2 * self.length_s, 0.25), _LONGEST_REST_S)
        self.until = now + self.length_s
        self.reason = reason


class Slots:
    """
    Into how many slots a minute is to be cut, from how closely events follow each other in event time. Pure.

    The middle half of some batches' times says it: what is late, from the future or of another replay stands at the ends.

    Attributes:
        a_minute: The present answer, a power of two. Never so small that a sudden burst finds no room.
    """

    def __init__(self) -> None:
        self.a_minute = _FEWEST_SLOTS
        self._times_us: list[int] = []

    def seen(self, times_us: Sequence[int]) -> None:
        """Take into account that events were stored which happened at these times."""
        self._times_us += times_us
        count = len(self._times_us)
        if count < _SAMPLE:
            return
        times_us, self._times_us = sorted(self._times_us), []
        quarter = count // 4
        span_us = max(1, times_us[-quarter - 1] - times_us[quarter])
        wanted = (count - 2 * quarter) * _MINUTE_US // span_us // _IDS_A_SLOT
        self.a_minute = min(max(_FEWEST_SLOTS, 1 << wanted.bit_length() >> 1), _MOST_SLOTS)


class RedisSeenIds:
    """
    Ids of stored events in Redis.

    After a failure Redis is not called for a while, longer each time up to five seconds: one that is slow or dead must not
    cost every batch a timeout. One that answers, and refuses to write because it is full or a replica, is still asked.

    Args:
        client: With a socket timeout; answers as bytes.
        ttl_s: How long an id is remembered at least, in seconds.
        clock: Seconds, monotonic.
    """

    def __init__(self, client: Redis, *, ttl_s: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._ttl_s = ttl_s
        self._clock = clock
        self._prefix = f"{KEYS}:"
        self._slots = Slots()
        self._ask = client.register_script(_ASK)
        self._remember = client.register_script(_REMEMBER)
        self._reading, self._writing = _Rest(), _Rest()

    def use_store(self, store_id: str) -> None:
        """Remember and ask for ids of this store only; see `SeenIds`."""
        self._prefix = f"{KEYS}:{store_id}:"

    async def duplicates(self, envelopes: Sequence[Envelope]) -> Collection[int]:
        """Return the indices of those stored from another record, as they are; see `SeenIds`."""
        arguments: list[bytes | str | int] = [self._prefix]
        order: list[int] = []
        for minute, indices, records in _by_minute(envelopes, list(map(_time, envelopes))):
            arguments += (minute, records)
            order += indices
        answers = await self._call(self._reading, lambda: self._ask([], arguments))
        duplicate = b"1"[0]
        return {index for index, answer in zip(order, cast("bytes", answers), strict=True) if answer == duplicate}

    async def remember(self, envelopes: Sequence[Envelope]) -> None:
        """Remember these; see `SeenIds`."""
        times_us = list(map(_time, envelopes))
        self._slots.seen(times_us)
        arguments: list[bytes | str | int] = [self._prefix, self._ttl_s, self._slots.a_minute]
        for minute, _, records in _by_minute(envelopes, times_us):
            arguments += (minute, records)
        await self._call(self._writing, lambda: self._remember([], arguments))

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


def _by_minute(envelopes: Sequence[Envelope], times_us: Sequence[int]) -> Iterator[tuple[int, Sequence[int], bytes]]:
    """Yield each minute with the indices of its events, and what is passed of them."""
    if times_us and (minute := min(times_us) // _MINUTE_US) == max(times_us) // _MINUTE_US:
        yield minute, range(len(times_us)), mixed(b"".join(map(_memory, envelopes)))
        return
    minutes: dict[int, list[int]] = defaultdict(list)
    for index, time_us in enumerate(times_us):
        minutes[time_us // _MINUTE_US].append(index)
    for minute, indices in minutes.items():
        yield minute, indices, mixed(b"".join([envelopes[index].memory for index in indices]))
