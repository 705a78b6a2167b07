"""View models: text that hides nothing, state in the address, bars, steps, directions."""

import re
import unicodedata

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hypothesis import given
from hypothesis import strategies as st

from console.pages.static import FOLDER
from console.pages.views import state
from console.pages.views.chart import HEIGHT, WIDTH, chart, interval_ms
from console.pages.views.event import neighbours, shown
from console.pages.views.life import life
from console.pages.views.moments import between, moment, parse, span
from console.pages.views.past import past
from console.pages.views.replication import replication_map
from console.pages.views.rows import line, region_tone
from console.pages.views.visible import HIDDEN, pieces, visible
from console.past import ACCEPTED, DUPLICATES, EXPOSED, LAG, LATE, QUERIES, UP, UnreadableError, history, step_s
from console.tests import samples
from console.tests.fake_api import NOW, iso, row

# Of category Cf, but signs that are drawn: what stands before Arabic numbers and the like.
_DRAWN = {
    0x0600,
    0x0601,
    0x0602,
    0x0603,
    0x0604,
    0x0605,
    0x06DD,
    0x070F,
    0x0890,
    0x0891,
    0x08E2,
    0x110BD,
    0x110CD,
} | set(range(0x13430, 0x13440))


# ---------------------------------------------------------------- text


@given(st.text())
def test_nothing_that_hides_is_left(text: str) -> None:
    assert not re.search(f"[{HIDDEN}]", visible(text))


@given(st.text(alphabet=st.characters(exclude_categories=["C", "Z", "M", "Lo"]) | st.just(" ")))
def test_ordinary_text_is_as_it_is(text: str) -> None:
    assert visible(text) == text


def test_every_control_bidi_and_zero_width_character_is_shown() -> None:
    hides = [
        point
        for point in range(0x110000)
        if (unicodedata.category(chr(point)) in ("Cc", "Cf", "Cs", "Zl", "Zp") and point not in _DRAWN)
        or unicodedata.bidirectional(chr(point))
        in ("RLO", "LRO", "RLE", "LRE", "PDF", "RLI", "LRI", "FSI", "PDI", "BN")
    ]
    assert [f"{point:04X}" for point in hides if chr(point) in visible(chr(point))] == []


@pytest.mark.parametrize(
    ("text", "shown_as"),
    [
        ("a\u202eb", "a⟨U+202E⟩b"),
        ("\x1b[31mred", "⟨U+001B⟩[31mred"),
        ("two\nlines\tand tab", "two↵lines⇥and tab"),
        ("zero\u200bwidth", "zero⟨U+200B⟩width"),
        ("\x9b31m", "⟨U+009B⟩31m"),
        ("tag \U000e0041", "tag ⟨U+E0041⟩"),
        ("naïve 東京 👍 ⚠️", "naïve 東京 👍 ⚠️"),
    ],
)
def test_what_stands_for_a_character_is_its_code_point(text: str, shown_as: str) -> None:
    assert visible(text) == shown_as


def test_a_message_on_its_own_page_keeps_its_lines() -> None:
    assert [piece.text for piece in pieces("one\n\ttwo\x00", breaks=True)] == ["one\n\ttwo", "⟨U+0000⟩"]
    assert pieces("\u202e")[0].name == "RIGHT-TO-LEFT OVERRIDE"


def test_rows_of_the_tail_show_the_same_characters() -> None:
    """The script has the ranges as well: both lists are of the same characters."""
    source = (FOLDER / "text.js").read_text()
    [written] = re.findall(r'HIDDEN = ((?:"[^"]*"[\s+]*)+);', source)
    script = "".join(re.findall(r'"([^"]*)"', written)).replace("\\\\", "\\")
    as_python = re.sub(r"\\u\{([0-9a-f]+)\}", lambda found: f"\\U{int(found[1], 16):08x}", script)
    assert as_python == HIDDEN


# ---------------------------------------------------------------- state in the address

names = st.sampled_from(
    ["service", "level", "text", "-text", "correlationId", "attr.k", "region", "from", "to", "limit"]
)
parameters = st.lists(st.tuples(names, st.text(min_size=1, max_size=8).filter(str.strip)), max_size=6).map(tuple)


@given(parameters)
def test_an_address_is_read_as_it_was_written(given_: state.Parameters) -> None:
    written = state.write(given_)
    replaced = tuple((name, value.encode("utf-8", "replace").decode()) for name, value in given_)
    assert state.read(written.partition("?")[2]) == replaced


@given(parameters)
def test_form_and_chips_together_hold_every_filter(given_: state.Parameters) -> None:
    in_form = {pair for pair in given_ if pair[0] == "level" and pair[1].upper() in state.LEVELS}
    in_form |= {("text", state.get(given_, "text"))}
    chips = {state.read(chip.href.partition("?")[2]) for chip in state.chips(given_)}
    for pair in state.filters(given_):
        without = tuple(one for one in given_ if one != pair)
        written = state.read(state.write(without).partition("?")[2])
        assert pair in in_form or written in chips


@given(parameters)
def test_what_the_form_sends_along_is_what_it_does_not_show(given_: state.Parameters) -> None:
    hidden = state.hidden(given_)
    shown_ = {("text", state.get(given_, "text"))} | {(name, value) for name, value in given_ if name == "limit"}
    assert set(hidden) | shown_ >= set(given_)


def test_a_level_by_another_name_is_a_chip_since_the_form_has_none_for_it() -> None:
    assert [(chip.about, chip.value) for chip in state.chips((("level", "warning"),))] == [("at least", "warning")]
    assert state.hidden((("level", "warning"),)) == (("level", "warning"),)
    assert state.chips((("level", "warn"),)) == []


def test_empty_fields_are_left_out() -> None:
    assert state.read("text=&service=checkout&level=") == (("service", "checkout"),)


def test_a_level_is_left_out_by_naming_the_others() -> None:
    assert state.get(state.excluded_level((("level", "INFO"),), "WARN") or (), "levels") == "INFO,ERROR,FATAL"
    assert state.get(state.excluded_level((("levels", "INFO,WARN"),), "WARN") or (), "levels") == "INFO"
    assert state.excluded_level((("levels", "WARN"),), "WARN") is None


# ---------------------------------------------------------------- moments


@pytest.mark.parametrize(
    ("milliseconds", "words"),
    [
        (0, "0 ms"),
        (2.2, "2.2 ms"),
        (40, "40 ms"),
        (1185, "1.2 s"),
        (41_000, "41 s"),
        (90_000, "1.5 min"),
        (86_400_000, "1 d"),
    ],
)
def test_spans_have_the_digits_that_matter(milliseconds: float, words: str) -> None:
    assert span(milliseconds) == words


def test_what_is_no_time_is_shown_as_it_is() -> None:
    assert moment("soon").clock == "soon"
    assert parse("2026-11-26T14:00:00") is None


# ---------------------------------------------------------------- bars

counted = st.lists(
    st.tuples(st.integers(0, 95), st.dictionaries(st.sampled_from(state.LEVELS), st.integers(0, 5000), max_size=6)),
    max_size=40,
    unique_by=lambda bucket: bucket[0],
)


@given(counted)
def test_bars_stay_in_the_picture_and_hold_every_event(buckets: list[tuple[int, dict[str, int]]]) -> None:
    begin = NOW - timedelta(minutes=15)
    first = begin - timedelta(seconds=5)  # a bucket begins before the range
    answer = {
        "from": iso(begin), "to": iso(NOW), "interval": "10s", "complete": True,
        "buckets": [{"at": iso(first + timedelta(seconds=10 * at)), "counts": counts} for at, counts in buckets if at <= 90],
    }  # fmt: skip
    drawn = chart(answer, (("service", "checkout"),))

    assert drawn is not None
    assert sum(bar.total for bar in drawn.bars) == sum(sum(counts.values()) for at, counts in buckets if at <= 90)
    for bar in drawn.bars:
        assert 0 <= bar.x <= WIDTH
        assert bar.x + bar.width <= WIDTH + 0.5
        assert 0 < sum(part.height for part in bar.segments) <= HEIGHT + 0.1
        narrowed = state.read(bar.href.partition("?")[2])
        low, high = parse(state.get(narrowed, "from")), parse(state.get(narrowed, "to"))
        assert low is not None
        assert high is not None
        assert begin <= low < high <= NOW
        assert state.get(narrowed, "service") == "checkout"


def test_a_chart_needs_a_range() -> None:
    assert chart({"from": iso(NOW), "to": iso(NOW), "interval": "1s", "buckets": []}, ()) is None
    assert chart({}, ()) is None
    assert interval_ms({"interval": "1m"}) == 60_000


def test_severe_levels_stand_on_the_ground() -> None:
    answer = {
        "from": iso(NOW - timedelta(seconds=20)), "to": iso(NOW), "intervalMs": 10_000,
        "buckets": [{"at": iso(NOW - timedelta(seconds=20)), "counts": {"INFO": 30, "FATAL": 10}}],
    }  # fmt: skip
    drawn = chart(answer, ())
    assert drawn is not None
    [bar] = drawn.bars
    assert [(part.tone, part.y + part.height) for part in bar.segments] == [("fatal", HEIGHT), ("info", 75.0)]


# ---------------------------------------------------------------- events


def test_a_row_leads_to_its_event_and_back_to_its_search() -> None:
    search: state.Parameters = (("service", "checkout"), ("text", "a&b"), ("cursor", "c1.x"))
    at = line(row(3), search)
    asked = state.read(at.href.partition("?")[2])
    assert state.get(asked, "timestamp") == row(3)["timestamp"]
    assert state.read(state.get(asked, "in")) == (("service", "checkout"), ("text", "a&b"))


def test_a_value_that_reads_as_json_stays_the_string_it_is() -> None:
    item = row(1, attributes={"code": "404", "n": 404, "name": "x"})
    found = [state.read((field.more or "").partition("?")[2])[-1][1] for field in shown(item, ()).attributes]
    assert found == ['"404"', "404", "x"]


def test_neighbours_say_how_far_away_they_are() -> None:
    near = neighbours({"before": [row(2)], "event": row(1), "after": [row(0)]}, ())
    assert [(one.away, one.here) for one in near] == [("\N{MINUS SIGN}731 ms", False), ("", True), ("+731 ms", False)]


def test_two_regions_have_two_colours() -> None:
    assert region_tone("region-a") != region_tone("region-b")


# ---------------------------------------------------------------- the life of an event


def test_steps_say_the_time_between_them() -> None:
    lived = life(samples.trace(8))
    assert [(step.title, step.since) for step in lived.steps] == [
        ("Happened", ""), ("Received", "+2.2 ms"), ("In Kafka", "+6.8 ms"), ("In Kafka", ""), ("In Kafka", ""),
        ("Stored", "+1.2 s"), ("Recognised as a duplicate", ""),
    ]  # fmt: skip
    assert [step.where for step in lived.copies["region-a"]] == ["region-b.logs/3@40118", "logs/3@77120"]
    assert lived.exposed == []


def test_what_was_not_seen_and_what_is_exposed_is_said() -> None:
    answer = samples.trace(8) | {
        "exposed": {"region-a": None, "region-b": True},
        "unseen": ["region-b", {"region": "region-c", "why": "no answer"}],
    }
    lived = life(answer)
    assert (lived.exposed, lived.unknown) == (["region-b"], ["region-a"])
    assert lived.unseen == ["region-b", "region-c: no answer"]


def test_what_waits_or_was_set_aside_says_where_and_why() -> None:
    steps = [
        {
            "what": "kafka",
            "region": "region-a",
            "topic": "logs",
            "stillThere": False,
            "note": "older than its retention",
        },
        {
            "what": "waiting",
            "region": "region-b",
            "of": "region-b logs/3@7",
            "place": "region-b logs/3@7",
            "before": 12000,
        },
        {
            "what": "set aside",
            "region": "region-a",
            "topic": "logs-dlq",
            "partition": 0,
            "offset": 3,
            "why": "no level",
        },
    ]
    shown_ = life({"verdict": "set aside", "kinds": ["poisoned"], "steps": steps})
    assert shown_.trouble
    assert [(step.what, step.title, step.where) for step in shown_.steps] == [
        ("kafka", "In Kafka", "logs"),
        ("waiting", "Waiting", ""),
        ("set-aside", "Set aside", "logs-dlq/0@3"),
    ]
    assert shown_.steps[0].gone
    assert "about 12,000 events before it" in shown_.steps[1].details
    assert shown_.steps[2].details == ["no level"]


# ---------------------------------------------------------------- replication


def test_a_whole_fleet_is_said_to_be_well() -> None:
    shown_ = replication_map(samples.replication(), NOW)
    assert (shown_.well, shown_.pair, shown_.verdict) == (True, True, "Every direction copies, and nothing is exposed.")


def test_a_split_names_directions_regions_and_what_is_exposed() -> None:
    shown_ = replication_map(samples.split(), NOW)
    assert shown_.verdict == "Not copied: region-a → region-b, region-b → region-a. region-b is not seen now."
    assert [(one.state, one.exposed, one.as_of) for one in shown_.directions] == [
        ("DOWN for 41 s", "1,204", ""),
        ("DOWN for 41 s", "77", "seen 41 s ago"),
    ]
    assert state.read(shown_.directions[0].late_href.partition("?")[2])[-1] == ("late", "true")


def test_what_is_unknown_is_no_zero() -> None:
    answer = samples.replication()
    answer["links"][0] |= {"lagRecords": None, "exposedRecords": None}
    answer["regions"][0] |= {"seenSecondsAgo": None}
    shown_ = replication_map(answer, NOW)
    assert (shown_.directions[0].records, shown_.directions[0].exposed) == ("unknown", "?")
    assert shown_.regions[0].words == "not seen yet"


# ---------------------------------------------------------------- the past of replication


def test_a_past_split_is_a_band_in_its_picture_and_a_line_of_the_table() -> None:
    shown_ = past(samples.past())
    assert shown_ is not None
    assert [(one.title, one.most, len(one.bands)) for one in shown_.exposed] == [
        ("region-a → region-b", "2,400", 1),
        ("region-b → region-a", "2,400", 1),
    ]
    assert next(
        (one.direction, one.lasted, one.converged, one.most, one.late, one.duplicates) for one in shown_.splits
    ) == (
        "region-b → region-a",
        "30 min",
        "at once",
        "2,400",
        ["1,204 in region-a", "1,204 in region-b"],
        ["6,000 in region-a", "6,000 in region-b"],
    )
    [band] = shown_.exposed[0].bands
    assert band.title == "not copied for 30 min, at most 2,400 exposed"
    assert (band.x, band.width) == (520.83, 20.84)
    assert [one.title for one in shown_.accepted] == ["region-a", "region-b"]


moments = st.lists(
    st.tuples(st.integers(0, 60), st.sampled_from([0.0, 1.0]), st.integers(0, 99)),
    max_size=30,
    unique_by=lambda one: one[0],
)


@given(moments)
def test_splits_are_exactly_where_a_direction_was_seen_and_did_not_copy(seen: list[tuple[int, float, int]]) -> None:
    step = 10
    seen = sorted(seen)
    metric = {"source": "a", "target": "b"}

    def matrix(values: list[list[Any]]) -> dict[str, Any]:
        return {"status": "success", "data": {"result": [{"metric": metric, "values": values}] if values else []}}

    answers = {
        UP: matrix([[at * step, str(up)] for at, up, _ in seen]),
        EXPOSED: matrix([[at * step, str(exposed)] for at, _, exposed in seen]),
        **dict.fromkeys((LAG, ACCEPTED, LATE, DUPLICATES), matrix([])),
    }
    found = history(answers, step)
    inside = {
        at
        for at, _, _ in seen
        for split in found["splits"]
        if split["begin"] <= at * step * 1000
        and (split["end"] is None or at * step * 1000 < max(split["end"], split["begin"] + 1))
    }
    down = {at for at, up, _ in seen if not up}
    # The last moment before a gap is the end of its split.
    assert inside <= down
    assert all(
        any(split["begin"] <= at * step * 1000 <= (split["end"] or 10**9) for split in found["splits"]) for at in down
    )
    assert all(split["mostExposed"] <= max((exposed for _, _, exposed in seen), default=0) for split in found["splits"])


@pytest.mark.parametrize(
    "answer", [{}, {"status": "error", "error": "too many"}, {"status": "success", "data": {"result": [{}]}}, []]
)
def test_an_answer_that_is_none_is_told(answer: Any) -> None:
    with pytest.raises(UnreadableError):
        history(dict.fromkeys(QUERIES, answer), 5)


@given(st.integers(1, 40 * 86_400))
def test_a_picture_has_no_more_moments_than_it_can_show(seconds: int) -> None:
    step = step_s(0, seconds * 1_000_000)
    assert step >= 5
    assert seconds / step <= 288


anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=10),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(st.fixed_dictionaries(dict.fromkeys(row(0), anything)))
def test_a_row_of_any_values_is_shown(item: dict[str, Any]) -> None:
    shown(item, ())


def test_between_is_in_milliseconds() -> None:
    assert between(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 1, 0, 0, 1, tzinfo=UTC)) == 1000
