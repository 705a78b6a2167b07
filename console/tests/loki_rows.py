"""Rows and queries in LogQL for them, as strategies: the unit tests filter in memory, the component tests in PostgreSQL."""

import json
import re

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from hypothesis import strategies as st

from console.row import Row
from console.tests.fakes import a_row

BASE = datetime(2026, 11, 26, 12, tzinfo=UTC)
NAMES = ["checkout", "pay-a", "pay-b", "o'brien", "a.b", 'q"x', "new\nline"]
REASONS = ["clock_skew", "split", None]
TEXTS = ["timeout after 10s", "100% of it_", "ÜBERLAUF Σίσυφος", "a\nb", "\\d+ [x]", "", "status=500 level=error", "Σ"]
KEYS = ["k", "http.status", "http_status", "seq", "seq_extracted", "1st", "", "a-b", "a.b", "Ä"]
VALUES = ["v", "500", 500, 0.5, -1, True, False, None, "", "ü'\"\\", "1e3", "05"]
SUBTEXTS = ["timeout", "TIMEOUT", "%", "_", "überlauf", "σίσυφοσ", "\n", "\\d", "[x]", "", "500", "nothing", "'"]


@st.composite
def rows(draw: st.DrawFn, most: int = 12) -> list[Row]:
    """Events of which a query may want some."""
    found = []
    for seq in range(1, draw(st.integers(0, most)) + 1):
        reason = draw(st.sampled_from(REASONS))
        attributes = draw(st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=4))
        found.append(
            a_row(
                seq,
                BASE + timedelta(microseconds=draw(st.integers(0, 3))),
                service_name=draw(st.sampled_from(NAMES)),
                level=draw(st.sampled_from(["TRACE", "INFO", "WARN", "ERROR", "FATAL"])),
                message=draw(st.sampled_from(TEXTS)),
                correlation_id=draw(st.sampled_from(["trace-1", "trace-2", ""])),
                attributes=json.dumps(attributes),
                origin_region=draw(st.sampled_from(["region-a", "region-b"])),
                stored_by=draw(st.sampled_from(["region-a/consumer-a/1", "region-b/consumer-b/2"])),
                late=reason is not None,
                late_reason=reason,
                late_by_ms=None if reason is None else 5,
            )
        )
    return found


def quoted(text: str) -> str:
    """A text as LogQL has it."""
    return json.dumps(text)


def anchored(text: str) -> str:
    """A text as an expression for itself."""
    return re.escape(text)


# What LogQL and the parameters of a search can both say: the matcher or stage, and the parameter.
Said = tuple[str, str, tuple[str, str]]
MATCHERS: st.SearchStrategy[list[Said]] = st.lists(
    st.one_of(
        st.lists(st.sampled_from([*NAMES, "pay*"]), min_size=1, max_size=3, unique=True).map(
            lambda names: (
                "service",
                "service_name=~" + quoted("|".join(anchored(name[:-1]) + ".*" if name == "pay*" else anchored(name) for name in names)),
                ("service", "\x00".join(names)),
            )
        ),
        st.sampled_from(["TRACE", "WARN", "error", "critical"]).map(
            lambda level: ("level", "level=~" + quoted(at_least(level)), ("level", level))
        ),
        st.sampled_from(["region-a", "region-b", "nowhere"]).map(lambda name: ("region", f'region="{name}"', ("region", name))),
        st.sampled_from(["true", "false"]).map(lambda text: ("late", f'late="{text}"', ("late", text))),
    ),
    max_size=4,
    unique_by=lambda said: said[0],
)  # fmt: skip
STAGES: st.SearchStrategy[list[Said]] = st.lists(
    st.one_of(
        st.sampled_from([text for text in SUBTEXTS if text]).map(
            lambda text: (f"text{text}", "|~ " + quoted("(?i)" + anchored(text)), ("text", text))
        ),
        st.sampled_from([text for text in SUBTEXTS if text]).map(
            lambda text: (f"-text{text}", "!~ " + quoted("(?i)" + anchored(text)), ("-text", text))
        ),
        st.sampled_from(["trace-1", "trace-2"]).map(
            lambda text: ("correlation", f'| correlation_id="{text}"', ("correlationId", text))
        ),
        st.sampled_from(["clock_skew", "split"]).map(
            lambda text: ("reason", f'| late_reason="{text}"', ("lateReason", text))
        ),
        st.sampled_from(["region-a/consumer-a/1", "elsewhere"]).map(
            lambda text: ("stored", f'| stored_by="{text}"', ("storedBy", text))
        ),
        # As JSON, `true` is a boolean, and "1e3" a number; as a text it is what is between the quotes.
        st.sampled_from(["v", "ü'\"\\"]).map(
            lambda text: (f"attribute{text}", f"| k={quoted(text)}", ("attr.k", json.dumps(text)))
        ),
    ),
    max_size=4,
    unique_by=lambda said: said[0],
)


def at_least(level: str) -> str:
    """An expression for this level and those above."""
    order = ["TRACE", "DEBUG", "INFO", "WARN", "ERROR", "FATAL"]
    known = {"error": "ERROR", "critical": "FATAL"}.get(level, level)
    return "|".join(order[order.index(known) :])


def parameters(said: list[Said]) -> list[tuple[str, Any]]:
    """The parameters of a search that say the same."""
    return [(name, value) for _, _, (name, values) in said for value in values.split("\x00")]


# Any query, of which the parameters of a search cannot say all.
OPS = st.sampled_from(["=", "!=", "=~", "!~"])
EXPRESSIONS = st.sampled_from(
    ["v", "5.*", "region-.", ".*", ".+", "", "(?i)V|ü.*", "INFO|warn", r"\d+", "true", "pay-[ab]", "[^a]*", "a.b"]
)
LABELS = st.sampled_from(["service_name", "level", "region", "late"])
FIELDS = st.sampled_from(
    ["correlation_id", "event_id", "seq", "late_reason", "stored_by", "level", "detected_level", "k", "http_status", "seq_extracted", "_1st", "_", "a_b", "nothing", "__error__"]
)  # fmt: skip
NUMBERS = st.builds("{}{}{}".format, FIELDS, st.sampled_from(["==", "!=", ">", ">=", "<", "<="]), st.sampled_from(["500", "0.5", "-1", "2", "1000"]))  # fmt: skip
UNITS = st.builds("{}{}{}".format, FIELDS, OPS, EXPRESSIONS.map(quoted)) | NUMBERS
FILTERS = st.recursive(UNITS, lambda inner: st.builds("({} {} {})".format, inner, st.sampled_from(["and", "or", ","]), inner), max_leaves=4)  # fmt: skip
LINES = st.builds(
    lambda op, texts: op + " " + " or ".join(map(quoted, texts)),
    st.sampled_from(["|=", "!="]),
    st.lists(st.sampled_from(SUBTEXTS), min_size=1, max_size=2),
) | st.builds(
    "{} {}".format,
    st.sampled_from(["|~", "!~"]),
    st.sampled_from([r"\d+s?", "(?i)ÜBER|Σ$", "^a.b$", r"(?s)^a.b$", r"\bof\b", "[^ -~]", "time(out)?", ""]).map(
        quoted
    ),
)
QUERIES = st.builds(
    lambda matchers, stages: "{" + ",".join(matchers) + "} " + " ".join(stages),
    st.lists(st.builds("{}{}{}".format, LABELS, OPS, EXPRESSIONS.map(quoted)), max_size=2),
    st.lists(LINES | FILTERS.map("| {}".format), max_size=3),
)


def text_of(value: Any) -> str:
    """An attribute as a text, as PostgreSQL makes it."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(Decimal(str(value))) if isinstance(value, int | float) else str(value)
