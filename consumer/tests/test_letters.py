from hypothesis import given
from hypothesis import strategies as st

from consumer.envelope import DeadLetter, Partition
from consumer.letters import PORTION_BYTES, PORTION_LETTERS, bare, portions, size_of


def a_letter(size: int, *, key: bytes | None = b"k") -> DeadLetter:
    return DeadLetter(Partition("logs", 0), 3, key, b"x" * size, "malformed", "no JSON")


@given(st.lists(st.sampled_from([0, 1, PORTION_BYTES // 2, PORTION_BYTES, 2 * PORTION_BYTES]), max_size=12))
def test_portions_keep_all_letters_in_order_and_within_the_limit(sizes: list[int]) -> None:
    letters = [a_letter(size) for size in sizes]
    groups = list(portions(letters))

    assert [letter for group in groups for letter in group] == letters
    assert all(sum(map(size_of, group)) <= PORTION_BYTES or len(group) == 1 for group in groups)
    assert all(groups)


def test_a_portion_has_a_limited_number_of_letters() -> None:
    groups = list(portions([a_letter(1)] * (2 * PORTION_LETTERS + 1)))

    assert [len(group) for group in groups] == [PORTION_LETTERS, PORTION_LETTERS, 1]


def test_of_what_is_too_large_size_and_hash_are_said() -> None:
    small = bare(a_letter(3))

    assert (small.value, small.key) == (None, b"k")
    assert small.detail == (
        "left out here: a value of 3 bytes, "
        "sha256 cd2eb0837c9b4c962c22d2ff8b5441b7b45805887f051d39bf133b583baf6860; no JSON"
    )


def test_a_key_that_is_too_large_is_left_out_as_well() -> None:
    small = bare(a_letter(3, key=b"k" * PORTION_BYTES))

    assert small.key is None
    assert f"and a key of {PORTION_BYTES} bytes, sha256 " in small.detail
