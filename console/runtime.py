"""The objects that live as long as the process, and how a request finds them."""

import time

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar, cast

from starlette.requests import Request

from console.limits import Budget, CallerBusyError, Places, SpentError
from console.lives import Lives
from console.metrics import ConsoleMetrics
from console.ports import BusyError, Session, Store, StoreUnavailableError
from console.settings import ConsoleSettings
from console.tail.fanouts import FanOuts
from console.tail.ports import Table
from console.values import KnownValues
from console.watch import StoreWatch
from shared.access.keys import KeyRing
from shared.access.principal import Principal
from shared.access.request import address_of
from shared.access.watched import Watched
from shared.ingest.caller import PRINCIPAL_KEY
from shared.ingest.tenant import tenant_of_request
from shared.process.audit import Audit
from shared.process.connected import while_connected

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Runtime:
    """
    The objects of the process.

    Attributes:
        wall_us: Microseconds since 1970, by the system's clock.
        keys: Those that readers have; None where none are asked for.
        audit: Where it is noted who reads what; None where that is not known.
    """

    settings: ConsoleSettings
    store: Store
    metrics: ConsoleMetrics
    watch: StoreWatch
    searches: Places
    exports: Places
    budget: Budget
    values: KnownValues
    lives: Lives
    table: Table
    fan_outs: FanOuts
    tails: Places
    wall_us: Callable[[], int]
    keys: Watched[KeyRing] | None = None
    audit: Audit | None = None

    @asynccontextmanager
    async def reading(self, caller: str, tenant: str | None) -> AsyncIterator[Session]:
        """
        Lend a session for one search, within the caller's limits.

        Raises:
            BusyError: The caller, or all of them, have as much as they may.
            StoreUnavailableError: PostgreSQL does not answer.
        """
        with self.counted():
            async with self.searches.place(caller):
                self.budget.ask(caller)
                async with self.session(tenant) as session:
                    with self.budget.spending(caller):
                        yield session

    @asynccontextmanager
    async def session(self, tenant: str | None) -> AsyncIterator[Session]:
        """Lend a session that sees one tenant's rows, and count it."""
        async with self.store.session(tenant) as session:
            started = time.perf_counter()
            with self.metrics.sessions.track_inprogress():
                try:
                    yield session
                finally:
                    self.metrics.query_seconds.inc(time.perf_counter() - started)

    def counted(self) -> "Refusals":
        """Count why requests are refused meanwhile."""
        return Refusals(self.metrics)


class Refusals:
    """Counts the error that passes."""

    def __init__(self, metrics: ConsoleMetrics) -> None:
        self._refusals = metrics.refusals

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        match exc:
            case SpentError():
                self._refusals["budget"].inc()
            case CallerBusyError():
                self._refusals["caller"].inc()
            case BusyError():
                self._refusals["busy"].inc()
            case StoreUnavailableError():
                self._refusals["store"].inc()


def runtime_of(request: Request) -> Runtime:
    """Return the runtime of a request."""
    return cast("Runtime", request.state.runtime)


def caller_of(request: Request) -> str:
    """
    Return whose request it is: the key's, where keys are asked for, and else the client's address.

    Behind a balancer all clients have one address, and are one caller. No address has the form of a key's id.
    """
    principal: Principal | None = request.scope.get(PRINCIPAL_KEY)
    if principal is not None and principal.key_id:
        return principal.key_id
    return address_of(request.scope)


def tenant_of(request: Request) -> str | None:
    """Return whose events the request may see; None: the default tenant's."""
    return tenant_of_request(request.scope)


async def read(request: Request, work: Callable[[Session], Awaitable[T]]) -> T:
    """Do work with a session, within the caller's limits, as long as the client is there."""
    runtime, caller, tenant = runtime_of(request), caller_of(request), tenant_of(request)

    async def reading() -> T:
        async with runtime.reading(caller, tenant) as session:
            return await work(session)

    return await while_connected(request, reading())


def system_us() -> int:
    """Return microseconds since 1970."""
    return time.time_ns() // 1000
