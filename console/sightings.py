"""
What both regions' Kafkas show of one event, put together: which record is a copy of which, and what is in one Kafka alone. Pure.

A region that did not answer is unknown: its records are neither there nor missing.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared.wire.finding import Copy, Found, Letter, Looked
from shared.wire.regions import DEAD_LETTERS, LOGS, Region, mirrored_topic, origin_of

Answer = Found | str
"""What a region's consumer said; a text: why it said nothing."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """
    A record of the event.

    Attributes:
        region: In whose Kafka it is.
        copy: The record.
        origin: The region whose Kafka first held it.
        source: The record there that it is a copy of; None for one that is no copy, or whose source is not known.
        done: How far its partition is stored; None where that is unknown.
        letters: Where it was set aside.
    """

    region: Region
    copy: Copy
    origin: Region
    source: Copy | None
    done: int | None
    letters: Sequence[Letter]

    @property
    def is_mirrored(self) -> bool:
        """Whether it came through MirrorMaker."""
        return self.copy.topic != LOGS

    @property
    def is_passed(self) -> bool:
        """Whether the consumers are done with it."""
        return self.done is not None and self.copy.offset < self.done

    @property
    def place(self) -> str:
        """Where it is, for a person."""
        return f"{self.region} {place_of(self.copy)}"


def place_of(copy: Copy) -> str:
    """Return where a record is in its Kafka."""
    return f"{copy.topic}/{copy.partition}@{copy.offset}"


class Sightings:
    """
    All that is seen.

    Args:
        answers: Of each region.

    Attributes:
        all: The records: each before its copies.
        away: Regions that said nothing, with the reason.
    """

    def __init__(self, answers: Mapping[Region, Answer]) -> None:
        self._found: Final = {region: answer for region, answer in sorted(answers.items()) if isinstance(answer, Found)}
        self.away: Final = {region: answer for region, answer in sorted(answers.items()) if isinstance(answer, str)}
        self.all: Final = self._put_together()

    @property
    def regions(self) -> list[Region]:
        """All regions, seen or not."""
        return sorted([*self._found, *self.away])

    @property
    def letters(self) -> list[tuple[Region, Letter]]:
        """Every letter of the event."""
        return [(region, letter) for region, found in self._found.items() for letter in found.letters]

    @property
    def unseen(self) -> list[dict[str, object]]:
        """What was not looked at, for a person."""
        regions: list[dict[str, object]] = [{"region": region, "why": why} for region, why in self.away.items()]
        return regions + [
            {"region": region, **part.model_dump(exclude_none=True)}
            for region, found in self._found.items()
            for part in found.unseen
        ]

    def is_in(self, region: Region) -> bool | None:
        """Tell whether a region's Kafka has the event; None where that is unknown."""
        if any(seen.region == region for seen in self.all):
            return True
        return False if self._is_seen(region, letters=False) else None

    def has_seen_letters(self, region: Region) -> bool:
        """Tell whether all was looked at that may be the event's among a region's dead letters."""
        return self._is_seen(region, letters=True)

    def exposed(self, region: Region) -> bool | None:
        """Tell whether this region's Kafka alone has the event, so that it is lost if that is lost; None where that is unknown."""
        others = [other for other in self.regions if other != region]
        here = self.is_in(region)
        if not here or not others:
            return here and False
        elsewhere = [self._still_is_in(other, region) for other in others]
        if True in elsewhere:
            return False
        return None if None in elsewhere else True

    def _still_is_in(self, region: Region, source: Region) -> bool | None:
        """Tell likewise, where a copy that retention removed is no missing one."""
        is_in = self.is_in(region)
        if is_in is False and any(
            part.first == part.beginning > 0 for part in self._looked(region) if part.topic == mirrored_topic(source)
        ):
            return None
        return is_in

    def _is_seen(self, region: Region, *, letters: bool) -> bool:
        found = self._found.get(region)
        return found is not None and all((part.topic == DEAD_LETTERS) != letters for part in found.unseen)

    def _looked(self, region: Region) -> Sequence[Looked]:
        found = self._found.get(region)
        return found.looked if found is not None else ()

    def _put_together(self) -> list[Sighting]:
        own: list[Sighting] = []
        mirrored: list[Sighting] = []
        sources = {
            region: [copy for copy in found.copies if copy.topic == LOGS] for region, found in self._found.items()
        }
        for region, found in self._found.items():
            source_of = _sources(region, found.copies, sources)
            done = {(part.topic, part.partition): part.done for part in found.looked}
            for copy in found.copies:
                letters = [letter for letter in found.letters if _is_of(letter, copy)]
                origin = origin_of(copy.topic, region)
                source = source_of.get(place_of(copy))
                sighting = Sighting(region, copy, origin, source, done.get((copy.topic, copy.partition)), letters)
                (mirrored if sighting.is_mirrored else own).append(sighting)
        return [
            *(each for one in own for each in (one, *(copy for copy in mirrored if _is_copy(copy, one)))),
            *(copy for copy in mirrored if not any(_is_copy(copy, one) for one in own)),
        ]


def _sources(region: Region, copies: Iterable[Copy], sources: Mapping[Region, Sequence[Copy]]) -> dict[str, Copy]:
    """Find the source of each mirrored record, by its place: the mirror keeps partitions, bytes and their order."""
    same: defaultdict[tuple[Region, int, int | None], list[Copy]] = defaultdict(list)
    for copy in copies:
        if copy.topic != LOGS:
            same[origin_of(copy.topic, region), copy.partition, copy.received_us].append(copy)
    found: dict[str, Copy] = {}
    for (origin, partition, received_us), mirrored in same.items():
        written = [
            copy for copy in sources.get(origin, ()) if (copy.partition, copy.received_us) == (partition, received_us)
        ]
        for number, copy in enumerate(mirrored):
            if written:
                # After a crash the mirror copies its last records again.
                found[place_of(copy)] = written[min(number, len(written) - 1)]
    return found


def _is_copy(copy: Sighting, one: Sighting) -> bool:
    return copy.source is not None and copy.origin == one.region and copy.source == one.copy


def _is_of(letter: Letter, copy: Copy) -> bool:
    return (letter.source_topic, letter.source_partition, letter.source_offset) == (
        copy.topic,
        copy.partition,
        copy.offset,
    )
