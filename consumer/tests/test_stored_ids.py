from hypothesis import given
from hypothesis import strategies as st

from consumer.stored_ids import ID_BYTES, StoredIds

IDS = st.binary(min_size=16, max_size=16)
NAMES = st.from_regex(r"[a-z][a-z0-9-]{0,20}", fullmatch=True)
SECRET = bytes(range(32))


def test_the_rule_is_the_one_that_rows_were_stored_by() -> None:
    # A change would store every event of a tenant a second time, and its readers would not find the first.
    assert StoredIds(SECRET).of("acme", bytes(16)).hex() == "b32f93d422e1756854112c04723b2853"


@given(IDS, NAMES, NAMES)
def test_the_same_id_is_another_one_in_another_tenant(event_id: bytes, one: str, other: str) -> None:
    ids = StoredIds(SECRET)

    assert len(ids.of(one, event_id)) == ID_BYTES
    assert ids.of(one, event_id) == StoredIds(SECRET).of(one, event_id)
    assert (ids.of(one, event_id) == ids.of(other, event_id)) is (one == other)
    assert ids.of(one, event_id) != event_id


@given(IDS, NAMES)
def test_who_does_not_know_the_secret_gets_another_id(event_id: bytes, name: str) -> None:
    assert StoredIds(SECRET).of(name, event_id) != StoredIds(bytes(32)).of(name, event_id)


@given(IDS, IDS, NAMES)
def test_two_ids_of_a_tenant_stay_two(one: bytes, other: bytes, name: str) -> None:
    ids = StoredIds(SECRET)

    assert (ids.of(name, one) == ids.of(name, other)) is (one == other)


def test_no_more_tenants_are_remembered_than_may_be() -> None:
    ids = StoredIds(SECRET)
    first = ids.of("t0", bytes(16))
    for number in range(3000):
        ids.of(f"t{number}", bytes(16))

    assert ids.of("t0", bytes(16)) == first
