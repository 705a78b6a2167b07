"""Runs the scenario `noisy-tenant` on a fleet with keys: two keys, two senders, a comparison with the rows."""

import asyncio
import re
import time

from contextlib import AsyncExitStack
from functools import partial
from http import HTTPStatus
from pathlib import Path
from random import Random
from typing import Final

import httpx

from uuid_utils.compat import uuid7

from chaos.fleet import Addresses, pull
from chaos.observe import collect_rows
from chaos.traffic import Traffic
from loadtest.noisy import NOISY, QUIET, QUIET_RATE, TIMES, Sender, judge, quota_of_noisy
from testbed.access import fleet_client, setting
from testbed.patience import eventually

SECONDS: Final = 60.0
STORED_WITHIN_S: Final = 120.0
BATCH: Final = 50
_ANSWER_S: Final = 25.0
_KEY: Final = re.compile(r"\bmrl_[A-Za-z0-9_-]{60}\b")
_ID: Final = re.compile(r"\Amrl_([a-z2-7]{10})_")


def noisy_rate() -> float:
    """
    Return what the noisy tenant may send a second.

    Raises:
        CannotJudgeError: The fleet knows one tenant, or sets this one no limit.
    """
    file = setting("FLEET_TENANTS_FILE", "none")
    try:
        text = Path(file).read_text()
    except OSError:
        text = None
    return quota_of_noisy(setting("FLEET_SECURITY", "open"), file, text)


class NoisyTenant:
    """
    One run.

    Args:
        quota: Events a second that the noisy tenant may send.
        seconds: How long both send.
        seed: Repeats the traffic.
        gateway: Where they send.
        keys: Of both tenants, by name; made and revoked if there are none.
    """

    def __init__(
        self, quota: float, seconds: float, seed: int, gateway: str, keys: dict[str, str] | None = None
    ) -> None:
        self.run_name = f"load-noisy-tenant-{seed}-{int(time.time())}"
        self.noisy, self.quiet = Sender(NOISY), Sender(QUIET)
        self._quota, self._seconds = quota, seconds
        self._gateway = gateway
        self._random = Random(f"noisy/{seed}")
        self._keys = keys

    async def send(self) -> None:
        """Send as both tenants do, and note what they are told."""
        async with AsyncExitStack() as stack:
            keys = self._keys
            if keys is None:
                keys = {}
                for tenant in (NOISY, QUIET):
                    keys[tenant] = key = await _new_key(tenant)
                    stack.push_async_callback(_revoke, key)
            http = await stack.enter_async_context(fleet_client(_ANSWER_S))
            for key in keys.values():
                await eventually(partial(self._is_known, http, key), "the gateway knows the new keys")
            await asyncio.gather(
                self._offer(http, self.noisy, keys[NOISY], TIMES * self._quota),
                self._offer(http, self.quiet, keys[QUIET], QUIET_RATE),
            )

    async def failures(self, addresses: Addresses) -> list[str]:
        """Wait until what was acknowledged is stored, and return what is wrong."""
        acknowledged = self.noisy.acknowledged | self.quiet.acknowledged
        rows: list[bytes] = []

        async def all_stored() -> bool:
            rows[:] = [row.event_id for row in await collect_rows(addresses.postgres, self.run_name)]
            return acknowledged <= set(rows)

        try:
            await eventually(all_stored, "all acknowledged events are rows", within_s=STORED_WITHIN_S, every_s=2)
        except AssertionError as exc:
            return [*judge(self.noisy, self.quiet, rows), str(exc)[:300]]
        return judge(self.noisy, self.quiet, rows)

    async def _offer(self, http: httpx.AsyncClient, sender: Sender, key: str, rate: float) -> None:
        """Send a batch whenever one is due, whether or not earlier ones were answered."""
        traffic = Traffic(self.run_name, self._random, uuid7)
        began = time.monotonic()
        posts = []
        for number in range(int(self._seconds * rate / BATCH)):
            await asyncio.sleep(began + number * BATCH / rate - time.monotonic())
            events = [made for made in traffic.batch(BATCH, time.time_ns() // 1000) if made.valid and made.named]
            posts.append(asyncio.create_task(self._post(http, sender, key, [made.body for made in events])))
        await asyncio.gather(*posts)

    async def _is_known(self, http: httpx.AsyncClient, key: str) -> bool:
        """Tell whether the gateway has read the file of keys since this one was made; it is asked with a body that brings nothing."""
        answer = await http.post(f"{self._gateway}/api/logs/batch", json={}, headers={"Authorization": f"Bearer {key}"})
        return answer.status_code == HTTPStatus.BAD_REQUEST

    async def _post(self, http: httpx.AsyncClient, sender: Sender, key: str, bodies: list[dict[str, str]]) -> None:
        ids = [bytes.fromhex(body["eventId"].replace("-", "")) for body in bodies]
        began = time.monotonic()
        try:
            answer = await http.post(
                f"{self._gateway}/api/logs/batch", json=bodies, headers={"Authorization": f"Bearer {key}"}
            )
        except httpx.TransportError as exc:
            sender.cut_off(ids, type(exc).__name__)
        else:
            sender.told(ids, answer.status_code, answer.headers, time.monotonic() - began)


async def _new_key(tenant: str) -> str:
    said = await pull("key", "new", f"{tenant}-test", "--scope", "write", "--tenant", tenant, "--expires", "1d")
    if (found := _KEY.search(said)) is None:
        raise OSError(f"./setup.sh key new printed no key; it said: {said[:300]}")
    return found[0]


async def _revoke(key: str) -> None:
    if (found := _ID.search(key)) is not None:
        await pull("key", "revoke", found[1])
