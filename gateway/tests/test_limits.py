"""tenants.toml: what it says, and what is wrong with it."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from gateway.quotas.limits import Limits, TenantsError, read_tenants

WHOLE = """
[tenant.acme]
events_per_second = 2000
bytes_per_second = 2_000_000.5
burst_seconds = 5
requests_in_flight = 9
bytes_per_day = 50_000_000_000
max_age = "7d"
max_future = "10m"

[tenant.default]
"""


def test_each_name_says_what_it_says() -> None:
    tenants = read_tenants(WHOLE)

    assert tenants == {"acme": Limits(2000, 2_000_000.5, 5, 9, 50e9, 7 * 86_400, 600), "default": Limits()}


def test_each_of_several_gateways_takes_its_share_and_at_least_one_request() -> None:
    acme = read_tenants(WHOLE, gateways=4)["acme"]

    assert acme == Limits(500, 2_000_000.5 / 4, 5, 2, 12.5e9, 7 * 86_400, 600)
    assert read_tenants("[tenant.a]\nrequests_in_flight = 3", gateways=4)["a"].requests_in_flight == 1


@pytest.mark.parametrize("text", ["", "# none yet", "[tenant]"])
def test_a_file_may_name_no_tenant(text: str) -> None:
    assert read_tenants(text) == {}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[tenant.acme", "it is no TOML: "),
        ("[tenants.acme]\n", "tenants is not known; write [tenant.NAME]"),
        ("events_per_second = 1", "events_per_second is not known; write [tenant.NAME]"),
        ("tenant = 1", "tenant has to be a table"),
        ("[tenant]\nacme = 5", "tenant.acme: write [tenant.NAME]"),
        (
            "[tenant.acme]\nevent_per_second = 1",
            "tenant.acme.event_per_second is not known; did you mean events_per_second?",
        ),
        ("[tenant.acme]\nzzz = 1", "tenant.acme.zzz is not known; known are events_per_second, "),
        ("[tenant.acme]\nevents_per_second = 0", "tenant.acme.events_per_second has to be a number above 0, not 0"),
        ("[tenant.acme]\nevents_per_second = -1", "has to be a number above 0, not -1"),
        ("[tenant.acme]\nevents_per_second = inf", "has to be a number above 0, not inf"),
        ("[tenant.acme]\nevents_per_second = nan", "has to be a number above 0, not nan"),
        ("[tenant.acme]\nevents_per_second = true", "has to be a number above 0, not True"),
        ('[tenant.acme]\nbytes_per_day = "much"', "has to be a number above 0, not 'much'"),
        ("[tenant.acme]\nrequests_in_flight = 1.5", "has to be a whole number, not 1.5"),
        ("[tenant.acme]\nmax_age = 7", 'has to be a time like "90s", "10m", "36h" or "7d", not 7'),
        ('[tenant.acme]\nmax_age = "0d"', "has to be a time like"),
        ('[tenant.acme]\nmax_future = "soon"', "has to be a time like"),
        ("[tenant.acme]\nburst_seconds = 5", "says nothing without events_per_second or bytes_per_second"),
        ('[tenant."a b"]\n', "tenant.'a b': a name has up to 63 of"),
        ('[tenant.""]\n', "tenant.'': a name has up to 63 of"),
    ],
)
def test_what_is_wrong_is_said_by_name(text: str, problem: str) -> None:
    with pytest.raises(TenantsError) as caught:
        read_tenants(text)

    assert problem in str(caught.value)


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(TenantsError) as caught:
        read_tenants('[tenant.a]\nx = 1\nmax_age = "x"\n[tenant.b]\nevents_per_second = "x"\n')

    assert len(caught.value.problems) == 3


def is_told_well(text: str) -> bool:
    """Whether the text is limits, or something is told to be wrong with it."""
    try:
        read_tenants(text)
    except TenantsError as exc:
        return bool(exc.problems)
    return True


@given(st.text(max_size=60) | st.text("[]tenant.acme=\n\"'0159_ #", max_size=60))
def test_any_text_is_limits_or_problems(text: str) -> None:
    assert is_told_well(text)


@given(st.integers(0, len(WHOLE)))
def test_half_a_file_is_limits_or_problems(end: int) -> None:
    assert is_told_well(WHOLE[:end])
