"""`GET /api/replication`: the state of each direction of replication, for people and their tools."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from gateway.replication.links import Link, LinkState
from gateway.replication.watch import ReplicationMonitor

STALE_S: Final = 5.0


class _View(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True, frozen=True)


class RegionView(_View):
    """How well one region is observed."""

    region: str
    seen_seconds_ago: float | None = Field(description="Age of its consumer's last report; null before the first one.")
    trouble: str | None = Field(description="Why its consumer sends no report now; null while it does.")


class LinkView(_View):
    """One direction of replication."""

    source: str
    target: str
    up: bool = Field(description="Whether all partitions are copied, or there is nothing left to copy.")
    lag_seconds: float = Field(description="Seconds since everything in the source was known to be in the target.")
    lag_records: int | None = Field(description="Events in the source and not in the target; null while unknown.")
    split_since: datetime | None = Field(
        description="Since when nothing, or no record of the partitions in `stoppedAt`, is copied; null while it is up."
    )
    stopped_at: dict[str, int] = Field(
        description="Partitions that stand still while others are copied, each with the offset of its first uncopied record."
    )
    exposed_records: int | None = Field(
        description="Acknowledged events that the target's Kafka would miss if the source region were lost now; null while unknown."
    )
    exposed_as_of: datetime | None = Field(
        description="When the source's log was last seen; `exposedRecords` is of that moment."
    )
    heartbeat_age_seconds: float | None = Field(
        description="Age of the newest heartbeat that got through; by the regions' own clocks."
    )
    detail: str = Field(description="The same as a sentence.")


class ReplicationView(_View):
    """All directions, and the regions at their ends."""

    regions: list[RegionView]
    links: list[LinkView]


def replication_router(
    monitor_of: Callable[[Request], ReplicationMonitor], wall: Callable[[], datetime] = lambda: datetime.now(UTC)
) -> APIRouter:
    """Build the route."""
    router = APIRouter(tags=["replication"])

    @router.get(
        "/api/replication",
        response_model=ReplicationView,
        responses={
            200: {"content": {"text/plain": {"example": "region-a -> region-b  up, 1.2 s and 0 events behind"}}}
        },
    )
    async def replication(request: Request) -> Response:
        """
        Report for each direction whether it copies, and how far the target is behind the source.

        Both numbers stay true while no event flows, and while the link or a region is away: the lag of a direction that
        cannot be observed grows. They are exact to about three seconds. `Accept: text/plain` gives one line a direction.
        """
        view = _view(monitor_of(request), wall())
        if request.headers.get("accept", "").startswith("text/plain"):
            return Response("".join(_line(link) for link in view.links), media_type="text/plain")
        return Response(view.model_dump_json(by_alias=True), media_type="application/json")

    return router


def _view(monitor: ReplicationMonitor, wall: datetime) -> ReplicationView:
    now = monitor.now()
    seen: dict[str, float | None] = dict.fromkeys(monitor.troubles)
    links = []
    for link in monitor.links:
        state = link.state(now)
        seen[link.source] = state.source_age_s
        links.append(_link_view(link, state, monitor, wall, now))
    regions = [
        RegionView(region=region, seen_seconds_ago=_rounded(seen[region]), trouble=trouble)
        for region, trouble in monitor.troubles.items()
    ]
    return ReplicationView(regions=regions, links=links)


def _link_view(link: Link, state: LinkState, monitor: ReplicationMonitor, wall: datetime, now: float) -> LinkView:
    return LinkView(
        source=link.source,
        target=link.target,
        up=state.up,
        lag_seconds=round(state.lag_s, 1),
        lag_records=state.lag_records,
        split_since=None if state.split_at is None else wall - timedelta(seconds=now - state.split_at),
        stopped_at=dict(state.stopped),
        exposed_records=state.lag_records,
        exposed_as_of=None if state.source_age_s is None else wall - timedelta(seconds=state.source_age_s),
        heartbeat_age_seconds=_rounded(state.heartbeat_age_s),
        detail=_sentence(link, state, monitor),
    )


def _sentence(link: Link, state: LinkState, monitor: ReplicationMonitor) -> str:
    records = "an unknown number of" if state.lag_records is None else state.lag_records
    behind = f"{state.lag_s:.1f} s and {records} events behind"
    unseen = [
        f"what {region} {says} was {'never seen' if age_s is None else f'last seen {age_s:.0f} s ago'}"
        + (f" ({monitor.troubles[region]})" if monitor.troubles[region] else "")
        for region, says, age_s in (
            (link.source, "holds", state.source_age_s),
            (link.target, "has copied", state.target_age_s),
        )
        if age_s is None or age_s > STALE_S
    ]
    if state.up:
        return "; ".join([behind, *unseen])
    if state.stopped:
        places = ", ".join(f"{where} at offset {offset}" for where, offset in state.stopped.items())
        return "; ".join([behind, *unseen, f"a record is not copied and holds up {places}, while others are copied"])
    return "; ".join([behind, *(unseen or ["nothing gets through: the link is cut, or MirrorMaker is away"])])


def _line(link: LinkView) -> str:
    since = f" since {link.split_since:%Y-%m-%dT%H:%M:%SZ}" if link.split_since else ""
    return f"{link.source} -> {link.target}  {'up' if link.up else 'DOWN'}{since}, {link.detail}\n"


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)
