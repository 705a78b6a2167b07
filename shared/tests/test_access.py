"""Keys: their form, the file of all of them, which one a request carries, and who it stands for."""

import asyncio
import json

from base64 import b64encode
from dataclasses import replace
from ipaddress import ip_network
from math import inf
from pathlib import Path

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.access.headers import has_key, key_of, tenants_named
from shared.access.key_file import KeyFileError, read_keys, ring_of, write_keys
from shared.access.keys import (
    KEY_CHARS,
    NO_KEY,
    KeyRefusedError,
    KeyRing,
    Reason,
    StoredKey,
    checksum,
    digest,
    id_of,
    new_key,
)
from shared.access.principal import Principal, is_tenant
from shared.access.scopes import Scope, scopes_of
from shared.access.watched import Watched, WatchedFileError

PEPPER = b"p" * 43
RANDOM = st.binary(min_size=64, max_size=64)


def key_from(random: bytes) -> str:
    rest = iter(random)
    return new_key(lambda count: bytes(next(rest) for _ in range(count)))


KEYS = RANDOM.map(key_from)
ONE = key_from(bytes(range(64)))
OTHER = key_from(bytes(range(64, 128)))


def stored(key: str, pepper: bytes = PEPPER, **facts: object) -> StoredKey:
    key_id = id_of(key)
    assert key_id is not None
    who = Principal(key_id, "default", frozenset({Scope.WRITE}))
    return replace(StoredKey(who, digest(key, pepper)), **facts)  # type: ignore[arg-type]


def reason(ring: KeyRing, key: str, now: float = 0.0, address: str = "192.0.2.1") -> Reason:
    with pytest.raises(KeyRefusedError) as caught:
        ring.verify(key, now, address)
    return caught.value.reason


@given(KEYS)
def test_a_key_has_the_form_that_it_should_have(key: str) -> None:
    assert len(key) == KEY_CHARS == 64
    assert id_of(key) == key[4:14]


@given(KEYS, st.integers(0, KEY_CHARS - 1), st.characters())
def test_one_other_character_is_told_without_a_look_up(key: str, where: int, other: str) -> None:
    changed = key[:where] + other + key[where + 1 :]

    assert id_of(changed) is None or changed == key


@given(KEYS, st.integers(0, KEY_CHARS - 1), st.sampled_from(" \t\n_A"))
def test_a_key_that_is_longer_shorter_or_has_blanks_is_none(key: str, where: int, more: str) -> None:
    assert id_of(key[:where]) is None
    assert id_of(key[:where] + key[where + 1 :]) is None
    assert id_of(key[:where] + more + key[where:]) is None
    assert id_of(key + more) is None


@given(st.text())
def test_any_text_is_looked_at(text: str) -> None:
    assert id_of(text) is None


def test_a_key_stands_for_whose_it_is() -> None:
    ring = KeyRing([stored(ONE), stored(OTHER)], PEPPER)

    assert ring.verify(ONE, 0.0).key_id == ONE[4:14]
    assert ring.verify(OTHER, 0.0).key_id == OTHER[4:14]


def test_missing_unknown_and_wrong_are_told_alike() -> None:
    ring = KeyRing([stored(ONE)], PEPPER)
    forged = "mrl_" + ONE[4:14] + OTHER[14:58]
    forged += checksum(forged)

    assert reason(ring, OTHER) is Reason.UNKNOWN
    assert reason(ring, forged) is Reason.WRONG
    assert reason(ring, ONE[:-1]) is Reason.MALFORMED
    for key in (OTHER, forged, ONE[:-1]):
        with pytest.raises(KeyRefusedError) as caught:
            ring.verify(key, 0.0)
        assert caught.value.sentence == NO_KEY


def test_another_pepper_makes_every_key_wrong() -> None:
    assert reason(KeyRing([stored(ONE)], b"another"), ONE) is Reason.WRONG


@given(
    st.floats(0, 1e9),
    st.floats(0, 1e9) | st.just(-inf),
    st.floats(0, 1e9) | st.just(inf),
    st.none() | st.floats(0, 1e9),
)
def test_a_key_is_good_from_its_beginning_to_its_end(
    now: float, begin: float, end: float, revoked: float | None
) -> None:
    ring = KeyRing([stored(ONE, not_before=begin, expires=end, revoked=revoked)], PEPPER)
    is_good = begin <= now < end and (revoked is None or now < revoked)

    assert ring.is_good(ONE[4:14], now) == is_good
    if is_good:
        assert ring.verify(ONE, now).key_id == ONE[4:14]
    else:
        assert reason(ring, ONE, now) in (Reason.EARLY, Reason.EXPIRED, Reason.REVOKED)


@pytest.mark.parametrize(
    ("address", "is_within"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("192.0.3.1", False),
        ("", False),
        ("unix", False),
        ("::1", False),
    ],
)
def test_a_key_may_be_bound_to_addresses(address: str, *, is_within: bool) -> None:
    ring = KeyRing([stored(ONE, networks=(ip_network("192.0.2.0/24"),))], PEPPER)

    if is_within:
        assert ring.verify(ONE, 0.0, address).key_id == ONE[4:14]
    else:
        assert reason(ring, ONE, 0.0, address) is Reason.ADDRESS


def basic(user: str, password: str) -> bytes:
    return b64encode(f"{user}:{password}".encode())


@pytest.mark.parametrize(
    "header",
    [
        (b"authorization", b"Bearer " + ONE.encode()),
        (b"authorization", b"bearer   " + ONE.encode()),
        (b"authorization", b"Splunk " + ONE.encode()),
        (b"authorization", b"ApiKey " + ONE.encode()),
        (b"authorization", b"ApiKey " + basic("some-id", ONE)),
        (b"authorization", b"Basic " + basic("any", ONE)),
        (b"authorization", b"Basic " + basic("", ONE)),
        (b"authorization", b"Basic " + basic("any", ONE).rstrip(b"=")),
        (b"dd-api-key", ONE.encode()),
    ],
)
def test_each_protocol_has_its_own_way_to_carry_a_key(header: tuple[bytes, bytes]) -> None:
    assert key_of([(b"host", b"x"), header]) == ONE


def test_a_request_without_a_key_has_none() -> None:
    assert key_of([(b"host", b"x"), (b"cookie", ONE.encode())]) is None


@pytest.mark.parametrize(
    "headers",
    [
        [(b"authorization", b"Digest " + ONE.encode())],
        [(b"authorization", ONE.encode())],
        [(b"authorization", b"Basic \xff\xfe")],
        [(b"authorization", b"Basic a")],
        [(b"authorization", b"Bearer " + ONE.encode()), (b"authorization", b"Bearer " + OTHER.encode())],
        [(b"authorization", b"Bearer " + ONE.encode()), (b"dd-api-key", OTHER.encode())],
    ],
)
def test_what_is_no_key_or_two_is_refused(headers: list[tuple[bytes, bytes]]) -> None:
    with pytest.raises(KeyRefusedError):
        key_of(headers)


@given(st.lists(st.tuples(st.sampled_from([b"authorization", b"dd-api-key", b"host"]), st.binary(max_size=120))))
def test_any_headers_are_read_or_refused(headers: list[tuple[bytes, bytes]]) -> None:
    try:
        found = key_of(headers)
    except KeyRefusedError:
        return
    assert found is None or isinstance(found, str)


def test_a_key_in_a_query_is_seen_however_it_is_written() -> None:
    assert has_key(b"a=1&token=" + ONE.encode())
    assert has_key(b"token=%6drl%5f" + ONE[4:].encode())
    assert not has_key(b"q=hello")
    assert not has_key(b"")


def test_tenants_are_named_in_two_headers() -> None:
    assert tenants_named([(b"x-tenant", b"a"), (b"x-scope-orgid", b"a")]) == ["a"]
    assert tenants_named([(b"x-tenant", b"a"), (b"x-scope-orgid", b"b")]) == ["a", "b"]


TIMES = st.floats(0, 4e9).map(lambda at: round(at, 3))


@given(
    st.lists(KEYS, max_size=5, unique_by=lambda key: key[4:14]),
    st.sets(st.sampled_from(Scope), min_size=1),
    st.tuples(TIMES, TIMES | st.just(inf), st.none() | TIMES),
    st.text(max_size=20),
)
def test_a_key_file_says_what_was_written(
    keys: list[str], scopes: set[Scope], times: tuple[float, float, float | None], name: str
) -> None:
    begin, end, revoked = times
    name = name.encode(errors="ignore").decode()
    written = [
        replace(
            stored(
                key, not_before=begin, expires=end, revoked=revoked, name=name, networks=(ip_network("10.0.0.0/8"),)
            ),
            principal=Principal(key[4:14], "acme", frozenset(scopes)),
        )
        for key in keys
    ]

    assert read_keys(write_keys(written)) == written


@given(st.integers(0, 10_000))
def test_a_half_written_key_file_is_refused_at_every_length(cut: int) -> None:
    whole = write_keys([stored(ONE), stored(OTHER)])
    cut %= len(whole) - 1

    with pytest.raises(KeyFileError, match="the file"):
        read_keys(whole[:cut])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["everything"]}, "scopes"),
        ({"hash": "short"}, "hash"),
        ({"expires": "2026-01-01T00:00:00"}, "timezone"),
        ({"tenant": "Not A Tenant"}, "tenant's name"),
        ({"cidrs": ["10.0.0.1/8"]}, "host bits"),
        ({"expirse": "2026-01-01T00:00:00Z"}, "expirse"),
    ],
)
def test_a_key_that_makes_no_sense_is_told(change: dict[str, object], sentence: str) -> None:
    file = json.loads(write_keys([stored(ONE)]))
    file["keys"][0] |= change

    with pytest.raises(KeyFileError, match=sentence):
        read_keys(json.dumps(file).encode())


def test_one_id_twice_is_refused_and_no_sentence_has_a_hash() -> None:
    text = write_keys([stored(ONE), stored(ONE)])

    with pytest.raises(KeyFileError, match="more than once") as caught:
        read_keys(text)
    assert stored(ONE).hash.hex() not in str(caught.value)


def test_scopes_are_named() -> None:
    assert scopes_of("write, read") == {Scope.WRITE, Scope.READ}
    with pytest.raises(ValueError, match="there are: write, read, ops, admin"):
        scopes_of("write,all")


@pytest.mark.parametrize("name", ["default", "a", "team-1_x", "0"])
def test_names_of_tenants(name: str) -> None:
    assert is_tenant(name)


@pytest.mark.parametrize("name", ["", "A", "a b", "-a", "a\n", "é", "a" * 64, "a\0"])
def test_what_is_no_name_of_a_tenant(name: str) -> None:
    assert not is_tenant(name)


def watched(path: Path) -> Watched[KeyRing]:
    return Watched(path, lambda text: ring_of(text, PEPPER), what="the key file")


def test_a_half_written_key_file_keeps_the_old_one_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(write_keys([stored(ONE)]))
    file = watched(path)
    whole = write_keys([stored(OTHER)])

    for broken in (whole[: len(whole) // 2], b"", b'{"keys": 1}'):
        path.write_bytes(broken)
        file.look()
        assert file.value.verify(ONE, 0.0).key_id == ONE[4:14]
        assert file.problem is not None
        assert "stays in force" in file.problem

    path.write_bytes(whole)
    file.look()
    assert file.problem is None
    assert file.value.verify(OTHER, 0.0).key_id == OTHER[4:14]
    assert reason(file.value, ONE) is Reason.UNKNOWN


def test_a_file_that_went_keeps_what_it_said(tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(write_keys([stored(ONE)]))
    file = watched(path)

    path.unlink()
    file.look()

    assert file.value.verify(ONE, 0.0).key_id == ONE[4:14]
    assert "No such file" in (file.problem or "")


def test_without_a_good_file_there_is_no_beginning(tmp_path: Path) -> None:
    with pytest.raises(WatchedFileError, match=r"the key file .* cannot be used: No such file"):
        watched(tmp_path / "none")
    (tmp_path / "keys.json").write_bytes(b"{")
    with pytest.raises(WatchedFileError, match="the file: "):
        watched(tmp_path / "keys.json")


async def test_a_change_comes_into_force_by_itself(tmp_path: Path) -> None:
    path, changed = tmp_path / "keys.json", asyncio.Event()
    path.write_bytes(write_keys([stored(ONE)]))
    file = Watched(path, lambda text: ring_of(text, PEPPER), what="the key file", on_change=lambda _: changed.set())
    watching = asyncio.create_task(file.run(0.001))

    new = tmp_path / "new"
    new.write_bytes(write_keys([stored(OTHER)]))
    new.replace(path)
    await changed.wait()

    watching.cancel()
    assert file.value.verify(OTHER, 0.0).key_id == OTHER[4:14]
