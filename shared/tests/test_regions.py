"""Topic names: what is mirrored can always be told from what is local."""

import pytest

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shared.wire.regions import LOGS, Region, consumed_topics, mirrored_topic, origin_of

_REGION: TypeAdapter[str] = TypeAdapter(Region)
region_names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?", fullmatch=True)
region_lists = st.lists(region_names, min_size=1, max_size=5, unique=True)


@given(region_lists, st.data())
def test_every_consumed_topic_tells_its_origin(regions: list[str], data: st.DataObject) -> None:
    here = data.draw(st.sampled_from(regions))

    topics = consumed_topics(here, regions)

    assert len(set(topics)) == len(topics) == len(regions)
    assert {origin_of(topic, here) for topic in topics} == set(regions)
    assert origin_of(LOGS, here) == here


@given(region_names)
def test_a_mirrored_topic_is_never_mistaken_for_a_local_one(region: str) -> None:
    assert mirrored_topic(region) != LOGS
    assert origin_of(mirrored_topic(region), "elsewhere") == region


def test_a_consumer_reads_its_own_topic_and_the_copies_of_all_others() -> None:
    assert consumed_topics("region-b", ["region-c", "region-a", "region-b"]) == [
        "logs",
        "region-a.logs",
        "region-c.logs",
    ]


@pytest.mark.parametrize("name", ["region-a", "a", "eu-west-1", "0", "a" * 63])
def test_names_of_regions(name: str) -> None:
    assert _REGION.validate_python(name) == name


@pytest.mark.parametrize(
    "name", ["", "a.b", "Region-A", "a_b", "-a", "a-", "a b", "a\n", "\na", "a/b", "é", "a" * 64, "a%00", "http://a"]
)
def test_names_that_no_region_may_have(name: str) -> None:
    """A dot would make a mirrored topic ambiguous; the rest has no place in a topic, a header or a metric label."""
    with pytest.raises(ValidationError):
        _REGION.validate_python(name)
