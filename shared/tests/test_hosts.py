"""Which `Host` is a service's own."""

import pytest

from hypothesis import given
from hypothesis import strategies as st

from shared.process.hosts import AllowedHosts, split_names

OWN = ["", "localhost", "LOCALHOST:8080", "localhost.", "127.0.0.1", "127.0.0.1:8080", "127.9.8.7:1", "[::1]", "[::1]:8080", "192.168.1.2:80", "0.0.0.0:8080", "[fe80::1]:8080", "host.docker.internal:8080", "host.containers.internal"]  # fmt: skip
FOREIGN = ["evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "evil.example.", "localhost:80:80", "localhost:x", "::1", "[::1", "[::1]x", "localhost@evil.example", "localhost/", "localhost, evil.example", " localhost", "127.1", "0x7f.0.0.1", "2130706433", "*", "xlocalhost", "\xe9.example"]  # fmt: skip


@pytest.mark.parametrize("host", OWN)
def test_addresses_and_names_of_loopback_are_allowed(host: str) -> None:
    assert AllowedHosts().allows(host.encode("latin-1"))


@pytest.mark.parametrize("host", FOREIGN)
def test_another_name_is_foreign(host: str) -> None:
    assert not AllowedHosts(["logs.example.org", "*.logs.example"]).allows(host.encode("latin-1"))


def test_further_names_are_allowed_with_any_port_and_in_any_case() -> None:
    hosts = AllowedHosts(split_names(" Logs.example.org, *.example.com,,gateway"))

    for own in (b"logs.example.org", b"LOGS.EXAMPLE.ORG:8443", b"a.example.com", b"a.b.example.com.", b"gateway:8080"):
        assert hosts.allows(own), own
    for foreign in (b"example.com", b"xexample.com", b"a.logs.example.org", b"gateway.evil.example"):
        assert not hosts.allows(foreign), foreign


def test_a_star_allows_any() -> None:
    assert AllowedHosts(split_names("*")).allows(b"whatever, it is")


@pytest.mark.parametrize("text", ["http://logs", "logs:8080", "*.", "**", "a..b", "-a", "a*", "*.*", "[::1]", "a b"])
def test_what_is_no_name_is_refused_with_what_to_give(text: str) -> None:
    with pytest.raises(ValueError, match="without scheme and port"):
        split_names(f"good,{text}")


@given(st.lists(st.binary(max_size=20), max_size=600))
def test_what_is_remembered_is_bounded_and_changes_no_answer(values: list[bytes]) -> None:
    hosts = AllowedHosts()
    ports = [b"127.0.0.1:%d" % n for n in range(600)]

    assert [hosts.allows(value) for value in values] == [AllowedHosts().allows(value) for value in values]
    assert all(hosts.allows(value) for value in ports)
    assert len(hosts.known) <= 256
    assert all(AllowedHosts().allows(value) for value in hosts.known)
