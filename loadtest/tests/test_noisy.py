"""The scenario with a noisy tenant: what it needs, and what it finds."""

import pytest

from loadtest.noisy import CannotJudgeError, Sender, judge, quota_of_noisy

FINE = {"retry-after": "2", "ratelimit": '"events";r=0;t=2', "ratelimit-policy": '"events";q=10;w=1'}
FILE = "[tenant.load-noisy]\nevents_per_second = 200\n"


def senders() -> tuple[Sender, Sender]:
    noisy, quiet = Sender("load-noisy"), Sender("load-quiet")
    noisy.told([b"n1", b"n2"], 202, {}, 0.1)
    noisy.told([b"n3"], 429, FINE, 0.1)
    quiet.told([b"q1"], 202, {}, 0.1)
    return noisy, quiet


ROWS = [b"n1", b"n2", b"q1"]


def test_what_was_acknowledged_is_stored_and_what_was_refused_is_not() -> None:
    assert judge(*senders(), ROWS) == []


def found(rows: list[bytes], *answers: tuple[str, bytes, int, dict[str, str]]) -> str:
    noisy, quiet = senders()
    for who, event, status, headers in answers:
        (noisy if who == "noisy" else quiet).told([event], status, headers, 0.1)
    return "\n".join(judge(noisy, quiet, rows))


@pytest.mark.parametrize(
    ("rows", "answer", "finding"),
    [
        (ROWS, ("quiet", b"q2", 429, FINE), "the quiet tenant was refused or cut off: 1 times 429"),
        (ROWS, ("quiet", b"q2", 503, {}), "the quiet tenant was refused or cut off: 1 times 503"),
        (ROWS, ("noisy", b"n4", 503, {}), "other answers than 202 and 429: 1 times 503"),
        (ROWS, ("noisy", b"n4", 429, {**FINE, "retry-after": "0"}), "with Retry-After '0'"),
        (ROWS, ("noisy", b"n4", 429, {"retry-after": "1"}), "without RateLimit"),
        (ROWS, ("noisy", b"n4", 202, {}), "1 acknowledged events of load-noisy are no rows: 6e34"),
        (ROWS, ("quiet", b"q2", 202, {}), "1 acknowledged events of load-quiet are no rows"),
        ([*ROWS, b"n4"], ("noisy", b"n4", 429, FINE), "were refused with 429, and are rows: 6e34"),
        ([*ROWS, b"n1"], ("noisy", b"n4", 429, FINE), "1 events have more than one row"),
        ([*ROWS, b"xx"], ("noisy", b"n4", 429, FINE), "1 rows were never sent"),
    ],
)
def test_each_break_of_the_promise_is_found(
    rows: list[bytes], answer: tuple[str, bytes, int, dict[str, str]], finding: str
) -> None:
    assert finding in found(rows, answer)


def test_a_quota_that_is_not_in_force_is_a_finding() -> None:
    noisy, quiet = Sender("load-noisy"), Sender("load-quiet")
    noisy.told([b"n1"], 202, {}, 0.1)
    quiet.told([b"q1"], 202, {}, 0.1)

    assert judge(noisy, quiet, [b"n1", b"q1"]) == ["the noisy tenant was never refused; is the quota in force?"]


def test_an_attempt_without_an_answer_may_be_a_row_and_is_a_finding_of_the_quiet_tenant() -> None:
    noisy, quiet = senders()
    quiet.cut_off([b"q2"], "ReadError")

    assert judge(noisy, quiet, [*ROWS, b"q2"]) == ["the quiet tenant was refused or cut off: 1 times ReadError"]


def test_a_fleet_without_keys_or_quota_is_refused_with_what_to_do() -> None:
    for security, file, text, sentence in (
        ("open", "none", None, "start it with FLEET_SECURITY=on"),
        ("on", "none", None, "FLEET_TENANTS_FILE is none: let it name a file with"),
        ("on", "/x/tenants.toml", "[tenant", "/x/tenants.toml is no TOML"),
        ("on", "/x/tenants.toml", "", "needs a quota for load-noisy alone"),
        ("on", "/x/tenants.toml", FILE + "[tenant.load-quiet]\n", "needs a quota for load-noisy alone"),
    ):
        with pytest.raises(CannotJudgeError, match=sentence.replace("[", r"\[")):
            quota_of_noisy(security, file, text)

    assert quota_of_noisy("on", "/x/tenants.toml", FILE) == 200
