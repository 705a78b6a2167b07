"""The merged report of several consumers of a region."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.replication.losses import Window
from gateway.replication.views import OLDER_S, View, merge_reports
from shared.wire.replication import Copies, OffsetRange, Pair, RegionReport


def view(
    at: float, copied: dict[str, int], *, beat_age_s: float | None = None, end: int = 0, took_s: float = 0.1
) -> View:
    pairs = {where: Pair(source=offset, target=offset) for where, offset in copied.items()}
    copies = Copies(copied=copied, noted=copied, heartbeat_age_s=beat_age_s, pairs=pairs)
    spans = {"logs/0": OffsetRange(beginning=0, end=end)}
    report = RegionReport(region="b", age_s=0, spans=spans, copies={"a": copies}, topic_ids={"logs": str(at)})
    return report, Window(at, at + took_s)


_places = st.dictionaries(st.sampled_from(["logs/0", "logs/1"]), st.integers(0, 9))


@given(st.lists(st.tuples(st.floats(100, 100 + OLDER_S), _places), min_size=1, max_size=4))
def test_of_each_place_the_furthest_position_counts_and_the_order_of_answers_does_not(
    told: list[tuple[float, dict[str, int]]],
) -> None:
    views = [view(at, copied) for at, copied in told]
    report, window = merge_reports(views)
    copies = report.copies["a"]

    everywhere = {where for _, copied in told for where in copied}
    assert copies.copied == {where: max(c[where] for _, c in told if where in c) for where in everywhere}
    assert copies.noted == {where: pair.source for where, pair in copies.pairs.items()} == copies.copied
    assert window.since == max(at for at, _ in told)
    assert merge_reports(views[::-1])[0].copies == report.copies


def test_what_is_in_the_regions_own_log_is_told_by_the_newest_look() -> None:
    report, _ = merge_reports([view(101, {}, end=7), view(100, {}, end=5)])

    assert (report.spans["logs/0"].end, report.topic_ids) == (7, {"logs": "101"})


def test_the_newest_heartbeat_counts_whichever_report_has_it() -> None:
    report, _ = merge_reports([view(103, {}, beat_age_s=4), view(100, {}, beat_age_s=0.5), view(101, {})])

    assert report.copies["a"].heartbeat_age_s == 3.5


def test_a_report_of_an_old_observation_does_not_count() -> None:
    """Otherwise the old report of a consumer that hangs would hide that a position went back."""
    report, _ = merge_reports([view(100, {"logs/0": 9}), view(100.1 + OLDER_S, {"logs/0": 4})])

    assert report.copies["a"].copied == {"logs/0": 4}


def test_a_position_may_be_as_new_as_the_report_that_took_longest() -> None:
    _, window = merge_reports([view(101, {"logs/0": 3}), view(100, {"logs/0": 4}, took_s=4)])

    assert window == Window(101, 104)
