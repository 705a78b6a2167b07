import re

from bench.stage import ROOT, postgres_options, redis_options
from testbed.jvm import jvm_options


def test_postgres_is_set_up_as_the_fleet_sets_it_up() -> None:
    options = postgres_options((ROOT / "native/templates/postgresql.conf").read_text())

    assert "fsync=on" in options
    assert "synchronous_commit=on" in options
    assert "timezone=UTC" in options
    assert options[0::2] == ["-c"] * (len(options) // 2)
    assert not [option for option in options if option.startswith(("port=", "listen_addresses=", "unix_socket"))]


def test_redis_is_set_up_as_the_fleet_sets_it_up() -> None:
    options = redis_options((ROOT / "native/templates/redis.conf").read_text())

    assert options[options.index("--maxmemory") + 1] == "256mb"
    assert "--port" not in options


def test_java_runs_as_the_fleet_runs_it() -> None:
    run_java = (ROOT / "native/run.sh").read_text()

    for part in ("KAFKA", "MIRROR"):
        options = jvm_options(part)
        assert [option for option in options if option.startswith("-Xmx")] != ["-Xmx"]
        for option in options:
            assert re.sub(r"^(-Xm[sx]).*", r"\1$heap", option) in run_java
