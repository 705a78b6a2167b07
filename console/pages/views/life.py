"""The life of an event as steps, with the time between them. PURE."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from console.pages.views.moments import Moment, between, moment, parse, span
from console.pages.views.rows import region_tone
from console.pages.views.visible import visible

_TITLES: Final = {
    "happened": "Happened",
    "received": "Received",
    "kafka": "In Kafka",
    "stored": "Stored",
    "duplicate": "Recognised as a duplicate",
    "set aside": "Set aside",
    "waiting": "Waiting",
    "passed": "Read, and not stored",
}
# What a step says of itself, in the order in which a person wants to know it.
_DETAILS: Final = (
    ("servedBy", "served by {}"),
    ("wanted", "wanted {}"),
    ("copyOf", "copy of {}"),
    ("of", "of {}"),
    ("place", "at {}"),
    ("before", "about {:,} events before it"),
    ("order", "{}"),
    ("why", "{}"),
    ("wrong", "wrong: {}"),
    ("note", "{}"),
)
_BAD: Final = frozenset({"poisoned", "finding"})


class Step(NamedTuple):
    """
    One station.

    Attributes:
        what: A word for the style sheet, without blanks.
        title: What happened.
        by: Who did it.
        where: The place in a log, as `logs/3@91822`.
        region: The region, if it is in one.
        tone: The same as a class.
        at: When, if that is known.
        since: How long after the step before.
        details: Further facts.
        gone: Whether Kafka has removed the record since.
    """

    what: str
    title: str
    by: str
    where: str
    region: str
    tone: str
    at: Moment | None
    since: str
    details: Sequence[str]
    gone: bool


class Life(NamedTuple):
    """
    What became of an event.

    Attributes:
        verdict: The same as a sentence.
        steps: Its stations.
        copies: Those in Kafka, by region.
        exposed: Regions whose Kafka alone has it now.
        unknown: Regions of which that is not known.
        unseen: Regions that did not answer, and why.
        trouble: Whether the event is not stored as it should be.
    """

    verdict: str
    steps: Sequence[Step]
    copies: Mapping[str, Sequence[Step]]
    exposed: Sequence[str]
    unknown: Sequence[str]
    unseen: Sequence[str]
    trouble: bool


def life(answer: Mapping[str, Any]) -> Life:
    """Return what the API knows of an event's way."""
    steps, before = [], None
    for raw in answer.get("steps", ()):
        at = parse(raw.get("at"))
        since = span(between(before, at)) if before and at and at >= before else ""
        steps.append(_step(raw, f"+{since}" if since else ""))
        before = at or before
    copies: dict[str, list[Step]] = {}
    for step in steps:
        if step.what == "kafka" and step.region:
            copies.setdefault(step.region, []).append(step)
    exposed = answer.get("exposed")
    exposed = exposed if isinstance(exposed, Mapping) else {}
    return Life(
        verdict=visible(str(answer.get("verdict", ""))),
        steps=steps,
        copies=dict(sorted(copies.items())),
        exposed=sorted(visible(str(region)) for region, is_so in exposed.items() if is_so),
        unknown=sorted(visible(str(region)) for region, is_so in exposed.items() if is_so is None),
        unseen=[visible(_sentence(one)) for one in answer.get("unseen", ())],
        trouble=any(kind in _BAD for kind in answer.get("kinds", ())),
    )


def _step(raw: Mapping[str, Any], since: str) -> Step:
    what = str(raw.get("what", ""))
    topic, region = raw.get("topic"), str(raw.get("region") or "")
    return Step(
        what=what.replace(" ", "-"),
        title=_TITLES.get(what) or visible(what).capitalize(),
        by=visible(str(raw.get("by") or "")),
        where=visible(_place(raw)) if topic else "",
        region=visible(region),
        tone=region_tone(region),
        at=moment(raw["at"]) if parse(raw.get("at")) else None,
        since=since,
        details=[visible(_detail(form, raw[name])) for name, form in _DETAILS if raw.get(name)],
        gone=raw.get("stillThere") is False,
    )


def _place(raw: Mapping[str, Any]) -> str:
    parts = [raw.get("partition"), raw.get("offset")]
    return str(raw["topic"]) if None in parts else f"{raw['topic']}/{parts[0]}@{parts[1]}"


def _detail(form: str, value: object) -> str:
    return form.format(value) if isinstance(value, int) else form.replace(":,", "").format(value)


def _sentence(unseen: object) -> str:
    if isinstance(unseen, Mapping):
        return ": ".join(str(unseen[name]) for name in ("region", "why") if unseen.get(name))
    return str(unseen)
