"""What is sent by hand names the service by an address: a name that is none of its own is answered with 421."""

import re

from pathlib import Path
from typing import Final

import pytest

from shared.process.hosts import AllowedHosts

_BENCH: Final = Path(__file__).resolve().parent.parent
_HEADS: Final = {
    str(path.relative_to(_BENCH)): hosts
    for path in sorted(_BENCH.rglob("*"))
    if path.suffix in {".py", ".lua"} and (hosts := re.findall(r"Host: ([^\\\s{]+)\\r", path.read_text()))
}


def test_there_are_such_heads() -> None:
    assert "load.lua" in _HEADS


@pytest.mark.parametrize("name", _HEADS)
def test_the_host_of_a_request_is_the_services_own(name: str) -> None:
    assert [host for host in _HEADS[name] if not AllowedHosts().allows(host.encode())] == []
