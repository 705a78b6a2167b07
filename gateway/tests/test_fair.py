"""Callers have their turns, by bytes, and keep the order of their own."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from gateway.delivery.fair import QUANTUM_BYTES, Lines


@dataclass
class Post:
    caller: str
    size: int
    number: int = 0


POSTS = st.lists(
    st.tuples(st.sampled_from("abc"), st.one_of(st.integers(1, 500), st.integers(1, 5 * QUANTUM_BYTES))), max_size=40
)


def lines_of(posts: list[Post]) -> Lines[Post]:
    lines: Lines[Post] = Lines()
    for post in posts:
        lines.append(post)
    return lines


def drain(lines: Lines[Post]) -> list[Post]:
    taken = []
    while lines:
        taken.append(lines.first())
        assert taken[-1] is lines.first()
        lines.take(taken[-1])
    return taken


@given(POSTS)
def test_all_are_served_and_each_callers_in_their_order(sent: list[tuple[str, int]]) -> None:
    posts = [Post(caller, size, number) for number, (caller, size) in enumerate(sent)]

    taken = drain(lines_of(posts))

    for caller in "abc":
        assert [post for post in taken if post.caller == caller] == [post for post in posts if post.caller == caller]
    assert not any(caller in lines_of([]) for caller in "abc")


@given(st.lists(st.integers(1, 2 * QUANTUM_BYTES), max_size=30))
def test_a_single_caller_is_served_first_in_first_out(sizes: list[int]) -> None:
    posts = [Post("a", size, number) for number, size in enumerate(sizes)]

    assert drain(lines_of(posts)) == posts


@given(POSTS)
def test_while_two_wait_neither_is_ahead_by_more_than_a_turn_and_a_post(sent: list[tuple[str, int]]) -> None:
    posts = [Post(caller, size, number) for number, (caller, size) in enumerate(sent)]
    lines = lines_of(posts)
    largest = max((post.size for post in posts), default=0)
    served = dict.fromkeys("abc", 0)
    while all(caller in lines for caller in "ab"):
        post = lines.first()
        lines.take(post)
        served[post.caller] += post.size
        assert abs(served["a"] - served["b"]) <= QUANTUM_BYTES + 2 * largest


@given(st.integers(1, 10_000), st.lists(st.integers(1, 1000), min_size=1, max_size=20))
def test_who_comes_to_a_flood_waits_for_one_turn(flood: int, few: list[int]) -> None:
    lines = lines_of([Post("flood", 300, number) for number in range(flood)])
    for _ in range(min(flood // 2, 500)):
        lines.take(lines.first())
    for size in few:
        lines.append(Post("b", size))

    taken = drain(lines)

    before = taken[: taken.index(next(post for post in taken if post.caller == "b"))]
    assert sum(post.size for post in before) <= QUANTUM_BYTES
    last = len(taken) - next(place for place, post in enumerate(taken[::-1]) if post.caller == "b")
    assert sum(post.size for post in taken[:last] if post.caller == "flood") <= 2 * QUANTUM_BYTES


@given(POSTS, st.sampled_from("abc"))
def test_the_newest_of_a_caller_can_be_taken_back(sent: list[tuple[str, int]], caller: str) -> None:
    posts = [Post(who, size, number) for number, (who, size) in enumerate(sent)]
    lines = lines_of(posts)
    taken_back = []
    while caller in lines:
        taken_back.append(lines.take_newest(caller))

    assert taken_back == [post for post in posts if post.caller == caller][::-1]
    assert sorted(drain(lines), key=lambda post: post.number) == [post for post in posts if post.caller != caller]
