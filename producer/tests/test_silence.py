from hypothesis import given
from hypothesis import strategies as st

from producer.silence import Silence


def test_nothing_asked_is_no_silence() -> None:
    assert Silence().duration(1000.0) == 0.0


def test_silence_begins_with_the_first_event_that_is_owed() -> None:
    silence = Silence()

    silence.asked(10.0)
    silence.asked(12.0)

    assert silence.duration(15.0) == 5.0


def test_an_acknowledgement_ends_it_when_nothing_else_is_owed() -> None:
    silence = Silence()

    silence.asked(10.0)
    silence.acknowledged(11.0, others_owed=False)

    assert silence.duration(100.0) == 0.0


def test_an_acknowledgement_begins_it_anew_when_others_are_owed() -> None:
    silence = Silence()

    silence.asked(10.0)
    silence.acknowledged(11.0, others_owed=True)

    assert silence.duration(14.0) == 3.0


def test_a_replaced_client_owes_nothing() -> None:
    silence = Silence()

    silence.asked(10.0)
    silence.end()

    assert silence.duration(14.0) == 0.0


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["asked", "one", "all"])), max_size=12))
def test_it_lasts_from_the_newest_acknowledgement_or_the_oldest_question_since(steps: list[tuple[int, str]]) -> None:
    silence, now, owed_since = Silence(), 0, None
    for pause, step in steps:
        now += pause
        if step == "asked":
            silence.asked(now)
            owed_since = now if owed_since is None else owed_since
        else:
            silence.acknowledged(now, others_owed=step == "one")
            owed_since = now if step == "one" else None

    assert silence.duration(now + 2) == (0 if owed_since is None else now + 2 - owed_since)
