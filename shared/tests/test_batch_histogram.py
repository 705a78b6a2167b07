from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from shared.process.batch_histogram import BatchHistogram

BUCKETS = (0.1, 1.0, 2.5)
# Sums of these are exact in any order.
values = st.sampled_from([-1.0, 0.0, 0.125, 0.25, 1.0, 1.5, 2.5, 3.0, 100.0])


def exported(registry: CollectorRegistry) -> list[str]:
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(batches=st.lists(st.tuples(st.sampled_from("ab"), st.lists(values, max_size=8)), min_size=1, max_size=8))
def test_it_exports_what_the_librarys_histogram_does(batches: list[tuple[str, list[float]]]) -> None:
    what: Final = ("wait_seconds", "How long", ["region", "origin"])
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    batchwise = BatchHistogram(*what, registry=ours, buckets=BUCKETS)
    one_by_one = Histogram(*what, registry=theirs, buckets=BUCKETS)
    for origin, batch in batches:
        batchwise.labels("region-a", origin).observe_all(batch)
        child = one_by_one.labels("region-a", origin)
        for value in batch:
            child.observe(value)

    assert exported(ours) == exported(theirs)
